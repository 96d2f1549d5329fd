"""The classifier recipes that ship with ascnet."""

from pathlib import Path

RECIPES = Path(__file__).parent / "recipes"


def recipes() -> list[str]:
    """Names of the recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))
