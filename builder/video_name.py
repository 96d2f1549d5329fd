"""Which files are videos, by their names."""

_SUFFIXES = """
    .3g2 .3gp .asf .avi .divx .dv .flv .gif .m1v .m2ts .m2v .m4v .mkv .mov .mp4 .mpeg .mpg .mts
    .mxf .ogv .qt .rm .rmvb .ts .vob .webm .wmv .y4m
"""
VIDEO_SUFFIXES = frozenset(_SUFFIXES.split())


def is_video(name: str) -> bool:
    """Whether a file's name has a video's ending."""
    return name[name.rfind(".") :].lower() in VIDEO_SUFFIXES
