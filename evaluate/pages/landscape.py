"""A map of the features on which similar videos are close: t-SNE after PCA, with a fixed seed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from builder.counted import counted
from evaluate.features.store import Features
from evaluate.pages.nearest_videos import thin
from evaluate.pages.template import clean, safe

MOST = 2000  # videos on a map
FEW = 8  # up to so many classes, colours suit colour-blind readers
_LEAST = 5  # videos needed for a map
_DENSE = 800  # videos above which dots are smaller
_COMPONENTS = 50
_PERPLEXITY = 30
SIZE, _EDGE = 1000, 20  # units of the viewBox


@dataclass(frozen=True)
class ClassMark:
    """A class on the map, with its number of videos."""

    name: str
    videos: int


@dataclass(frozen=True)
class Landscape:
    """A map of the features of a data set.

    Attributes:
        places: int64, videos x 2: horizontal (0 to SIZE) and vertical position
        of_class: int64, videos: index of the class
        height: height of the map; its width is SIZE
        of: number of videos in the store
    """

    places: np.ndarray
    names: list[str]
    of_class: np.ndarray
    classes: list[ClassMark]
    height: int
    of: int

    @property
    def summary(self) -> str:
        """The map in words."""
        kinds = f" of {len(self.classes)} classes" if len(self.classes) > 1 else ""
        videos = counted(len(self.names), "video")
        return f"Map of the features of {videos}{kinds}; similar ones lie close."

    @property
    def data(self) -> dict[str, Any]:
        """The data with which the page describes what is under the pointer."""
        return {
            "x": self.places[:, 0].tolist(),
            "y": self.places[:, 1].tolist(),
            "c": self.of_class.tolist(),
            "names": [clean(name) for name in self.names],
            "classes": [clean(mark.name) for mark in self.classes],
        }


def lay_out(store: Features) -> Landscape | None:
    """Map the videos of a store, or MOST of them, evenly spaced. None if they are too few or all
    equal."""
    chosen = thin(np.arange(len(store.names)), MOST)
    placed = arranged(store.features[chosen])
    if placed is None:
        return None
    places, height = placed
    labels = store.labels[chosen]
    kinds = sorted(set(labels.tolist()), key=lambda label: (label < 0, label))
    at = {label: i for i, label in enumerate(kinds)}
    of_class = np.array([at[label] for label in labels.tolist()])
    name_of = dict(zip(store.labels.tolist(), store.class_of, strict=True))
    marks = [
        ClassMark(name_of[label] if label >= 0 else "unlabelled", int((labels == label).sum()))
        for label in kinds
    ]
    names = [store.names[i] for i in chosen]
    return Landscape(places, names, of_class, marks, height, len(store.names))


def arranged(features: np.ndarray) -> tuple[np.ndarray, int] | None:
    """Positions (int64, N x 2, on a map of width SIZE) for N features (float, N x channels), and
    the height of the map. None if there are too few features, or all are equal."""
    rows = features.astype(np.float64)
    if len(rows) < _LEAST or not np.isfinite(rows).all() or not rows.std(axis=0).any():
        return None
    return _fitted(_project(rows))


def _project(features: np.ndarray) -> np.ndarray:
    """Project N x channels to N x 2, float64."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(lengths, 1e-12)  # retrieval compares directions
    count = min(_COMPONENTS, *unit.shape)
    with threadpool_limits(1):  # with several threads, results vary between calls
        few = PCA(count, svd_solver="covariance_eigh").fit_transform(unit)
        perplexity = min(_PERPLEXITY, (len(few) - 1) / 3)
        tsne = TSNE(perplexity=perplexity, init="pca", random_state=0)
        placed: np.ndarray = tsne.fit_transform(few)
    return placed


def _fitted(places: np.ndarray) -> tuple[np.ndarray, int]:
    """Scale positions to the map's width, rotated to landscape format, with the same scale in both
    directions. Also returns the height."""
    low, high = places.min(axis=0), places.max(axis=0)
    if high[1] - low[1] > high[0] - low[0]:
        places, low, high = places[:, ::-1], low[::-1], high[::-1]
    scale = (SIZE - 2 * _EDGE) / max(float(high[0] - low[0]), 1e-12)
    height = max(SIZE // 2, round(scale * float(high[1] - low[1])) + 2 * _EDGE)
    middle = np.array([SIZE, height]) / 2
    fitted: np.ndarray = np.round(middle + scale * (places - (low + high) / 2)).astype(np.int64)
    return fitted, height


def draw_map(landscape: Landscape) -> Markup:
    """An SVG with a dot per video; the dots of a class form one path."""
    dense = " dense" if len(landscape.names) > _DENSE else ""
    pieces = [
        f'<svg class="map{dense}" viewBox="0 0 {SIZE} {landscape.height}" role="img" '
        f'tabindex="0" aria-label="{safe(landscape.summary)}">'
    ]
    for i in range(len(landscape.classes)):
        dots = landscape.places[landscape.of_class == i]
        path = "".join(f"M{x} {y}h0" for x, y in dots.tolist())
        pieces.append(f'<path {paint(i, len(landscape.classes))} data-class="{i}" d="{path}"/>')
    pieces.append('<circle class="cursor" r="12" cx="-50" cy="-50"/></svg>')
    return Markup("".join(pieces))


def paint(index: int, classes: int) -> Markup:
    """The SVG attributes for the colour of a class: one of FEW colours, or a hue for many
    classes."""
    if classes <= FEW:
        return Markup(f'class="dots few k{index}"')
    turn = round(index * 137.508 % 360)
    return Markup(f'class="dots many{" deep" if index % 2 else ""}" style="--h:{turn}"')
