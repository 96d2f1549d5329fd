"""How features were centred before cosines were computed, in words."""

from builder.counted import counted
from evaluate.features.store import Features
from evaluate.search.search import FEWEST, different_videos


def centring_text(store: Features, centring: str, is_centred: bool) -> str:
    """How features were centred, as the end of a sentence. `centring` is the value of --centring;
    `is_centred` is false if there are too few different videos."""
    if is_centred:
        return "mean-centred"
    text = "as the network gives them"
    if centring != "none":
        few = counted(different_videos(store), "different video")
        text += (
            f" (centring needs at least {FEWEST} different videos, and the store has {few}; "
            "cosines of raw features are all near 1)"
        )
    return text
