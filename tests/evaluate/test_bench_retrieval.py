import pytest

from tests import bench, bench_retrieval


def test_ours_and_faiss_are_measured_side_by_side(monkeypatch, capsys):
    for name, value in {"GALLERY": "600", "QUERIES": "40", "CHANNELS": "16"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(bench, "ROUNDS", 2)
    monkeypatch.setattr(bench, "some_shapes", lambda: pytest.fail("no videos are needed"))
    bench.main(["retrieval"])
    printed = capsys.readouterr().out
    assert printed.startswith("Nearest 50 of 40 queries in 600 rows of 16 channels")
    assert "ours takes x " in printed and "GiB at most" in printed
    assert "100.0000% of the positions are the same" in printed


def test_without_faiss_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(bench_retrieval, "find_spec", lambda name: None)
    bench_retrieval.bench_retrieval(1)
    assert capsys.readouterr().out.startswith("Retrieval is not measured: faiss is missing")
