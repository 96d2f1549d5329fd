"""Parts that videos of a store share; a clip a second, each of a second."""

from dataclasses import replace

import numpy as np
import pytest

from evaluate.errors import EvaluateError
from evaluate.search.alignment import Rules
from evaluate.search.parts import Part, find_parts, shared_parts, step_of
from tests.evaluate.stores import store_of, video

RULES = Rules(step=1.0, threshold=0.6, shortest=3.0, level=0.35, drop=0.5)
NOTHING = np.zeros(128, np.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """8 videos of 20 to 27 clips. A trailer of video 2 is in video 5, an intro begins videos 0, 3,
    6 and 7, and all that video 4 shows is one still."""
    rng = np.random.default_rng(0)
    clips = [rng.normal(size=(20 + i, 128)) for i in range(8)]
    clips[5][10:16] = clips[2][3:9]
    for i in (3, 6, 7):
        clips[i][:5] = clips[0][:5] + 0.05 * rng.normal(size=(5, 128))
    clips[4][:] = clips[4][0]
    videos = [video(f"{i}.mp4", len(own)) for i, own in enumerate(clips)]
    return store_of(tmp_path_factory.mktemp("parts") / "x.h5", videos, clips)


def clip(store, video, number):
    return int(np.searchsorted(store.clip_video, video)) + number


def test_parts_are_found_with_their_limits(store):
    parts = find_parts(store, RULES, NOTHING)
    found = {(part.first, part.second): part for part in parts}
    assert found.keys() == {(2, 5), (0, 3), (0, 6), (0, 7), (3, 6), (3, 7), (6, 7)}
    assert len(parts) == len(found) and parts[0] is found[2, 5]
    trailer = found[2, 5]
    assert trailer.first_clips == (clip(store, 2, 3), clip(store, 2, 8))
    assert trailer.second_clips == (clip(store, 5, 10), clip(store, 5, 15))
    assert trailer.speed == 1.0 and trailer.similarity > 0.7
    assert found[3, 7].second_clips == (clip(store, 7, 0), clip(store, 7, 4))
    assert not find_parts(store, replace(RULES, shortest=6.0), NOTHING)


def test_what_many_share_is_one_part_at_their_start(store):
    trailer, intro = shared_parts(store, find_parts(store, RULES, NOTHING))
    assert (trailer.spans.keys(), trailer.where) == ({2, 5}, "")
    assert (intro.spans.keys(), intro.where) == ({0, 3, 6, 7}, "start")
    assert len(intro.pairs) == 6
    assert intro.spans[6] == (clip(store, 6, 0), clip(store, 6, 4))


def part(first: int, first_clips: tuple[int, int], second: int, second_clips: tuple[int, int]):
    return Part(first, second, first_clips, second_clips, 1.0, 0.99, 3.0)


def test_parts_of_one_video_that_hardly_overlap_are_two(store):
    own = clip(store, 1, 10)
    other, third = clip(store, 2, 10), clip(store, 3, 10)
    mostly = [
        part(1, (own, own + 5), 2, (other, other + 5)),
        part(1, (own + 1, own + 5), 3, (third, third + 4)),
    ]
    (one,) = shared_parts(store, mostly)
    assert one.spans.keys() == {1, 2, 3} and one.where == ""
    hardly = [mostly[0], part(1, (own + 4, own + 9), 3, (third, third + 5))]
    assert [set(one.spans) for one in shared_parts(store, hardly)] == [{1, 2}, {1, 3}]
    assert shared_parts(store, []) == []


def test_closing_titles_are_at_the_end(store):
    ends = [clip(store, i + 1, 0) - 1 for i in (0, 1)]
    (one,) = shared_parts(store, [part(0, (ends[0] - 6, ends[0]), 1, (ends[1] - 6, ends[1]))])
    assert one.where == "end"


def test_a_store_of_evenly_spread_clips_or_without_times_is_refused(store, tmp_path):
    with pytest.raises(EvaluateError, match=r"fixed number of clips per video.*--every 0\.25"):
        step_of(store)
    store.attributes["every"] = 0.5
    assert step_of(store) == 0.5
    clips = [np.ones((2, 4)), np.ones((2, 4))]
    unknown = store_of(tmp_path / "x.h5", [video("a", 2), video("b", 2, fps=None)], clips)
    with pytest.raises(EvaluateError, match="has no frame rate for b, so its parts"):
        find_parts(unknown, RULES, np.zeros(4, np.float32))
