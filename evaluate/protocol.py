"""The evaluation protocol: which clips are taken of a video, and which features of the network."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from builder.shards.dataset import Video
from evaluate.choices import CROPS, POOLINGS
from evaluate.errors import EvaluateError, EvaluateUsageError
from trainer.config.recipe_file import override
from trainer.config.settings import NORMALISATIONS, Config
from trainer.config.validation import (
    MOST_CLIPS,
    MOST_FRAMES,
    MOST_SIDE,
    MOST_SIZE,
    MOST_STRIDE,
    Limits,
    Rule,
    check_rules,
    one_of,
    pixels_rule,
    range_rule,
    rate_rule,
    rules_of,
)
from trainer.data.clip_policy import (
    POLICIES,
    Place,
    clip_frames,
    clip_span,
    clock_of,
    even_starts,
    even_starts_in,
    last_start,
    part_of,
    starts_apart,
)
from trainer.data.clip_sampler import ClipRequest, Timing, count_short, timings_of
from trainer.errors import TrainerError

LAST = "last"  # the backbone's output
_LEAST_EVERY, _MOST_EVERY = 0.001, 1e6  # limits of `every`, in seconds


@dataclass(frozen=True)
class Protocol:
    """How clips are taken and features computed.

    Attributes:
        frames: frames of a clip
        stride: frame stride
        fps: strides count frames at this rate; 0: stored frames
        short_videos: how a clip that is longer than its video is filled: from the start again
            (loop), with the last frame (repeat_last), or not at all (error)
        size: side of the square crop, in pixels
        short_side: decode JPEGs at 1/8 to 1/2 of their size if their short side keeps at least this
            many pixels; 0: at full size
        normalise: by the mean and standard deviation of Kinetics-400 (fixed), or by those of each
            clip (clip), after each pixel's mean is subtracted (motion)
        clips: clips per video, evenly spaced; RSPNet
        every: seconds between the starts of clips, instead of `clips` per video; 0: use `clips`
        crops: 1: the largest centre square; 3: three squares along the longer side
        mirrored: whether features are also averaged over the mirror image of every crop
        turned: whether features are also averaged over crops rotated by 90, 180 and 270 degrees
        layer: name of the module of the backbone whose output is used, such as layer3
        pooling: how the layer's feature map is pooled: average | max
    """

    frames: int = 16
    stride: int = 1
    fps: float = 0.0
    short_videos: str = "loop"
    size: int = 112
    short_side: int = 0
    normalise: str = "fixed"
    clips: int = 10
    every: float = 0.0
    crops: int = 1
    mirrored: bool = False
    turned: bool = False
    layer: str = LAST
    pooling: str = "average"

    @property
    def identity(self) -> dict[str, str | int | float]:
        """All fields, as recorded in stores. `normalise` and `turned` are omitted at their
        defaults, as older stores lack them."""
        fields: dict[str, str | int | float] = asdict(self)
        usual = (("normalise", "fixed"), ("turned", False))
        return {k: v for k, v in fields.items() if (k, v) not in usual}

    def __post_init__(self) -> None:
        try:
            check_rules(rules_for(self))
        except TrainerError as error:
            raise EvaluateUsageError(str(error)) from error


def rules_for(protocol: Protocol) -> list[Rule]:
    """The allowed values of every setting, and whether its value is allowed."""
    limits: Limits = {
        "pooling": one_of(POOLINGS),
        "crops": (CROPS.__contains__, " or ".join(map(str, CROPS))),
        "normalise": one_of(NORMALISATIONS),
        "short_videos": one_of(tuple(POLICIES)),
        "every": (
            lambda seconds: seconds == 0 or _LEAST_EVERY <= seconds <= _MOST_EVERY,
            f"0 (use `clips`), or {_LEAST_EVERY:g} to {_MOST_EVERY:g} seconds",
        ),
    }
    return [
        *rules_of("", protocol, limits),
        range_rule("frames", protocol.frames, 1, MOST_FRAMES),
        range_rule("stride", protocol.stride, 1, MOST_STRIDE),
        range_rule("size", protocol.size, 1, MOST_SIZE),
        pixels_rule("", protocol.frames, protocol.size),
        range_rule("clips", protocol.clips, 1, MOST_CLIPS),
        range_rule("short_side", protocol.short_side, 0, MOST_SIDE),
        rate_rule("fps", protocol.fps),
    ]


def protocol_of(settings: Config) -> Protocol:
    """The protocol for a run's settings: the clips of its training, evaluated as its recipe
    says."""
    data, evaluate = settings.data, settings.evaluate
    return Protocol(
        frames=data.frames,
        stride=evaluate.stride,
        fps=data.fps,
        short_videos=data.short_videos,
        size=data.size,
        short_side=data.short_side,
        normalise=data.normalise,
        clips=evaluate.clips,
    )


def changed_protocol(protocol: Protocol, assignments: tuple[str, ...]) -> Protocol:
    """Apply changes such as "clips=5" and "layer=layer3". Raises EvaluateError if there is no such
    setting, or if a value is not allowed."""
    try:
        return override(protocol, assignments)
    except TrainerError as error:
        raise EvaluateUsageError(str(error)) from error


def clips_of(videos: Sequence[Video], protocol: Protocol) -> list[list[ClipRequest]]:
    """The clips of every video: the same on every call, evenly spaced from the first to the last
    that fits, each within one shot. Raises EvaluateError if a video is too short for the policy
    `error`."""
    timings = timings_of(videos, protocol.fps)
    short = count_short(timings, protocol.frames, protocol.stride)
    if short and protocol.short_videos == "error":
        raise EvaluateError(
            f"{short} of {len(videos)} videos are too short for {protocol.frames} frames at stride "
            f"{protocol.stride}, and the policy short_videos is 'error'. Use shorter clips, or the "
            "policy loop or repeat_last."
        )
    return [
        _clips(number, video, timing, protocol)
        for number, (video, timing) in enumerate(zip(videos, timings, strict=True))
    ]


def _clips(number: int, video: Video, timing: Timing, protocol: Protocol) -> list[ClipRequest]:
    shots = timing.shots(protocol.frames, protocol.stride)
    policy = protocol.short_videos
    if protocol.every:
        # Every shot gets a clip, so that it can be found, unless it is too short under `error`.
        some = [shot for shot in shots if policy != "error" or last_start(shot) >= 0]
        chosen = [(start, shot) for shot in some for start in _starts_apart(video, shot, protocol)]
    else:
        chosen = even_starts_in(protocol.clips, shots)
    return [
        ClipRequest(number, clip_frames(start, shot, policy), protocol.stride)
        for start, shot in chosen
    ]


def _starts_apart(video: Video, shot: Place, protocol: Protocol) -> tuple[int, ...]:
    """Starts of clips `every` seconds apart in a shot."""
    clock = part_of(clock_of(video.times), shot.first, shot.first + shot.frames)
    if clock is not None and video.fps:
        return starts_apart(protocol.every * video.fps, shot, clock)
    if not video.fps:
        raise EvaluateError(
            f"{ascii(video.name)[1:-1]} has no known frame rate, which clips every "
            f"{protocol.every:g} seconds require. Choose a number of clips instead, or build with "
            "--fps."
        )
    room = shot.frames - clip_span(shot.length, shot.stride)
    # At most one clip per frame, however small `every` is.
    return even_starts(1 + max(0, round(min(room / video.fps / protocol.every, room))), shot)
