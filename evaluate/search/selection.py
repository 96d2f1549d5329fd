"""Choose videos of a collection: the most diverse ones, or a train and a test part that share no
recording and no copy."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from builder.progress import Progress, silent


def k_centre(
    rows: torch.Tensor, groups: Sequence[str], count: int, progress: Progress = silent
) -> list[int]:
    """Choose `count` of N rows (float, N x channels, of length 1) by greedy k-centre (Gonzalez
    1985; for active learning: Sener & Savarese 2018, arXiv 1708.00489). Returns their positions.

    The first is the row with the largest cosine with the mean of all rows; each further one is the
    row farthest from its nearest chosen row; of equals, the first. A group gives another row only
    when every group with rows left has given equally many. `count` may not exceed N.
    """
    members = np.unique(np.asarray(groups), return_inverse=True)[1]
    group = torch.from_numpy(members).to(rows.device)
    left = torch.bincount(group)  # number of unchosen rows in each group
    taken = torch.zeros_like(left)
    is_free = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    nearest = torch.full((len(rows),), -torch.inf, device=rows.device, dtype=rows.dtype)
    chosen = [int((rows @ rows.mean(dim=0)).argmax())]
    while True:
        last = chosen[-1]
        is_free[last] = False
        left[group[last]] -= 1
        taken[group[last]] += 1
        progress(len(chosen), count, "")
        if len(chosen) == count:
            return chosen
        nearest = torch.maximum(nearest, rows @ rows[last])
        fewest = taken[left > 0].min()
        may_be = is_free & (taken[group] == fewest)
        chosen.append(int(torch.where(may_be, nearest, torch.inf).argmin()))


def train_and_test(
    groups: Sequence[str], classes: Sequence[str], test_share: float, seed: int
) -> list[bool]:
    """Whether each video is in the test part. Groups stay together and are visited in random order;
    a group joins the test part if that brings the classes closer to a share of `test_share` (0 to
    1) each. If there are at least two groups, each part gets at least one."""
    wanted = {name: test_share * count for name, count in Counter(classes).items()}
    by_group: dict[str, Counter[str]] = {}
    for group, name in zip(groups, classes, strict=True):
        by_group.setdefault(group, Counter())[name] += 1
    names = sorted(by_group)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    test: set[str] = set()
    for group in order:
        gain = sum(
            abs(wanted[name]) - abs(wanted[name] - count) for name, count in by_group[group].items()
        )
        if gain > 0 and len(test) + 1 < len(order):
            test.add(group)
            for name, count in by_group[group].items():
                wanted[name] -= count
    if not test and len(order) > 1:
        test.add(min(order, key=lambda group: by_group[group].total()))
    return [group in test for group in groups]
