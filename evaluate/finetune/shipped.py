"""The recipes of classifiers that ship."""

from pathlib import Path

RECIPES = Path(__file__).parent / "recipes"


def recipes() -> list[str]:
    """Their names."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))
