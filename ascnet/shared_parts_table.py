"""The output of `ascnet near-duplicates --parts`: shared parts as a table and as CSV."""

from collections.abc import Sequence

from builder.catalog.spreadsheet_cells import line, written
from builder.counted import counted
from builder.printable import printable
from builder.text_table import aligned
from evaluate.features.store import Features
from evaluate.search.duplicates import leaks_of
from evaluate.search.parts import Part, SharedPart
from evaluate.search.search import span_text

_MANY = 3  # videos; parts that so many share are listed in the summary
_NAMED = 3  # videos named there


def table_of(store: Features, shared: Sequence[SharedPart]) -> str:
    """A table with a row for every part, showing its best pair."""
    head = ["similarity", "part", "video", "from-to", "and video", "from-to", "speed", "shared by"]
    rows = [
        [*map(printable, _cells(store, number, one, one.pairs[0]))]
        for number, one in enumerate(shared, start=1)
    ]
    if store.splits:
        head = [*head, "split"]
    return "\n".join(aligned([head, *(row[: len(head)] for row in rows)], right=(0, 1)))


def csv_of(store: Features, shared: Sequence[SharedPart]) -> str:
    """CSV with a row for every pair of videos, grouped by part."""
    head = ["similarity", "part", "first", "first_time", "second", "second_time", "speed"]
    head += ["shared_by", "different_parts", "first_class", "second_class"]
    rows = [line(head)]
    for number, one in enumerate(shared, start=1):
        for pair in one.pairs:
            similarity, *cells = _cells(store, number, one, pair)
            cells += [store.class_of[pair.first], store.class_of[pair.second]]
            rows.append(line([similarity, *map(written, cells)]))
    return "".join(rows)


def _cells(store: Features, number: int, shared: SharedPart, pair: Part) -> list[str]:
    return [
        f"{pair.similarity:.3f}",
        str(number),
        store.names[pair.first],
        span_text(store, *pair.first_clips),
        store.names[pair.second],
        span_text(store, *pair.second_clips),
        f"{pair.speed:g}x",
        _shared_by(shared),
        "; ".join(leaks_of(store, pair)),
    ]


def _shared_by(shared: SharedPart) -> str:
    text = counted(len(shared.spans), "video")
    return f"{text}, at their {shared.where}" if shared.where else text


def summary_of(store: Features, shared: Sequence[SharedPart], threshold: float) -> str:
    """The number of parts, and a line for each part that many videos share."""
    pairs = [pair for one in shared for pair in one.pairs]
    leaking = [one for one in shared if any(leaks_of(store, pair) for pair in one.pairs)]
    text = (
        f"{counted(len(shared), 'part')} in {counted(len(pairs), 'pair')} of "
        f"{counted(len(store.names), 'video')}, with a mean similarity of {threshold:g} or more"
    )
    if leaking:
        text += f": {counted(len(leaking), 'part')} across the parts of a split"
    lines = [text]
    kinds = {"start": " (an intro)", "end": " (closing titles)", "": ""}
    for number, one in enumerate(shared, start=1):
        if len(one.spans) >= _MANY:
            places = [
                f"{printable(store.names[video])} {span_text(store, *span)}"
                for video, span in sorted(one.spans.items())
            ]
            more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
            lines.append(
                f"part {number} is shared by {_shared_by(one)}{kinds[one.where]}: "
                f"{', '.join(places[:_NAMED])}{more}"
            )
    return "\n".join(lines)
