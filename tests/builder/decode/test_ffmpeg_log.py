"""What ffmpeg says, whose parts speak at the same time."""

from pathlib import Path

from builder.decode.ffmpeg_log import FfmpegLog

INFO = "\x1b[0;36m[mpeg4 @ 0x1] \x1b[0m[info] concealing 300 errors\n"
ERROR = "\x1b[0;36m[mpeg4 @ 0x1] \x1b[0m\x1b[1;31m[error] \x1b[0m\x1b[1;31mheader damaged\n\x1b[0m"
WARNING = (
    "\x1b[0;35m[dec:mpeg4 @ 0x2] \x1b[0m\x1b[0;33m[warning] \x1b[0m\x1b[0;33mcorrupt frame\n\x1b[0m"
)


def test_a_line_without_colour_gives_its_source_to_no_other():
    """An error of a part that had to wait for a line of level info is still that part's."""
    said = [
        FfmpegLog(text.encode(), Path("x.avi"))
        for text in (INFO + WARNING + ERROR, WARNING + ERROR)
    ]
    for log in said:
        assert [(m.source, m.text) for m in log.complaints] == [
            ("[dec:mpeg4] ", "corrupt frame"),
            ("[mpeg4] ", "header damaged"),
        ]
    turned = FfmpegLog((ERROR + INFO + WARNING).encode(), Path("x.avi"))
    assert turned.complaints == said[0].complaints
