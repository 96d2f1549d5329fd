"""Text about a run before it starts: its data, cost and warnings."""

from statistics import mean

from builder.counted import counted
from trainer.config.settings import Config
from trainer.data.batches import is_streamed, part_size
from trainer.data.clip_reader import HELD
from trainer.data.frame_size import enlarged
from trainer.data.jpeg_decoding import decoded_size
from trainer.data.packed_clips import bytes_of
from trainer.data.training_set import TrainingSet
from trainer.errors import TrainerError
from trainer.run.cost import estimate
from trainer.schedules import total_steps

_CPU_GFLOPS = 100  # GFLOP/s of a CPU in fp32 convolutions
_LONG = 6.0  # hours on a CPU from which on there is a warning


def data_text(settings: Config, data: TrainingSet) -> str:
    """Describe the training data, how it is read, and problems with it."""
    clips = settings.data
    lines = [
        f"Training on {source}: {counts['training_videos']} training videos of split {clips.split} "
        f"({counts['built']} of {counts['expected']} built)"
        for source, counts in data.counts.items()
    ]
    if is_streamed(clips, data):
        lines.append(f"Shards are streamed, {clips.shuffle_buffer} videos are shuffled at a time")
    if data.short:
        lines.append(
            f"{counted(data.short, 'video')} too short for {clips.frames} frames at stride "
            f"{max(clips.strides)}: clips follow the policy {clips.short_videos!r}"
        )
    slow = sum(timing.rate * min(clips.strides) < 1 for timing in data.timings)
    if slow:
        lines.append(
            f"{counted(slow, 'video')} with fewer than {clips.fps:g} frames a second (data.fps): "
            "some of their frames are shown twice in a row"
        )
    uneven = sum(video.times is not None for video in data.videos)
    if uneven and clips.fps:
        lines.append(
            f"{counted(uneven, 'video')} with unevenly spaced frames: strides follow their frame "
            "times, and repeat a frame for as long as it is shown"
        )
    elif uneven:
        lines.append(
            f"{counted(uneven, 'video')} with unevenly spaced frames: strides count stored frames, "
            "so their clips do not play at the speeds that they are labelled with. --set "
            "data.fps=25 follows the frame times."
        )
    if (batch := settings.optim.batch) > len(data.videos):
        lines.append(
            f"Warning: a batch of {batch} videos is larger than the training set of "
            f"{len(data.videos)}, so every step has some of them more than once. Lower it with "
            "--set optim.batch=..."
        )
    if small := enlarged(data.videos, clips.size, clips.short_side):
        lines.append(small)
    if len(set(data.groups)) < 2 and settings.objective.exclude_siblings:
        lines.append(
            "Warning: all training videos come from one source group, so speed consistency finds "
            "no other video and only appearance is learnt."
        )
        if settings.objective.appearance_contrast:
            lines.append("Warning: objective.appearance_contrast finds no other video, either.")
    return "\n".join(lines)


def _frames_text(settings: Config, data: TrainingSet) -> str:
    """Describe the memory for the decoded frames of clips and batches."""
    clips, optim = settings.data, settings.optim
    sizes = [decoded_size(v.height, v.width, clips.short_side) for v in data.videos]
    of_clips = [bytes_of([size], clips.frames) / 1e6 for size in sizes]
    batch = 2 * optim.batch / optim.accumulate * mean(of_clips)
    return (
        f"Decoded frames take {mean(of_clips):.3g} MB for a clip ({max(of_clips):.3g} at most) and "
        f"{batch:.3g} MB for a batch over all ranks; up to {HELD} batches are in memory at a time."
    )


def forecast(settings: Config, data: TrainingSet, ranks: int) -> str:
    """Describe the steps, frames, weights, operations and memory of a run on `ranks` ranks."""
    cost, videos = estimate(settings, ranks), len(data.videos)
    steps, batch = total_steps(settings.optim, videos), settings.optim.batch
    per_device = part_size(settings, ranks) // ranks
    return "\n".join(
        [
            f"{steps} steps of {batch} videos, two clips each: {steps * batch / videos:.1f} epochs "
            f"of {videos} videos; per-device batch {per_device}, {counted(ranks, 'device')}",
            _frames_text(settings, data),
            cost.text(),
            f"{steps * cost.step_gflops / 1e6:.3g} PFLOP in all, about "
            f"{_time_text(steps * cost.step_gflops / _CPU_GFLOPS)} at {_CPU_GFLOPS} GFLOP a second "
            "(a good laptop's CPU); the log projects the hours after 50 steps.",
        ]
    )


def _time_text(seconds: float) -> str:
    if seconds < 2 * 3600:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.0f} hours" if seconds < 48 * 3600 else f"{seconds / 86400:,.0f} days"


def slow_on_a_cpu(settings: Config, data: TrainingSet) -> str:
    """A warning about a run that would take long on a CPU; "" for other runs."""
    hours = _hours_on_a_cpu(settings, data)
    return "" if hours < _LONG else _for_a_gpu(settings, hours)


def must_be_computable(settings: Config, data: TrainingSet, device_type: str) -> None:
    """Raises TrainerError for a precision in which this device computes wrong gradients."""
    if device_type == "cpu" and settings.device.precision == "bf16":
        hours = _hours_on_a_cpu(settings, data)
        sentences = (
            "device.precision is bf16, which is for GPUs, and the device is a CPU, where torch's "
            "bf16 gradients of convolutions are wrong for some shapes.",
            _for_a_gpu(settings, hours) if hours >= 1 else "",
            "To train with these settings here all the same, say --set device.precision=fp32.",
        )
        raise TrainerError(" ".join(filter(None, sentences)))


def _hours_on_a_cpu(settings: Config, data: TrainingSet) -> float:
    gflop = total_steps(settings.optim, len(data.videos)) * estimate(settings).step_gflops
    return gflop / _CPU_GFLOPS / 3600


def _for_a_gpu(settings: Config, hours: float) -> str:
    time = _time_text(hours * 3600)
    return (
        f"Recipe {settings.recipe} is for a GPU: a CPU that computes {_CPU_GFLOPS} GFLOP a second, "
        f"as a good laptop does, takes about {time}. --recipe demo is for a "
        "CPU."
    )
