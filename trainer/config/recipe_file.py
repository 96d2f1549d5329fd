"""Recipes: read, change, compare and write settings as TOML files."""

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tomli_w

from builder.near_name import did_you_mean, near_name
from trainer.config.settings import Config
from trainer.config.toml_text import parse_toml, read_toml
from trainer.errors import TrainerError, TrainerUsageError

Settings = TypeVar("Settings")  # a frozen dataclass
RECIPES = Path(__file__).parent / "recipes"
# Settings that may change on resume, as they do not affect what is learnt.
MAY_CHANGE = (
    "data.workers",
    "checkpoint_every",
    "milestones",
    "objective.collapse",
    "objective.collapse_steps",
)


def recipes() -> list[str]:
    """Names of the recipes that come with ascnet."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name: str) -> Config:
    """Load a recipe that comes with ascnet by name, or a TOML file by path. Raises TrainerError if
    there is neither, or if a setting is invalid."""
    path = RECIPES / f"{name}.toml"
    if not path.is_file():
        path = Path(name)
        if path.suffix != ".toml" or not path.is_file():
            kind = TrainerError if path.suffix == ".toml" else TrainerUsageError
            raise kind("--recipe: " + no_recipe(name, recipes()))
    return load(path)


def no_recipe(name: str, names: list[str]) -> str:
    """What is said of a recipe that is neither one of `names` nor a TOML file."""
    beside = f"{name}.toml"
    near = f" Did you mean {beside}?" if Path(beside).is_file() else did_you_mean(name, names)
    if name.endswith(".toml"):
        return f"there is no recipe file {name}.{near}"
    return f"there is no recipe {name!r}; there are {', '.join(names)}, or name a .toml file.{near}"


def load(path: Path) -> Config:
    """Load settings from a TOML file; those that it does not name have their defaults. Raises
    TrainerError if it is no TOML, or if a setting is invalid."""
    try:
        table = read_toml(path)
    except ValueError as error:
        raise TrainerError(f"{path} is not valid TOML: {error}.") from error
    table.setdefault("recipe", path.stem)
    table.pop("run", None)  # a run's own record, see trainer.run.run_directory
    try:
        settings: Config = apply(Config(), table, str(path))
    except TrainerUsageError as error:  # a fault of the file, not of the command
        raise TrainerError(str(error)) from error
    return settings


def override(config: Settings, assignments: tuple[str, ...], prefix: str = "") -> Settings:
    """Apply the assignments of `--set optim.lr=0.05 data.strides=[1,2,4]`. Values are TOML; bare
    words are strings. All changes are made at once, so only their combined result must be valid.
    `prefix` is what the user writes before every key. Raises TrainerError for an invalid one."""
    changes: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not (equals and key.strip()):
            lacks = "key before the '='" if equals else "'='"
            raise TrainerUsageError(
                f"--set {assignment} has no {lacks}; write --set optim.lr=0.05."
            )
        try:
            value = parse_toml(f"value = {text}")["value"]
        except ValueError:  # no TOML, or a number with more digits than Python parses
            value = text
        for part in reversed(key.strip().removeprefix(prefix).split(".")):
            value = {part: value}
        changes |= _checked(config, value, f"--set {assignment}", prefix)
    try:
        result: Settings = _changed(config, changes)
    except TrainerError as error:  # its message begins with the key
        raise TrainerUsageError(f"{prefix}{error}") from error
    return result


def apply(settings: Any, table: dict[str, Any], source: str) -> Any:
    """`settings` with the values of `table`. Raises TrainerError, naming `source`, for unknown
    keys, wrong types and invalid values."""
    _without_retired(table, source)
    return _changed(settings, _checked(settings, table, source))


def _without_retired(table: dict[str, Any], source: str) -> None:
    """Translate settings of older runs to today's names, in place."""
    objective = table.get("objective")
    if not isinstance(objective, dict):
        return
    if objective.get("speed_target") == "place":
        objective["speed_target"] = "neighbour"
    if objective.pop("neighbour", "appearance") != "appearance":
        raise TrainerError(
            f"{source}: objective.neighbour is not 'appearance'. SCP's neighbours are the nearest "
            "in appearance; a run with others is opened by the ascnet that made it."
        )


def _changed(settings: Any, changes: dict[str, Any]) -> Any:
    """`settings` with changed values, by key. Tables are changed first and `settings` once at the
    end, as some rules relate values of several tables."""
    values: dict[str, Any] = {}
    tables: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        table, dot, name = key.partition(".")
        if dot:
            tables.setdefault(table, {})[name] = value
        else:
            values[key] = value
    values |= {table: _changed(getattr(settings, table), more) for table, more in tables.items()}
    return replace(settings, **values)


def _checked(settings: Any, table: dict[str, Any], source: str, prefix: str = "") -> dict[str, Any]:
    """The values of `table`, converted to the types in `settings`, by keys such as "optim.lr".
    Raises TrainerError for unknown keys and wrong types."""
    kinds = get_type_hints(type(settings))
    known = {f.name for f in fields(settings)}
    changes: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            near = setting_like(settings, key)
            hint = f" Did you mean {prefix}{near}?" if near else ""
            raise TrainerUsageError(
                f"{source}: there is no setting {prefix}{key}.{hint} "
                f"Settings here: {', '.join(prefix + k for k in sorted(known))}."
            )
        old = getattr(settings, key)
        if hasattr(old, "__dataclass_fields__"):
            if not isinstance(value, dict):
                names = ", ".join(f"{prefix}{key}.{f.name}" for f in fields(old))
                raise TrainerUsageError(
                    f"{source}: {prefix}{key} holds several settings. Set one of them: {names}."
                )
            inner = _checked(old, value, source, f"{prefix}{key}.")
            changes |= {f"{key}.{name}": item for name, item in inner.items()}
        else:
            changes[key] = _converted(kinds[key], value, f"{source}: {prefix}{key}")
    return changes


def setting_like(settings: Any, name: str) -> str | None:
    """The key, such as "optim.steps", of the setting whose name is `name` or near it, in whichever
    table; None if there is none."""
    keys = list(_flat(asdict(settings)))
    tables = [f.name for f in fields(settings)]
    last = {key.rpartition(".")[2]: key for key in reversed(keys)}  # of two the first
    if name in last:
        return last[name]
    near = near_name(name, [*keys, *tables, *last])
    return None if near is None else last.get(near, near)


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _converted(kind: Any, value: Any, where: str) -> Any:
    items = getattr(kind, "__args__", None)
    if items:
        if isinstance(value, list | tuple) and (items[-1] is Ellipsis or len(value) == len(items)):
            return tuple(_converted(items[0], item, where) for item in value)
        wanted = "a list" if items[-1] is Ellipsis else f"a list of {len(items)}"
        raise TrainerUsageError(f"{where} is {value!r}; it takes {wanted}, such as [1, 2].")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise TrainerUsageError(f"{where} has more digits than a number can have.") from error
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if type(value) is not kind:
        raise TrainerUsageError(f"{where} is {value!r}; it takes {_KINDS[kind]}.")
    return value


def fixed(config: Config) -> Config:
    """The settings with those that may change on resume set to their defaults."""
    defaults = _flat(asdict(Config()))
    changed: Config = _changed(config, {key: defaults[key] for key in MAY_CHANGE})
    return changed


def with_former_values(text: str) -> str:
    """A dump of settings with values by their former names, for hashes that older files hold."""
    return text.replace('speed_target = "neighbour"', 'speed_target = "place"')


def differing(one: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    """The settings that differ, other than those that may change on resume: both values by key."""
    mine, theirs = _flat(asdict(fixed(one))), _flat(asdict(fixed(other)))
    return {key: (mine[key], theirs[key]) for key in mine if mine[key] != theirs[key]}


def parse(text: str, source: str) -> Config:
    """Settings from TOML text by `dump`. Raises TrainerError, naming `source`, if it is damaged."""
    try:
        settings: Config = apply(Config(), parse_toml(text), source)
    except (ValueError, TypeError, AttributeError) as error:
        raise TrainerError(f"{source} is damaged, or not valid TOML: {error}.") from error
    return settings


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"optim": {"lr": 0.1}} as {"optim.lr": 0.1}."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        inner = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return flat


def dump(config: Config) -> str:
    """The settings as TOML text."""
    return tomli_w.dumps(asdict(config))
