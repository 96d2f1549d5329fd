import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from ascnet import doctor


def find(name: str) -> doctor.Finding:
    return next(finding for finding in doctor.findings() if finding.name == name)


def distributions(monkeypatch, **versions: str | None) -> None:
    """Make `metadata.version` tell of some distributions what is not so."""
    real = metadata.version

    def version(name: str) -> str:
        key = name.lower().replace("-", "_")
        if key not in versions:
            return real(name)
        if versions[key] is None:
            raise metadata.PackageNotFoundError(name)
        return versions[key]

    monkeypatch.setattr(metadata, "version", version)


def test_all_that_is_needed_is_here():
    found = list(doctor.findings())
    assert not [f for f in found if f.state == doctor.BROKEN]
    assert all(f.advice for f in found if f.state != doctor.GOOD)
    lines = [doctor.line(f) for f in found]
    assert all(len(line.splitlines()) == 1 for line in lines)
    assert all(line[14] == " " and line[15] != " " for line in lines)  # aligned


@pytest.mark.parametrize("content", ["raise OSError('libx.so: cannot open\\nmore')", "exit('bye')"])
def test_a_broken_package_is_a_quiet_line(tmp_path, monkeypatch, capsys, content):
    (tmp_path / "h5py.py").write_text(f"import sys\nprint('noise', file=sys.stderr)\n{content}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "h5py", raising=False)
    found = find("h5py")
    assert found.state == doctor.BROKEN
    assert "libx.so: cannot open" in found.text or "bye" in found.text
    assert "\n" not in found.text and "--force-reinstall --no-deps h5py" in found.advice
    assert capsys.readouterr().err == ""


def test_an_optional_package_that_is_not_there(monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    for name, what in (
        ("av", "ascnet build"),
        ("ray", "ascnet build"),
        ("transformers", "hf:MODEL"),
    ):
        assert find(name).state == doctor.MISSING
        assert what in find(name).advice and "pip install" in find(name).advice


def test_pillow_over_pillow_simd(monkeypatch):
    distributions(monkeypatch, pillow_simd="12.1.1.post0", pillow="12.1.1")
    found = find("PIL")
    assert found.state == doctor.WARNING
    assert "uninstall -y pillow pillow-simd" in found.advice


def test_plain_pillow_is_told_by_its_version(monkeypatch):
    distributions(monkeypatch, pillow_simd=None, pillow="12.0.0")
    monkeypatch.setattr("PIL.Image.__version__", "12.0.0")
    found = find("PIL")
    assert found.state == doctor.WARNING and found.text.startswith("Pillow 12.0.0")


@pytest.mark.parametrize(
    "script, said",
    [
        (None, "which is no program"),
        ("echo hello", "is no ffmpeg"),
        ("echo ffmpeg version 4.4.2", "5.1 or newer is needed"),
        ("echo ffmpeg version n6.1", None),
        ("echo ffmpeg version N-109-gabc", None),
    ],
)
def test_ffmpeg(tmp_path, monkeypatch, script, said):
    engine = __import__("builder.decode.ffmpeg", fromlist=["x"])
    for cached in (engine.find_ffmpeg, engine.ffmpeg_version):
        monkeypatch.setattr(engine, cached.__name__, cached.__wrapped__)
    program = tmp_path / "ffmpeg"
    if script:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("ASCNET_FFMPEG", str(program))
    found = find("ffmpeg")
    if said:
        assert found.state == doctor.BROKEN and said in found.text
        assert "ASCNET_FFMPEG" in found.advice
    else:
        assert found.state == doctor.GOOD and "(ASCNET_FFMPEG)" in found.text


def torch(cuda: str | None, cards: int) -> SimpleNamespace:
    card = SimpleNamespace(name="NVIDIA H100", total_memory=80 * 10**9)
    return SimpleNamespace(
        __version__="2.9",
        version=SimpleNamespace(cuda=cuda),
        get_num_threads=lambda: 4,
        cuda=SimpleNamespace(
            is_available=lambda: cards > 0,
            device_count=lambda: cards,
            get_device_properties=lambda i: card,
        ),
    )


@pytest.mark.parametrize(
    "cuda, cards, driver, state, text",
    [
        ("13.0", 2, True, doctor.GOOD, "CUDA 13.0, NVIDIA H100 (80.0 GB), NVIDIA H100 (80.0 GB)"),
        ("13.0", 0, True, doctor.WARNING, "no GPU can be used"),
        ("13.0", 0, False, doctor.GOOD, "no GPU"),
        (None, 0, True, doctor.WARNING, "built without CUDA"),
        (None, 0, False, doctor.GOOD, "built without CUDA"),
    ],
)
def test_torch(tmp_path, monkeypatch, cuda, cards, driver, state, text):
    monkeypatch.setattr(doctor, "_NVIDIA", tmp_path if driver else tmp_path / "none")
    monkeypatch.setattr(doctor, "import_module", lambda name: torch(cuda, cards))
    found = doctor._checked("torch", doctor._torch, "")
    assert (found.state, found.text.endswith(text)) == (state, True)


def test_unpackers_are_looked_for_on_the_path(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find("rar").state == doctor.MISSING
    (tmp_path / "bsdtar").write_text("")
    (tmp_path / "bsdtar").chmod(0o755)
    assert find("rar").text == str(tmp_path / "bsdtar")


def test_a_cpu_limit_is_named(monkeypatch):
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(doctor, "cpu_limit", lambda: 2.0)
    monkeypatch.setattr(doctor, "usable_cores", lambda: 2)
    found = find("cores")
    assert (
        found.state == doctor.GOOD and "allows 2; default for workers and threads: 2" in found.text
    )


def test_advice_lists_the_gravest_first():
    states = (doctor.GOOD, doctor.MISSING, doctor.WARNING, doctor.BROKEN)
    found = [doctor.Finding(state, state, "text", f"do {state}") for state in states]
    lines = doctor.advice(found).splitlines()
    assert [line.split()[-1] for line in lines if line.startswith("  ")] == [
        doctor.BROKEN,
        doctor.WARNING,
        doctor.MISSING,
    ]
    assert doctor.advice(found[:1]) == ""
