"""How features were centred before cosine similarities, in words."""

from builder.counted import counted
from evaluate.features.store import Features
from evaluate.search.search import FEWEST, different_videos


def centring_text(store: Features, centring: str, is_centred: bool) -> str:
    """What became of features, for the end of a sentence. `centring`: what was asked for."""
    if is_centred:
        return "mean-centred"
    text = "as the network gives them"
    if centring != "none":
        few = counted(different_videos(store), "different video")
        text += (
            f" (a mean takes {FEWEST} videos or more, and the store has {few}; cosines of raw "
            "features are all near 1)"
        )
    return text
