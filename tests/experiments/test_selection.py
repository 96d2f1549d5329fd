import numpy as np
import pytest

from evaluate.split import Parts
from experiments.selection import accuracy, chosen, main, rows_of
from tests.evaluate.stores import store_of, video


@pytest.fixture
def parts() -> Parts:
    """Two classes, 40 training and 20 test videos."""
    labels = np.arange(60) % 2
    return Parts(
        split="1",
        test_part="test",
        train=np.arange(40),
        test=np.arange(40, 60),
        labels=labels,
        groups=np.arange(60) // 2,
        classes=("a", "b"),
        unlabelled=0,
        unknown=0,
    )


def test_shares_are_of_the_training_videos(tmp_path, parts):
    random = np.random.default_rng(0)
    rows = [np.abs(random.normal(1 + label, 0.3, (1, 4))) for label in parts.labels]
    videos = [video(f"{i}.mp4", 1, group=f"g{i // 2}") for i in range(60)]
    store = store_of(tmp_path / "x.h5", videos, rows)
    labelled = chosen(store, parts, 10)
    assert len(set(labelled.tolist())) == 10 and max(labelled) < 40
    assert len({i // 2 for i in labelled.tolist()}) == 10  # one of each group first
    assert accuracy(store, parts, parts.train) > 80
    table = rows_of([store, store], parts)
    assert [row[:2] for row in table[1:]] == [["10 %", "4"], ["25 %", "10"], ["50 %", "20"]]
    assert all("± 0.0" in cell for row in table[1:] for cell in row[2:])


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(SystemExit, match=r"Say: python -m experiments.selection"):
        main([])
    with pytest.raises(SystemExit, match=r"No shards|There is no"):
        main([str(tmp_path / "none"), "x.h5"])
