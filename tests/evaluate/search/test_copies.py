import numpy as np
import pytest

from evaluate.search.copies import Worth, copy_groups, proposal
from evaluate.search.duplicates import find_pairs
from evaluate.search.search import centre_of
from tests.evaluate.stores import store_of, video

NAMES = ["film.mp4", "part.mp4", "b.mp4", "a.mp4", "alone.mp4"]


@pytest.fixture
def store(tmp_path):
    """A film of 20 clips and 4 of them, two copies, and a video that is like none."""
    rng = np.random.default_rng(0)
    film, copy, alone = (rng.normal(size=(n, 32)).astype(np.float32) for n in (20, 3, 3))
    clips = [film, film[8:12], copy, copy * 1.01, alone]
    videos = [video(name, len(rows)) for name, rows in zip(NAMES, clips, strict=True)]
    return store_of(tmp_path / "x.h5", videos, clips)


@pytest.fixture
def groups(store):
    return copy_groups(find_pairs(store, 0.99, centre_of(store, "none")))


def kept(group, *worth: Worth) -> set[str]:
    of = dict(zip(group.videos, worth, strict=True))
    return {NAMES[video] for video in proposal(group, of, NAMES)}


def test_groups_in_the_order_of_their_best_pairs(groups):
    assert {group.videos for group in groups} == {(0, 1), (2, 3)}
    assert [group.number for group in groups] == [1, 2]
    assert all(len(group.pairs) == 1 for group in groups)


def test_the_largest_then_the_longest_then_the_first_by_name(groups):
    copies = next(group for group in groups if group.videos == (2, 3))
    assert kept(copies, Worth(9, 1.0, 1), Worth(8, 5.0, 9)) == {"b.mp4"}
    assert kept(copies, Worth(0, 3.0, 1), Worth(0, 2.9, 9)) == {"b.mp4"}
    assert kept(copies, Worth(0, 3.0, 9), Worth(0, 3.0, 8)) == {"b.mp4"}
    assert kept(copies, Worth(0, 3.0, 9), Worth(0, 3.0, 9)) == {"a.mp4"}


def test_what_only_a_longer_video_shows_is_not_lost_for_a_sharper_part(groups):
    film = next(group for group in groups if group.videos == (0, 1))
    assert kept(film, Worth(9, 20.0, 1), Worth(9, 4.0, 1)) == {"film.mp4"}
    assert kept(film, Worth(1, 20.0, 1), Worth(9, 4.0, 1)) == {"film.mp4", "part.mp4"}


def test_a_video_is_kept_if_its_copy_shows_less_even_if_both_have_equally_many_clips(tmp_path):
    """A title of one picture, and a video that opens with it: the title is in the video, not the
    video in the title."""
    rng = np.random.default_rng(1)
    picture, others = rng.normal(size=(1, 32)), rng.normal(size=(9, 32))
    title = np.repeat(picture, 10, axis=0).astype(np.float32)
    video_of_it = np.concatenate([picture, others]).astype(np.float32)
    store = store_of(
        tmp_path / "x.h5", [video(name, 10) for name in NAMES[:2]], [title, video_of_it]
    )
    (group,) = copy_groups(find_pairs(store, 0.95, centre_of(store, "none")))
    assert group.pairs[0].score == 1 and group.pairs[0].shares == (1.0, 0.1)
    assert kept(group, Worth(9, 10.0, 9), Worth(1, 10.0, 1)) == set(NAMES[:2])
    assert kept(group, Worth(1, 10.0, 1), Worth(9, 10.0, 9)) == {NAMES[1]}


@pytest.mark.parametrize("others, is_dropped", [(0, True), (1, True), (2, False)])
def test_one_clip_in_ten_may_be_unlike(tmp_path, others, is_dropped):
    rng = np.random.default_rng(2)
    long = rng.normal(size=(20, 32)).astype(np.float32)
    part = long[:10].copy()
    part[:others] = rng.normal(size=(others, 32))
    store = store_of(
        tmp_path / "x.h5", [video("film.mp4", 20), video("part.mp4", 10)], [long, part]
    )
    (group,) = copy_groups(find_pairs(store, 0.8, centre_of(store, "none")))
    assert (kept(group, Worth(9, 20.0, 9), Worth(9, 10.0, 9)) == {"film.mp4"}) == is_dropped
