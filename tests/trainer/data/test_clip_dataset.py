import pytest
import torch
from torch.utils.data import DataLoader

import ascnet
from builder.shards.dataset import ShardDataset
from trainer.errors import TrainerError

SMALL = {"frames": 4, "strides": (1, 2), "size": 16}


def test_an_item_is_a_clip_of_its_video_and_the_label(shards, training_set):
    opened = ascnet.open_shards(shards)
    dataset = ascnet.clip_dataset(shards, **SMALL, output="frames")
    videos = ShardDataset(shards).subset("1", "train")
    assert len(dataset) == len(videos) == len(dataset.videos)
    for number in (0, len(videos) - 1, -1):
        clip, label = dataset[number]
        assert label == training_set.labels[number]
        there = [
            opened.clip(videos[number], start, 4, stride)
            for start in range(videos[number].frames)
            for stride in (1, 2)
        ]
        assert any(torch.equal(clip, expected) for expected in there)
    with pytest.raises(IndexError):
        dataset[len(videos)]


def test_torch_s_seed_decides(shards):
    dataset = ascnet.clip_dataset(shards, **SMALL)
    torch.manual_seed(3)
    first, second = dataset[2][0], dataset[2][0]
    torch.manual_seed(3)
    assert torch.equal(dataset[2][0], first) and not torch.equal(first, second)
    assert first.shape == (3, 4, 16, 16) and first.dtype == torch.float32


@pytest.mark.parametrize(
    "start",
    ["fork", pytest.param("spawn", marks=pytest.mark.slow)],  # imports torch anew
)
def test_a_data_loader_reads_it_in_processes_of_its_own(shards, start):
    dataset = ascnet.clip_dataset(shards, **SMALL, output="cropped")
    dataset[0]  # opens files before others are forked
    loader = DataLoader(dataset, batch_size=3, num_workers=2, multiprocessing_context=start)
    batches = list(loader)
    assert sum(len(clips) for clips, _ in batches) == len(dataset)
    assert all(clips.isfinite().all() and clips.shape[1:] == (3, 4, 16, 16) for clips, _ in batches)
    labels = torch.cat([labels for _, labels in batches]).tolist()
    assert labels == [dataset[number][1] for number in range(len(dataset))]


def test_a_setting_that_is_not_there(shards):
    with pytest.raises(TrainerError, match="no setting stride; choose from frames,"):
        ascnet.clip_dataset(shards, stride=2)
