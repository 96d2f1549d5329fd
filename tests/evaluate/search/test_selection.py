import numpy as np
import pytest
import torch

from evaluate.search.selection import k_centre, train_and_test


def at(*degrees: float) -> torch.Tensor:
    """Rows of length 1 on a circle."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_the_most_typical_row_comes_first_then_the_farthest():
    rows = at(0, 10, 20, 100, 180, 185)
    singles = list("abcdef")
    assert k_centre(rows, singles, 4) == [3, 0, 5, 2]
    assert sorted(k_centre(rows, singles, 6)) == list(range(6))
    assert k_centre(at(0, 0, 0), list("abc"), 3) == [0, 1, 2]  # of equals the first


def test_every_group_gives_one_before_any_gives_two():
    rows = at(0, 90, 180, 1, 91)
    assert k_centre(rows, list("aaabc"), 3) == [1, 3, 4]
    assert k_centre(rows, list("aaabc"), 5) == [1, 3, 4, 2, 0]


@pytest.mark.parametrize("seed", range(5))
def test_k_centre_is_within_twice_the_best_radius(seed):
    """Gonzalez' bound, of distances on the sphere, by trying all choices."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.nn.functional.normalize(torch.randn(12, 3, generator=generator), dim=1).double()
    angles = (rows @ rows.T).clamp(-1, 1).arccos()
    best = min(
        float(angles[:, [i, j, k]].amin(dim=1).max())
        for i in range(12)
        for j in range(i)
        for k in range(j)
    )
    chosen = k_centre(rows, [str(i) for i in range(12)], 3)
    assert float(angles[:, chosen].amin(dim=1).max()) <= 2 * best + 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_a_split_has_its_share_of_every_class_and_whole_groups(seed):
    rng = np.random.default_rng(seed)
    groups = [f"g{number}" for number in rng.integers(60, size=400)]
    classes = [f"c{int(group[1:]) % 3}" for group in groups]
    is_test = np.array(train_and_test(groups, classes, 0.3, seed))
    assert not set(np.array(groups)[is_test]) & set(np.array(groups)[~is_test])
    for name in set(classes):
        assert abs(is_test[np.array(classes) == name].mean() - 0.3) < 0.06
    assert is_test.tolist() == train_and_test(groups, classes, 0.3, seed)
    assert is_test.tolist() != train_and_test(groups, classes, 0.3, seed + 1)


def test_groups_that_cannot_be_divided():
    assert train_and_test(["a", "a"], ["x", "x"], 0.3, 0) == [False, False]
    assert sorted(train_and_test(["a", "b"], ["x", "x"], 0.1, 0)) == [False, True]
    assert sorted(train_and_test(["a", "b"], ["x", "x"], 0.9, 0)) == [False, True]
    big = train_and_test(["a"] * 8 + ["b"], ["x"] * 9, 0.3, 0)  # the small one is nearer to 30 %
    assert big == [False] * 8 + [True]
