"""Which room may call which."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Sub-rooms and files of a room, in the order in which data meets them: each imports only what
# stands before it. "evaluate: ..." are what it may import of other rooms.
ROOMS = {
    "builder": (
        "errors counted near_name video_name progress plain_name command_line regular_file "
        "printable text_table cgroups cores video_limits atomic system_errors workers decode "
        "shards catalog download build"
    ),
    "trainer": (
        "errors float32 lifeline distributed agreement random_streams config backbones data method "
        "schedules optimiser sync_batch_norm execution stop probing run weights training_state "
        "step calibration pretrain"
    ),
    "evaluate": (
        "errors choices counts disk_errors identity_check protocol split published results "
        "own_encoder encoder_file hugging_face encoders retrieval features label_free probe "
        "finetune search measures request tasks curve pages"
    ),
}
ALLOWED = {
    "builder": set(),
    "trainer": {
        *("builder.shards", "builder.atomic"),
        *("builder.errors", "builder.command_line", "builder.plain_name", "builder.regular_file"),
        "builder.near_name",
        "builder.counted",
        *("builder.printable", "builder.cgroups", "builder.cores", "builder.progress"),
        "builder.system_errors",
    },
    "evaluate": {
        *("trainer", "builder.shards", "builder.atomic"),
        *("builder.errors", "builder.command_line", "builder.progress", "builder.text_table"),
        *("builder.near_name", "builder.counted", "builder.system_errors"),
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


def room_of(module: str) -> str:
    """The sub-room, or the file of a room: "trainer.data" of "trainer.data.augment.render"."""
    return ".".join(module.split(".")[:2])


@pytest.mark.parametrize("room", ROOMS)
def test_sub_rooms_call_only_those_before_them(room: str) -> None:
    order = [f"{room}.{name}" for name in ROOMS[room].split()]
    there = {
        f"{room}.{path.stem}"
        for path in (ROOT / room).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert set(order) | {f"{room}.__init__"} == there
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for own in [room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))]
        for module in sorted(imported(path))
        if room_of(module) in order and own in order
        if order.index(room_of(module)) > order.index(own)
    ]
    assert not wrong


@cache
def defined(path: Path) -> set[str]:
    """Names that a module makes itself, not those that it imports."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            names |= {
                name.id for name in ast.walk(target or ast.Pass()) if isinstance(name, ast.Name)
            }
    return names


def test_a_name_is_imported_from_where_it_is_defined() -> None:
    """Else an arrow could be dodged, and a reader is sent to the wrong file."""
    wrong = []
    for path in sorted(path for room in ALLOWED for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in ALLOWED:
                source = ROOT.joinpath(*str(node.module).split("."))
                file = source / "__init__.py" if source.is_dir() else source.with_suffix(".py")
                names = {alias.name for alias in node.names} - defined(file)
                names -= {below.stem for below in source.glob("*")}
                wrong += [f"{path.relative_to(ROOT)}: {name} of {node.module}" for name in names]
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
    assert is_allowed("trainer", "builder.shards.dataset.Video")
    assert is_allowed("experiments", "trainer.method.memory_bank") and not is_allowed(
        "ascnet", "experiments.plan"
    )


def test_only_shard_knows_the_format() -> None:
    knowing = {
        path.relative_to(ROOT).as_posix()
        for room in ("builder", "trainer", "evaluate", "ascnet", "experiments")
        for path in (ROOT / room).rglob("*.py")
        if any(name.split(".")[0] == "tarfile" for name in imported(path))
    }
    # unpack: downloaded archives
    assert knowing == {"builder/shards/format.py", "builder/download/unpack.py"}


def is_record(node: ast.ClassDef) -> bool:
    """Whether a class is a dataclass or a named tuple that others use."""
    words = [ast.unparse(part) for part in (*node.decorator_list, *node.bases)]
    return not node.name.startswith("_") and any(
        "dataclass" in word or word == "NamedTuple" for word in words
    )


@pytest.mark.parametrize("room", ROOMS | {"ascnet": ""})
def test_what_a_field_is_stands_in_the_docstring(room: str) -> None:
    """There `help` shows it, with its unit and shape."""
    for path in sorted((ROOT / room).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in filter(lambda n: isinstance(n, ast.ClassDef), ast.walk(ast.parse(text))):
            if is_record(node):
                assert ast.get_docstring(node), f"{path}: {node.name} has no docstring"
                for field in filter(lambda f: isinstance(f, ast.AnnAssign), node.body):
                    line = lines[field.end_lineno - 1]
                    assert "  # " not in line or "noqa" in line, f"{path}: {line}"
