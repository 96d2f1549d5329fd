"""Validate the tables of a data set: `dataset.json`, `videos.jsonl` and the records of a build.

They may come from anybody, so names must not lead out of the folder, and numbers must be in range.
Each `wrong_...` function returns the first fault in words, such as "frames is -3", or "" if there
is none.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from math import isfinite
from operator import itemgetter
from typing import Any

from builder.decode.frames import CHROMA
from builder.plain_name import is_plain_name
from builder.video_limits import MOST_PIXELS, Limits

LARGEST_INFO = 1 << 28  # bytes of dataset.json, which takes about 50 bytes per video
LARGEST_ROW = 1 << 28  # bytes of a row or a JSON member; they hold the times or offsets of frames
_PER_ROW, _PER_TIME, _SLACK = 1 << 16, 40, 1 << 20  # bytes in videos.jsonl: generous upper bounds
_MOST_BYTES = 1 << 60
_MOST_KEYS = 10**12
_MOST_SECONDS = 1e9
_BLOCK = 512  # bytes of a tar block
_MISSING = object()

Rules = Mapping[str, Callable[[Any], bool]]  # key -> whether its value is valid


def wrong_info(info: dict[str, Any]) -> str:
    """The first fault in `dataset.json`; its schema is not checked."""
    return (
        _broken(_INFO, info)
        or _broken(_COUNTS, info["counts"], "counts.")
        or _broken(_SETTINGS, info["settings"], "settings.")
        or _first(wrong_shard(shard) for shard in info["shards"])
    )


def largest_videos_file(info: dict[str, Any]) -> int:
    """Upper bound on the bytes of `videos.jsonl`, from the counts in `dataset.json`."""
    counts = info.get("counts")
    if not isinstance(counts, dict):
        return _SLACK
    rows, others, frames = (counts.get(name, 0) for name in ("expected", "ignored", "frames"))
    if not all(map(_is_size, (rows, others, frames))):
        return _SLACK
    return int(_SLACK + _PER_ROW * (rows + others) + _PER_TIME * frames)


def wrong_shard(shard: Any) -> str:
    """The first fault in a shard's entry of `dataset.json`."""
    if not isinstance(shard, dict):
        return f"a shard is {_short(shard)}"
    return _broken(_SHARD, shard, "a shard's ") or _wrong_index(shard)


def _wrong_index(shard: dict[str, Any]) -> str:
    """The first fault in a shard's index: samples must follow each other, inside the shard."""
    end = 0
    for place in shard["index"]:
        if type(place) is not list or len(place) != 4 or {*map(type, place)} != {int}:
            return f"the index of {shard['name']} has {_short(place)}, and not four whole numbers"
        key, start, json_bytes, blob_bytes = place
        is_fine = (
            0 <= key <= _MOST_KEYS
            and end <= start
            and 0 <= json_bytes <= LARGEST_ROW
            and 0 <= blob_bytes <= Limits.stored
        )
        if is_fine:
            blocks = 2 - (-json_bytes // _BLOCK) - (-blob_bytes // _BLOCK)
            end = start + blocks * _BLOCK
        if not is_fine or end > shard["bytes"]:
            return f"the index of {shard['name']} has {_short(place)}, which cannot lie there"
    return ""


def wrong_row(row: dict[str, Any]) -> str:
    """The first fault in a row of `videos.jsonl`."""
    if _is_usual(row):
        return ""
    rules = _ROWS.get(str(row.get("status")))
    if rules is None:
        return f"status is {_short(row.get('status'))}"
    wrong = _broken(rules, row)
    if not wrong and rules is _BUILT and row["width"] * row["height"] > MOST_PIXELS:
        wrong = f"width x height is {row['width']} x {row['height']}"
    return wrong and f"{wrong} in the row of {_short(row.get('name'))}"


def _is_usual(row: dict[str, Any]) -> bool:
    """Whether a row is a valid one of a built video, as most are. One expression, for speed: there
    may be a million rows. All others are checked rule by rule."""
    try:
        frames, width, height, *_ = numbers = _usual_numbers(row)
        return (
            row["status"] == "built"
            and {*map(type, numbers)} == _INT
            and {*map(type, _usual_texts(row))} == _TEXT
            and min(numbers) >= 0
            and frames > 0
            and 0 < width < 65536
            and 0 < height < 65536
            and width * height <= MOST_PIXELS
            and max(numbers) <= Limits.stored
            and type(row["fps"]) is float
            and 1e-9 <= row["fps"] <= 1e9
            and row["factors"] is row["times"] is None
            and row["warnings"] == []
            and "cuts" not in row
            and _are_splits(row["splits"])
            and _is_split(row["shard"])
        )
    except (KeyError, TypeError):
        return False


def wrong_times(times: Sequence[Any], frames: int) -> str:
    """The first fault in the times of a video's frames."""
    if len(times) != frames or frames < 2:
        return f"has {frames} frames and {len(times)} frame times"
    if not set(map(type, times)) <= {int, float} or times[0] != 0:
        return f"has frame times that begin with {_short(times[:3])}"
    if not max(times) <= _MOST_SECONDS:
        return f"has a frame at {_short(max(times))} seconds"
    is_rising = sorted(times) == times and len(set(times)) == frames
    return "" if is_rising and isfinite(sum(times)) else "has frame times that do not rise"


def wrong_cuts(cuts: Sequence[Any], frames: int) -> str:
    """The first fault in the numbers of a video's frames at which a new shot begins."""
    if not set(map(type, cuts)) <= _INT:
        return f"has cuts that begin with {_short(cuts[:3])}"
    is_rising = all(a < b for a, b in pairwise([0, *cuts, frames]))
    return "" if is_rising else f"has cuts that do not rise from 1 to {frames - 1}"


def wrong_record(record: dict[str, Any], index: int) -> str:
    """The first fault in the record of a build's finished shard, number `index`."""
    if record.keys() != {"index", "shard", "rows"} or record["index"] != index:
        return f"it is no record of shard {index}"
    rows = record["rows"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return f"rows is {_short(rows)}"
    shard = "" if record["shard"] is None else wrong_shard(record["shard"])
    return shard or _first(map(wrong_row, rows))


def _broken(rules: Rules, table: dict[str, Any], where: str = "") -> str:
    """The first rule that `table` breaks, in words; `where` precedes the key."""
    for key, is_fine in rules.items():
        value = table.get(key, _MISSING)
        if not is_fine(value):
            wrong = "is not there" if value is _MISSING else f"is {_short(value)}"
            return f"{where}{key} {wrong}"
    return ""


def _first(texts: Iterable[str]) -> str:
    return next(filter(None, texts), "")


def _short(value: Any) -> str:
    """A value shortened for a message."""
    try:
        text = ascii(value[:90] if isinstance(value, list | str) else value)
    except RecursionError:
        return "nested too deeply"
    return text if len(text) <= 80 else f"{text[:80]}..."


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _is_number(value: Any, low: float, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high  # False for NaN


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_list_or_none(value: Any) -> bool:
    return value is None or isinstance(value, list)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _are_counts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_size, value.values()))


_is_split = lru_cache(1024)(is_plain_name)


def _are_splits(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _is_split(split) and isinstance(part, str) for split, part in value.items()
    )


def _are_factors(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and all(
            isinstance(item, str) or _is_number(item, -_MOST_BYTES, _MOST_BYTES)
            for item in value.values()
        )
    )


def _is_rate(value: Any) -> bool:
    return value is None or _is_number(value, 1e-9, 1e9)


def _is_label(value: Any) -> bool:
    return value is None or (type(value) is int and 0 <= value < 1 << 31)


def _or_missing(is_fine: Callable[[Any], bool], value: Any) -> bool:
    return value is _MISSING or is_fine(value)


_is_key = _whole(0, _MOST_KEYS)
_is_size = _whole(0, _MOST_BYTES)


def _is_size_or_none(value: Any) -> bool:
    return value is None or value is _MISSING or _is_size(value)


_usual_numbers = itemgetter("frames", "width", "height", "key", "label", "bytes", "source_bytes")
_usual_texts = itemgetter("name", "class", "group", "sha256", "source_sha256")
_INT, _TEXT = {int}, {str}
_INFO: Rules = {
    "dataset": is_plain_name,
    "classes": _are_texts,
    "counts": _is_table,
    "settings": _is_table,
    "videos_jsonl_sha256": _is_text,
    "shards": _is_list,
}
_COUNTS: Rules = {
    **dict.fromkeys(("expected", "built", "frames", "bytes"), _is_size),
    **dict.fromkeys(("ignored", "source_bytes"), partial(_or_missing, _is_size)),
    "failed": _are_counts,
    "warnings": partial(_or_missing, _are_counts),
}
_SETTINGS: Rules = {  # those needed to decode other videos alike; the others are only shown
    "short_side": partial(_or_missing, _whole(1, 1 << 14)),
    "jpeg_quality": partial(_or_missing, _whole(1, 31)),
    "chroma": partial(_or_missing, lambda value: value in CHROMA),
    "fps": partial(_or_missing, _is_rate),
    "shots": partial(_or_missing, lambda value: type(value) is bool),
}
_SHARD: Rules = {
    "name": is_plain_name,
    "splits": _are_splits,
    **dict.fromkeys(("samples", "frames", "bytes"), _is_size),
    "sha256": _is_text,
    "index": _is_list,
}
_FAILED: Rules = {
    "key": _is_key,
    "name": _is_text,
    "reason": _is_text,
    "detail": _is_text,
    "source_bytes": _is_size_or_none,
}
_BUILT: Rules = {
    "key": _is_key,
    "name": _is_text,
    "class": _is_text_or_none,
    "label": _is_label,
    "group": _is_text,
    "splits": _are_splits,
    "fps": _is_rate,
    "frames": _whole(1, Limits.stored),
    "width": _whole(1, 65535),
    "height": _whole(1, 65535),
    "bytes": _whole(0, Limits.stored),
    "sha256": _is_text,
    "factors": _are_factors,
    "warnings": _are_texts,
    **dict.fromkeys(("times", "cuts"), partial(_or_missing, _is_list_or_none)),
    "shard": partial(_or_missing, is_plain_name),
    "source_bytes": _is_size_or_none,
    "source_sha256": partial(_or_missing, _is_text_or_none),
}
_IGNORED: Rules = {"name": _is_text, "reason": _is_text}
_ROWS = {"built": _BUILT, "failed": _FAILED, "ignored": _IGNORED}
