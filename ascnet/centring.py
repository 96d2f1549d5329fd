"""What is taken from features before cosines: the option, and what was done in words."""

from collections.abc import Callable
from typing import Any

import click

from ascnet.text import counted
from evaluate.features.store import Features
from evaluate.search.search import FEWEST, SEARCH_CENTRINGS, different_videos

with_centring: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--centring",
    type=click.Choice(SEARCH_CENTRINGS),
    default=SEARCH_CENTRINGS[0],
    show_default=True,
    help="What is taken from all features before cosines: the store's mean, or nothing.",
)


def centring_text(store: Features, centring: str, is_centred: bool) -> str:
    """What became of features, for the end of a sentence. `centring`: what was asked for."""
    if is_centred:
        return "less the store's mean"
    text = "as the network gives them"
    if centring != "none":
        few = counted(different_videos(store), "different video")
        text += (
            f" (a mean takes {FEWEST} videos or more, and the store has {few}; cosines of raw "
            "features are all near 1)"
        )
    return text
