"""What is said before a run begins."""

from dataclasses import replace

import pytest

from trainer.config.recipe_file import load_recipe, override
from trainer.data.training_set import gather
from trainer.errors import TrainerError
from trainer.run.dry_run import data_text, must_be_computable, slow_on_a_cpu


def test_one_source_group_leaves_no_other_video(tiny, training_set):
    one = replace(training_set, groups=(0,) * len(training_set.groups))
    plain = override(tiny, ("objective.exclude_siblings=true",))
    contrast = override(plain, ("objective.appearance_contrast=0.5",))
    assert "Warning" not in data_text(contrast, training_set)
    assert "only appearance is learnt" in data_text(plain, one)
    assert "appearance_contrast" not in data_text(plain, one)
    assert "appearance_contrast finds no other video" in data_text(contrast, one)
    siblings = override(contrast, ("objective.exclude_siblings=false",))
    assert "Warning" not in data_text(siblings, one)


def test_a_batch_that_is_larger_than_the_training_set(tiny, training_set):
    assert "Warning: a batch" not in data_text(tiny, training_set)
    large = override(tiny, ("optim.batch=64",))
    assert "a batch of 64 videos is larger than the training set of 12" in data_text(
        large, training_set
    )


def test_unevenly_spaced_frames(tiny, training_set, motion):
    data = gather({motion.folder: "motion"}, tiny.data)
    said = data_text(tiny, data)
    assert "4 videos with unevenly spaced frames: strides count stored frames" in said
    assert "--set data.fps=25 follows the frame times" in said
    timed = override(tiny, ("data.fps=25",))
    said = data_text(timed, gather({motion.folder: "motion"}, timed.data))
    assert "4 videos with unevenly spaced frames: strides follow their frame times" in said
    assert "uneven" not in data_text(tiny, training_set)


def test_frames_that_are_smaller_than_the_clips(tiny, training_set):
    assert "enlarged" not in data_text(override(tiny, ("data.size=32",)), training_set)
    said = data_text(override(tiny, ("data.size=112",)), training_set)
    assert "the frames of 12 of 12 videos are enlarged, from 32 pixels" in said
    assert "Build folder again" in said and "--short-side 128 --out shards-128" in said


def test_a_recipe_for_a_gpu_on_a_cpu(tiny, training_set):
    assert slow_on_a_cpu(tiny, training_set) == ""
    recipe = override(load_recipe("k400-r3d18"), ("optim.steps=100000",))
    with pytest.raises(
        TrainerError,
        match=r"which is for GPUs, .*k400-r3d18 is for a GPU.* about [\d,]+ days.*demo",
    ):
        must_be_computable(recipe, training_set, "cpu")
    must_be_computable(recipe, training_set, "cuda")
    whole = override(recipe, ("device.precision=fp32",))
    must_be_computable(whole, training_set, "cpu")
    assert "days" in slow_on_a_cpu(whole, training_set)
    short = override(tiny, ("device.precision=bf16",))
    with pytest.raises(TrainerError, match=r"which is for GPUs, .* some shapes\. To train with"):
        must_be_computable(short, training_set, "cpu")
