from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from trainer.method.ascnet import SpeedNeighbours
from trainer.method.monitor import (
    effective_rank,
    embedding_std,
    healthy_rank,
    healthy_std,
    neighbour_numbers,
    told_by_speed,
)


def test_spread_embeddings_are_healthy_and_equal_ones_are_not():
    spread = normalize(torch.randn(4000, 64), dim=1)
    assert embedding_std(spread) == pytest.approx(healthy_std(64), rel=0.02)
    assert embedding_std(spread[:1].expand(100, -1)) == pytest.approx(0, abs=1e-6)
    assert embedding_std(spread[:1]) == 0.0


def test_effective_rank_by_hand():
    assert effective_rank(torch.tensor([[1.0, 0, 0], [-1, 0, 0]])) == pytest.approx(1)
    square = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    assert effective_rank(square) == pytest.approx(2)
    assert effective_rank(square + 5) == pytest.approx(2)  # where they lie is no matter
    assert effective_rank(torch.ones(9, 4)) == 0
    assert effective_rank(torch.ones(1, 4)) == effective_rank(torch.ones(0, 4)) == 0


def test_the_variance_between_speeds_by_hand():
    stride = torch.tensor([1, 1, 2, 2])
    rows = torch.tensor([[0.0, 1], [0, -1], [2, 1], [2, -1]])  # 1 along each axis
    assert told_by_speed(rows, stride) == pytest.approx(0.5)
    assert told_by_speed(rows[:, :1], stride) == pytest.approx(1)
    assert told_by_speed(rows[:, 1:], stride) == pytest.approx(0)
    assert told_by_speed(torch.ones(4, 2), stride) is None
    assert told_by_speed(torch.ones(0, 2), stride[:0]) is None


def test_a_collapse_of_dimensions_shows_in_the_rank_and_not_in_the_std():
    generator = torch.Generator().manual_seed(0)
    spread = normalize(torch.randn(1000, 64, generator=generator), dim=1)
    basis = torch.linalg.qr(torch.randn(64, 4, generator=generator))[0]
    flat = normalize(torch.randn(1000, 4, generator=generator) @ basis.T, dim=1)
    assert embedding_std(flat) > 0.9 * healthy_std(64)
    assert effective_rank(flat) < 4.01
    assert effective_rank(spread) == pytest.approx(healthy_rank(1000, 64), rel=0.02)


def test_what_the_neighbours_are(training_set):
    data = replace(training_set, labels=(0, 0, 1, -1, *training_set.labels[4:]))
    data = replace(data, groups=(7, 8, 7, 9, *training_set.groups[4:]))
    found = torch.tensor([[True], [True], [True], [False]])
    other = torch.tensor([[1], [0], [3], [2]])  # same class, same class, unknown, nothing found
    neighbours = SpeedNeighbours(found, other, torch.tensor([[8], [16], [24], [999]]))
    report = neighbour_numbers(neighbours, torch.tensor([0, 2, 0, 0]), data, 8)
    assert report == {
        "neighbour_same_group": pytest.approx(1 / 3),  # videos 2 and 0
        "neighbour_same_class": pytest.approx(1 / 2),  # 0 and 1, but not 2 and 0
        "neighbour_age": pytest.approx(2),
    }
    nothing = neighbour_numbers(
        replace(neighbours, found=~found & False), torch.tensor([0, 2, 0, 0]), data, 8
    )
    assert set(nothing.values()) == {None}
