"""The command line by which ffmpeg decodes one video into JPEGs."""

from dataclasses import dataclass
from pathlib import Path

import ffmpeg

from builder.decode.formats import ONLY_READ, PROTOCOL
from builder.decode.frame_times import setpts
from builder.decode.frames import FrameSettings
from builder.video_limits import Limits

LINES = 2  # that ffmpeg writes per decoded frame
_INPUT = "<the video>"


@dataclass(frozen=True)
class Way:
    """Options of one attempt to decode a file; the defaults leave the choice to ffmpeg.

    Attributes:
        stream: index of the stream to decode; None: the one that ffmpeg prefers
        no_matrix: whether to ignore the file's colour matrix
    """

    stream: int | None = None
    no_matrix: bool = False


def arguments(
    path: Path, settings: FrameSettings, limits: Limits, way: Way, times: int, differences: int
) -> list[str]:
    """Arguments of ffmpeg. It writes the JPEGs to stdout, lines for every decoded frame to the
    descriptor `times`, and its log (level verbose) to stderr. With `settings.shots` it writes each
    stored frame's difference from the one before to the descriptor `differences`."""
    side = settings.short_side
    unknown = ["color_primaries=unknown", "color_trc=unknown"]  # used by no conversion here
    if way.no_matrix:
        unknown.append("colorspace=unknown")
    picture = [
        # A line for every frame as it is decoded, without the file's own metadata.
        "metadata=mode=delete",
        "metadata=mode=add:key=frame:value=1",
        f"metadata=mode=print:file=/dev/fd/{times}",
        f"setparams={':'.join(unknown)}",
        "settb=1/1000000",
        *([f"setpts='{setpts(1 / 25)}'", f"fps={settings.fps}"] if settings.fps else []),
        # dar is the display aspect ratio: scaling to it makes pixels square.
        f"scale=w='if(gte(dar,1),2*round({side}*dar/2),{side})'"
        f":h='if(gte(dar,1),{side},2*round({side}/dar/2))'"
        # JPEGs are BT.601. Other frames are converted via RGB, in full resolution.
        ":out_color_matrix=bt601"
        # Rounding that does not depend on the processor: the same bytes on all processors of an
        # architecture, at no cost.
        ":flags=bicubic+accurate_rnd+bitexact+full_chroma_int",
        "setsar=1",
        *(_scene_changes(differences) if settings.shots else []),
        # The encoder refuses timestamps that do not rise, and the file's may restart, as all
        # filters do when the picture size changes. They are not used from here on, so the clock's
        # time replaces them.
        "settb=1/1000000",
        "setpts='max(RTCTIME,if(isnan(PREV_OUTPTS),0,PREV_OUTPTS+1))'",
    ]
    options: dict[str, object] = {"q:v": settings.jpeg_quality}
    if settings.max_frames:
        options["frames:v"] = settings.max_frames + 1  # one more, to see whether there are more
    if way.stream is not None:
        options["map"] = f"0:{way.stream}"
    # A file must not make ffmpeg open other files, as playlists and several other formats would.
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
    stream = stream.global_args("-benchmark")  # logs the peak memory at the end
    # Keep the frames that can be decoded, however many others cannot.
    stream = stream.global_args("-max_error_rate", "1")
    words = [str(word) for word in stream.get_args()]
    # ffmpeg-python does not accept names that are not UTF-8, so a placeholder stands for the name.
    # "file:" keeps a leading dash or a colon from being read as an option or a protocol.
    return [f"file:{path}" if word == _INPUT else word for word in words]


def _scene_changes(differences: int) -> list[str]:
    """Filters that print differences and leave frames unchanged. The threshold, above which scdet
    would log a line, is never reached."""
    print_to = f"mode=print:key=lavfi.scd.mafd:file=/dev/fd/{differences}"
    return ["scdet=threshold=100", f"metadata={print_to}"]
