"""Which room may call which."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "builder": set(),
    "trainer": {
        "builder.shards.format",
        "builder.atomic",
        "builder.shards.scans",
        "builder.command_line",
    },
    "evaluate": {
        "trainer",
        "builder.shards.format",
        "builder.atomic",
        "builder.shards.jpeg",
        "builder.command_line",
    },
    "ascnet": {"builder", "trainer", "evaluate"},
    "experiments": {"builder", "trainer", "evaluate", "ascnet"},  # nobody calls these two
    "benchmarks": {"builder", "trainer", "evaluate", "ascnet"},
}


def imported(path: Path) -> set[str]:
    """Full names of all modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def is_allowed(room: str, module: str) -> bool:
    if module.split(".", maxsplit=1)[0] not in ALLOWED or module.split(".", maxsplit=1)[0] == room:
        return True
    return any(module == a or module.startswith(a + ".") for a in ALLOWED[room])


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_run_one_way(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files
        for module in sorted(imported(path))
        if not is_allowed(room, module)
    ]
    assert not wrong


def test_the_import_check_sees_wrong_imports(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text(
        "def f():\n    from trainer.method.memory_bank import MemoryBank\n"
        "    import evaluate.features.store\n"
    )
    names = imported(file)
    assert names == {"trainer.method.memory_bank.MemoryBank", "evaluate.features.store"}
    assert not is_allowed("builder", "trainer.method.memory_bank.MemoryBank")
    assert not is_allowed("trainer", "builder.build.build.build")
    assert not is_allowed("trainer", "evaluate.features.store")
    assert is_allowed("trainer", "builder.shards.format.Video")
    assert is_allowed("experiments", "trainer.method.memory_bank") and not is_allowed(
        "ascnet", "experiments.plan"
    )


def test_only_shard_knows_the_format() -> None:
    knowing = {
        path.relative_to(ROOT).as_posix()
        for room in ALLOWED
        for path in (ROOT / room).rglob("*.py")
        if any(name.split(".")[0] == "tarfile" for name in imported(path))
    }
    assert knowing == {
        "builder/shards/format.py",
        "builder/download/unpack.py",
    }  # unpack: downloaded archives
