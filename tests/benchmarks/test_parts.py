import random

import pytest

from benchmarks.parts import overlap, score, together
from benchmarks.planted import BASE, CHANGES, INTRO, SharedPart, _intros, _plans, _spliced

PLANTED = [
    SharedPart("a", 10, 14, "b", 0, 4, 1.0, "logo"),
    SharedPart("a", 20, 24, "c", 3, 8, 0.8, "0.8 x"),
]


def test_a_part_is_found_where_half_of_both_together_is_right_in_both_videos():
    assert overlap((0, 4), (2, 6)) == pytest.approx(2 / 6) and overlap((0, 1), (2, 3)) == 0
    near, far = ((10.5, 14), (0, 3.5)), ((10.5, 14), (3, 7))
    found = score({("a", "b"): [near, near], ("a", "c"): [], ("b", "c"): [far]}, PLANTED)
    assert (found.found, found.alarms, found.unrelated_alarms) == (1, 2, 1)
    assert found.missed == {"0.8 x": 1}
    assert found.f1 == pytest.approx(2 / (2 + 1 + 2))
    swapped = score({("b", "a"): [near[::-1]], ("a", "c"): [((20, 24), (3, 8))]}, PLANTED)
    assert swapped.f1 == 1
    both = together([found, swapped])
    assert (both.found, both.missed, both.alarms) == (3, {"0.8 x": 1}, 2)
    assert both.f1 == pytest.approx(6 / (6 + 1 + 2))


def test_films_share_what_the_truth_says():
    plans = _plans(12, random.Random(0))
    spliced, intros = _spliced(plans), _intros(plans)
    assert len(spliced) == 2 * len(plans) and len(intros) == 3
    for part in spliced:
        lengths = part.end - part.begin, part.other_end - part.other_begin
        assert lengths[0] == pytest.approx(lengths[1] * part.speed) and min(lengths) > 2.95
        assert part.speed == CHANGES[part.change][0] and part.video != part.other
    # A film lasts as long as its base, its intro and what is spliced in, and all of it lies there.
    for plan in plans:
        lasts = BASE + plan.intro + sum(one.lasts for one in plan.excerpts)
        ends = [p.end for p in spliced if p.video == plan.name]
        ends += [p.other_end for p in spliced if p.other == plan.name]
        assert max(ends) <= lasts and min(ends) > plan.intro
        assert plan.intro in (0, INTRO)
