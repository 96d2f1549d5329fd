from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import gpu
from benchmarks.gpu import How, main
from benchmarks.gpu_table import Row, Setting, table
from trainer.data.training_set import TrainingSet
from trainer.errors import TrainerError


def test_the_table_has_a_row_for_every_precision(shards: Path, capsys) -> None:
    sizes = ["--steps", "2", "--warm-up", "1", "--precisions", "fp32", "tf32"]
    rows = main(["--device", "cpu", "--tiny", "--shards", str(shards), *sizes])
    assert [(row.setting.backbone, row.precision) for row in rows] == [
        ("r3d-tiny", "fp32"),
        ("r3d-tiny", "tf32"),
    ]
    for row in rows:
        assert row.batch == 4
        assert row.pairs > 0
        assert 0 <= row.waited <= 1
        assert row.memory is None
    printed = capsys.readouterr().out
    assert printed.endswith(table(rows) + "\n")
    assert "| r3d-tiny | 20x32 | fp32 | 4 |" in printed
    assert "| 1.00 x |" in table(rows)


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match=r"^There is no GPU that torch can use here"):
        main([])


def test_half_the_batch_is_tried_where_it_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    setting, tried = gpu.SETTINGS["s3dg"], []

    def measure(setting, precision, batch, *rest) -> Row:
        tried.append(batch)
        if batch > fits:
            raise gpu.torch.OutOfMemoryError
        return Row(setting, precision, batch, 10.0, 0.5, 2.0**31)

    monkeypatch.setattr(gpu, "measure", measure)
    ways = setting, "fp32", 64, None, How(gpu.torch.device("cpu"), range(1))
    fits = 16
    row = gpu.measure_what_fits(*ways)
    assert (row.batch, tried) == (16, [64, 32, 16])
    assert "| s3dg | 64x224 | fp32 | 16 | 10.0 | 1.00 x | 50% | 2.0 GiB |" in table([row])
    fits = 0
    assert "out of memory" in table([gpu.measure_what_fits(*ways)])


@pytest.mark.parametrize(
    ("words", "device", "tries"),
    [
        ([], "cuda", True),
        ([], "cpu", False),
        (["--cudnn-benchmark"], "cpu", True),
        (["--no-cudnn-benchmark"], "cuda", False),
    ],
)
def test_cudnn_tries_as_in_training_or_as_it_is_told(
    shards: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], device: str, tries: bool
) -> None:
    """Seen where the steps begin; the device is a name here, and nothing is computed."""
    seen = []

    def stop(*_: object) -> None:
        seen.append(gpu.torch.backends.cudnn.benchmark)
        raise TrainerError("Seen.")

    def measure(setting: Setting, precision: str, batch: int, data: TrainingSet, how: How) -> Row:
        return whole(setting, precision, batch, data, replace(how, device=named))

    whole, named = gpu.measure, gpu.torch.device(device)
    monkeypatch.setattr(gpu, "measure", measure)
    monkeypatch.setattr(gpu, "training_batches", stop)
    monkeypatch.setattr(gpu, "TrainingState", lambda *_: SimpleNamespace(model=None))
    monkeypatch.setattr(gpu, "prepare", lambda *_: None)
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(gpu.torch.cuda, name, lambda *_: None)
    before = gpu.torch.backends.cudnn.benchmark
    where = ["--device", "cpu", "--tiny", "--shards", str(shards), "--precisions", "fp32"]
    main([*where, *words])
    assert seen == [tries] and gpu.torch.backends.cudnn.benchmark is before
