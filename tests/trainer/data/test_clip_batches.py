import re
import threading
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

import ascnet
from builder.errors import BuilderError
from builder.shards.dataset import ShardDataset
from trainer.data.augment import augment, draw_numbers
from trainer.data.batches import training_batches
from trainer.data.clip_batches import ClipBatches, ClipSettings, LoadedClips
from trainer.distributed import ALONE
from trainer.errors import TrainerError
from trainer.random_streams import AUGMENTATION, torch_seed

PAGE = Path(__file__).resolve().parents[3] / "docs" / "extending.md"
SMALL = {"frames": 4, "strides": (1, 2), "clips": 2, "size": 16, "batch": 4, "workers": 1}


def first(batches: ClipBatches, count: int) -> list[LoadedClips]:
    return list(islice(batches, count))


def same(one: LoadedClips, other: LoadedClips) -> bool:
    pairs = [(vars(one)[name], vars(other)[name]) for name in vars(one)]
    return all(torch.equal(a, b) for a, b in pairs)


def test_they_are_those_of_a_training(shards, tiny, training_set):
    """With a recipe's settings: two clips a video, at two strides."""
    given = first(ascnet.clip_batches(shards, **SMALL, augment=tiny.augment, seed=tiny.seed), 6)
    taken = training_batches(tiny, training_set, 0, 6, ALONE, torch.device("cpu"))
    for number, (batch, expected) in enumerate(zip(given, taken, strict=True)):
        generator = torch.Generator().manual_seed(torch_seed(tiny.seed, number, AUGMENTATION))
        clips = augment(expected.clips, tiny.augment, 16, draw_numbers(8, generator))
        assert torch.equal(batch.clips, clips)
        assert torch.equal(batch.videos, expected.videos)
        assert torch.equal(batch.strides, expected.strides)
        assert batch.labels.tolist() == [training_set.labels[video] for video in batch.videos]


@pytest.mark.parametrize("clips", [1, 2, 3])
def test_ranks_share_every_batch(shards, clips):
    settings = SMALL | {"clips": clips}
    alone = first(ascnet.clip_batches(shards, **settings), 3)
    ranks = [first(ascnet.clip_batches(shards, rank=r, world=2, **settings), 3) for r in (0, 1)]
    for whole, *parts in zip(alone, *ranks, strict=True):
        for name in ("clips", "labels", "videos", "strides"):
            halves = [getattr(part, name).chunk(clips) for part in parts]
            joint = [half for both in zip(*halves, strict=True) for half in both]
            assert torch.equal(torch.cat(joint), getattr(whole, name))


def test_they_go_on_at_any_batch_with_any_number_of_ranks(shards):
    batches = ascnet.clip_batches(shards, **SMALL, seed=3)
    taken = first(batches, 2)
    state = batches.state_dict()
    expected = first(batches, 2)  # iterated anew it goes on, too
    resumed = ascnet.clip_batches(str(shards), **SMALL | {"workers": 2}, seed=3)
    resumed.load_state_dict(state)
    assert all(map(same, first(resumed, 2), expected)) and not same(taken[0], expected[0])
    half = ascnet.clip_batches(shards, rank=1, world=2, **SMALL, seed=3)
    half.load_state_dict(state)
    assert torch.equal(first(half, 1)[0].videos, expected[0].videos[[2, 3, 6, 7]])


def test_a_state_of_other_clips_is_refused_by_name(shards, tmp_path):
    batches = ascnet.clip_batches(shards, **SMALL)
    other = ascnet.clip_batches(shards, **SMALL | {"frames": 8}, seed=1)
    with pytest.raises(TrainerError, match=r"frames was 4 and is 8; seed was 0 and is 1\. Give"):
        other.load_state_dict(batches.state_dict())
    with pytest.raises(TrainerError, match="the data sets differ"):
        batches.load_state_dict(batches.state_dict() | {"sha256": ["0" * 64]})
    with pytest.raises(TrainerError, match=r"no state of clip batches: it has no next, settings"):
        batches.load_state_dict({})
    torch.save(batches.state_dict(), tmp_path / "state.pt")
    batches.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))


def test_every_epoch_has_all_videos_once(shards, training_set):
    settings = SMALL | {"clips": 1, "batch": 1, "output": "cropped"}
    count = len(training_set.videos)
    batches = first(ascnet.clip_batches(shards, **settings), 2 * count)
    videos = [int(batch.videos) for batch in batches]
    assert sorted(videos[:count]) == sorted(videos[count:]) == list(range(count))
    assert videos[:count] != videos[count:]
    assert batches[0].clips.shape == (1, 3, 4, 16, 16) and batches[0].clips.dtype == torch.float32
    assert {int(batch.strides) for batch in batches} == {1, 2}


def test_frames_are_as_they_are_stored(shards):
    opened = ascnet.open_shards(shards)
    videos = opened.subset("1", "train")
    (batch,) = first(ascnet.clip_batches(shards, **SMALL | {"output": "frames"}), 1)
    for clip, video, stride in zip(batch.clips, batch.videos, batch.strides, strict=True):
        there = [
            opened.clip(videos[video], start, 4, int(stride))
            for start in range(videos[video].frames)
        ]
        assert clip.dtype == torch.uint8
        assert any(torch.equal(clip, expected) for expected in there)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frame": 4}, r"no setting frame; choose from frames, strides,"),
        ({"frames": "16"}, "frames is '16'; allowed: of type int"),
        ({"strides": 2}, "strides is 2; allowed: of type tuple"),
        ({"strides": (1, "2")}, "allowed: whole numbers"),
        ({"frames": 0}, r"frames is 0; allowed: 1 to 512"),
        ({"strides": (2, 2)}, r"strides is \(2, 2\); allowed: 1 to 10000, each once"),
        ({"output": "jpeg"}, "output is 'jpeg'; allowed: augmented, cropped or frames"),
        ({"short_videos": "skip"}, "short_videos is 'skip'"),
        ({"split": "9"}, "no training videos in split 9"),
        ({"rank": 2, "world": 2}, "rank is 2 of 2; ranks are numbered from 0"),
        ({"batch": 5, "world": 2}, "2 processes cannot share a batch of 5 videos equally"),
    ],
)
def test_what_cannot_be_is_one_sentence(shards, settings, message):
    with pytest.raises(TrainerError, match=message):
        ascnet.clip_batches(shards, **settings)


def test_no_shards(tmp_path):
    with pytest.raises(BuilderError):
        ascnet.clip_batches(tmp_path)


def test_a_list_of_strides_is_as_good_as_a_tuple():
    assert ClipSettings(strides=[1, 2]).strides == (1, 2)


def test_threads_end_with_the_loop(shards):

    before = threading.active_count()
    iterator = iter(ascnet.clip_batches(shards, **SMALL | {"workers": 2}))
    next(iterator)
    assert threading.active_count() > before
    iterator.close()
    assert threading.active_count() == before


def test_labels_are_those_of_the_videos(shards):
    dataset = ShardDataset(shards)
    videos = dataset.subset("1", "train")
    (batch,) = first(ascnet.clip_batches(shards, **SMALL), 1)
    names = [videos[video].class_name for video in batch.videos]
    assert len(
        {(name, int(label)) for name, label in zip(names, batch.labels, strict=True)}
    ) == len(set(names))
    assert np.all(batch.labels.numpy() >= 0)


def test_the_training_script_of_the_page_goes_on_where_it_was_stopped(
    shards, tmp_path, monkeypatch, capsys
):
    text = PAGE.read_text(encoding="utf-8")
    (code,) = (
        c for c in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S) if "supervised.pt" in c
    )
    for large, small in (
        ("shards/ucf101", str(shards)),
        ("frames=16", "frames=4"),
        ("size=112", "size=16, workers=1"),
        ("STEPS, BATCH, STATE = 2000, 32,", "STEPS, BATCH, STATE = 4, 4,"),
        ('"r3d18"', '"r3d-tiny"'),
    ):
        assert large in code
        code = code.replace(large, small)
    states = {}
    for name, lengths in (("whole", (4,)), ("resumed", (2, 4))):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        for steps in lengths:
            torch.manual_seed(0)
            exec(code.replace("= 4, 4,", f"= {steps}, 4,"), {})
        states[name] = torch.load("supervised.pt", weights_only=True)
    assert "step 4: loss " in capsys.readouterr().out
    whole, resumed = states["whole"]["network"], states["resumed"]["network"]
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
