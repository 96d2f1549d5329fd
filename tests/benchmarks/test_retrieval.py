import pytest

from benchmarks import retrieval, run_all


@pytest.mark.slow
def test_ours_and_faiss_are_measured_side_by_side(monkeypatch, capsys):
    for name, value in {"GALLERY": "600", "QUERIES": "40", "CHANNELS": "16"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(run_all, "ROUNDS", 1)
    monkeypatch.setattr(run_all, "some_shapes", lambda: pytest.fail("no videos are needed"))
    run_all.main(["retrieval"])
    printed = capsys.readouterr().out
    assert printed.startswith("Nearest 50 of 40 queries in 600 rows of 16 channels")
    assert "ours takes x " in printed and "GiB at most" in printed
    assert "100.0000% of the positions are the same" in printed


def test_without_faiss_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(retrieval, "find_spec", lambda name: None)
    retrieval.bench_retrieval(1)
    assert capsys.readouterr().out.startswith("Retrieval is not measured: faiss is missing")
