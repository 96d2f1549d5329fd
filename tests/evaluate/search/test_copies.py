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


def kept(store, group, *worth: Worth) -> set[str]:
    of = dict(zip(group.videos, worth, strict=True))
    return {NAMES[video] for video in proposal(store, group, of, NAMES)}


def test_groups_in_the_order_of_their_best_pairs(groups):
    assert {group.videos for group in groups} == {(0, 1), (2, 3)}
    assert [group.number for group in groups] == [1, 2]
    assert all(len(group.pairs) == 1 for group in groups)


def test_the_largest_then_the_longest_then_the_first_by_name(store, groups):
    copies = next(group for group in groups if group.videos == (2, 3))
    assert kept(store, copies, Worth(9, 1.0, 1), Worth(8, 5.0, 9)) == {"b.mp4"}
    assert kept(store, copies, Worth(0, 3.0, 1), Worth(0, 2.9, 9)) == {"b.mp4"}
    assert kept(store, copies, Worth(0, 3.0, 9), Worth(0, 3.0, 8)) == {"b.mp4"}
    assert kept(store, copies, Worth(0, 3.0, 9), Worth(0, 3.0, 9)) == {"a.mp4"}


def test_what_only_a_longer_video_shows_is_not_lost_for_a_sharper_part(store, groups):
    film = next(group for group in groups if group.videos == (0, 1))
    assert kept(store, film, Worth(9, 20.0, 1), Worth(9, 4.0, 1)) == {"film.mp4"}
    assert kept(store, film, Worth(1, 20.0, 1), Worth(9, 4.0, 1)) == {"film.mp4", "part.mp4"}
