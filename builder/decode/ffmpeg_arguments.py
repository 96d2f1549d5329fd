"""The command line of an ffmpeg that decodes one video into JPEGs."""

from dataclasses import dataclass
from pathlib import Path

import ffmpeg

from builder.decode.formats import ONLY_READ, PROTOCOL
from builder.decode.frame_times import setpts
from builder.decode.frames import FrameSettings
from builder.video_limits import Limits

LINES = 2  # that ffmpeg writes of a decoded frame
_INPUT = "<the video>"


@dataclass(frozen=True)
class Way:
    """How to go about a file: as ffmpeg would, unless a first try says otherwise.

    Attributes:
        stream: None: the one that ffmpeg takes for the best
        no_matrix: whether to pass over its colour matrix
    """

    stream: int | None = None
    no_matrix: bool = False


def arguments(
    path: Path, settings: FrameSettings, limits: Limits, way: Way, times: int, differences: int
) -> list[str]:
    """What ffmpeg is told: the JPEGs go to its output, a line for every decoded frame to the
    descriptor `times`, its log, of level verbose, to stderr, and where shots are asked for, how
    much each stored frame differs from the one before to the descriptor `differences`."""
    side = settings.short_side
    unknown = ["color_primaries=unknown", "color_trc=unknown"]  # used by no conversion here
    if way.no_matrix:
        unknown.append("colorspace=unknown")
    picture = [
        # A line for every frame as it is decoded; the file's own words on it do not go there.
        "metadata=mode=delete",
        "metadata=mode=add:key=frame:value=1",
        f"metadata=mode=print:file=/dev/fd/{times}",
        f"setparams={':'.join(unknown)}",
        "settb=1/1000000",
        *([f"setpts='{setpts(1 / 25)}'", f"fps={settings.fps}"] if settings.fps else []),
        # dar is the display aspect ratio: scaling to it makes pixels square.
        f"scale=w='if(gte(dar,1),2*round({side}*dar/2),{side})'"
        f":h='if(gte(dar,1),{side},2*round({side}/dar/2))'"
        # JPEGs are BT.601. Frames that are not go by way of RGB, in full resolution.
        ":out_color_matrix=bt601"
        # Not a processor's own roundings: the same bytes on all of an architecture, at no cost.
        ":flags=bicubic+accurate_rnd+bitexact+full_chroma_int",
        "setsar=1",
        *(_scene_changes(differences) if settings.shots else []),
        # The encoder refuses time that does not rise. From here on time says nothing, so it is the
        # clock's: the file's may begin again, as all filters do when the picture size changes.
        "settb=1/1000000",
        "setpts='max(RTCTIME,if(isnan(PREV_OUTPTS),0,PREV_OUTPTS+1))'",
    ]
    options: dict[str, object] = {"q:v": settings.jpeg_quality}
    if settings.max_frames:
        options["frames:v"] = settings.max_frames + 1  # one more, to know that there are more
    if way.stream is not None:
        options["map"] = f"0:{way.stream}"
    # What a file says opens no other: ffmpeg reads playlists and much else, if it is let.
    only = {"format_whitelist": ONLY_READ, "protocol_whitelist": PROTOCOL}
    stream = ffmpeg.input(_INPUT, threads=1, max_pixels=limits.pixels, **only).output(
        "pipe:1",
        map_metadata=-1,
        map_chapters=-1,
        vf=",".join(picture),
        fps_mode="passthrough",
        enc_time_base="1/1000000",
        threads=1,
        fflags="+bitexact",
        flags="+bitexact",
        vcodec="mjpeg",
        pix_fmt=f"yuvj{settings.chroma}p",
        format="mjpeg",
        **options,
    )
    stream = stream.global_args("-hide_banner", "-nostdin", "-nostats")
    stream = stream.global_args("-loglevel", "level+verbose")
    stream = stream.global_args("-benchmark")  # says at the end how much memory it took
    # Frames that can be decoded count, however many others cannot.
    stream = stream.global_args("-max_error_rate", "1")
    words = [str(word) for word in stream.get_args()]
    # ffmpeg-python takes no names with bytes that are no UTF-8, so it never sees the name. "file:"
    # keeps a leading dash or a colon from being read as an option or a protocol.
    return [f"file:{path}" if word == _INPUT else word for word in words]


def _scene_changes(differences: int) -> list[str]:
    """Filters that pass frames on as they are. The threshold, which is never reached, is that of a
    line in the log."""
    print_to = f"mode=print:key=lavfi.scd.mafd:file=/dev/fd/{differences}"
    return ["scdet=threshold=100", f"metadata={print_to}"]
