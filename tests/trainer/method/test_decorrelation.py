import numpy as np
import pytest
import torch

from trainer.method.decorrelation import correlation


def test_it_is_the_mean_square_of_numpys():
    rows = np.random.default_rng(0).normal(size=(40, 6)) @ np.random.default_rng(1).normal(
        size=(6, 6)
    )
    table = np.corrcoef(rows.T)
    expected = np.square(table[~np.eye(6, dtype=bool)]).mean()
    found = correlation(torch.tensor(1e3 * rows + 5))  # neither scale nor place of a channel counts
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(expected, abs=1e-5)


def test_from_chance_to_one():
    rows = torch.randn(32, 200, generator=torch.Generator().manual_seed(0))
    assert float(correlation(rows)) == pytest.approx(1 / 31, rel=0.05)
    assert float(correlation(rows[:, :1] * torch.tensor([1.0, -2.0, 3.0]))) == pytest.approx(1.0)


def test_channels_that_do_not_vary_and_single_ones():
    rows = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    rows[:, 1] = 4.0
    rows.requires_grad_()
    found = correlation(rows)
    two = torch.corrcoef(rows.detach()[:, [0, 2]].T)[0, 1].square()
    assert float(found.detach()) == pytest.approx(float(two) / 3, abs=1e-5)
    found.backward()
    assert rows.grad is not None and rows.grad.isfinite().all()
    assert float(correlation(rows.detach()[:, :1])) == 0.0
    assert float(correlation(rows.detach()[:1])) == 0.0


def test_all_its_digits_under_autocast():
    rows = torch.randn(32, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = correlation(rows.double())
    with torch.autocast("cpu", torch.bfloat16):
        found = correlation(rows)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(expected), abs=1e-6)


def test_descent_takes_it_down():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(64, 1, generator=generator) + 0.3 * torch.randn(64, 8, generator=generator)
    rows.requires_grad_()
    before = float(correlation(rows).detach())
    optimiser = torch.optim.SGD([rows], lr=10.0)
    for _ in range(100):
        optimiser.zero_grad()
        correlation(rows).backward()
        optimiser.step()
    assert before > 0.7 and float(correlation(rows).detach()) < 0.1 * before
