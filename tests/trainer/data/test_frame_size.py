from dataclasses import replace

import pytest

from trainer.data.frame_size import enlarged


def videos(training_set, *sizes):
    return [replace(training_set.videos[0], width=w, height=h) for w, h in sizes]


def test_frames_that_are_large_enough(training_set):
    assert enlarged(videos(training_set, (320, 224), (224, 400)), 224, 0) == ""
    assert enlarged(videos(training_set, (320, 240)), 112, 112) == ""
    assert enlarged([], 112, 0) == ""


@pytest.mark.parametrize(("size", "wanted"), [(112, 128), (128, 160), (224, 256), (256, 304)])
def test_the_short_side_that_mends_it(training_set, size, wanted):
    some = videos(training_set, (160, 120), (96, 100), (640, 480))
    said = enlarged(some, size, 0)
    small = 1 if size == 112 else 2
    assert f"of {small} of 3 videos are enlarged, from 96" in said
    assert "Build folder again" in said and "short_side" not in said
    assert f"--short-side {wanted} --out shards-{wanted}" in said


def test_no_kind_of_data_set_is_made_up(training_set):
    """`ascnet build folder --name my-clips`: there is no `ascnet build my-clips`."""
    (one,) = videos(training_set, (96, 96))
    ours, other = (replace(one, shard=one.shard.with_name(f"{name}-000000.tar")) for name in "ab")
    named = replace(one, shard=one.shard.with_name("my-clips-000003.tar"))
    said = enlarged([named, other, ours, ours], 112, 0)
    assert "Build a, b, my-clips again with a larger short side: by the same `ascnet build`" in said
    assert "ascnet build my" not in said


def test_frames_that_are_stored_small_and_decoded_smaller(training_set):
    """Both are said at once: a build alone would not mend it."""
    said = enlarged(videos(training_set, (96, 96)), 112, 40)
    assert "from 48 pixels" in said and "--short-side 128" in said
    assert "short_side is 40: set it to 112 or more" in said
    assert "short_side is" not in enlarged(videos(training_set, (96, 96)), 112, 96)


def test_frames_that_are_decoded_too_small(training_set):
    """Stored large enough: no build is asked for."""
    said = enlarged(videos(training_set, (640, 480)), 112, 50)
    assert "from 60 pixels" in said and "short_side is 50: set it to 112 or more" in said
    assert "ascnet build" not in said
