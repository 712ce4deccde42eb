"""Placements to draw, and what is found on their figures."""

from dataclasses import dataclass

import matplotlib.text
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


@dataclass(frozen=True)
class SomeShells:
    radius: np.ndarray
    capacity: np.ndarray


SHELLS = SomeShells(radius=np.array([1.0, 2.0, 3.0]), capacity=np.array([1.0, 2.0, 3.0]))


def uniform_directions(n: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, 3))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def inputs(n: int, documents: int = 3) -> dict[str, object]:
    rng = np.random.default_rng(1)
    shell = rng.integers(0, 3, n)
    return {
        "direction": uniform_directions(n),
        "radius": (SHELLS.radius[shell] + 0.1 * rng.random(n)).astype(np.float32),
        "document": np.arange(n) % documents,
        "document_names": [f"text {k}" for k in range(documents)],
        "shell": shell,
        "shells": SHELLS,
        "energy": {
            name: np.linspace(3.0, 1.0, 20) * n
            for name in ("gravity", "lateral", "osmotic", "total")
        },
        "steps": np.arange(0, 200, 10),
        "quality": {"recall@15": 0.41234},
    }


def panel(figure: Figure, label: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_label() == label)


def drawn_points(figure: Figure, label: str) -> np.ndarray:
    return np.concatenate([np.asarray(c.get_offsets()) for c in panel(figure, label).collections])


def all_text(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


@dataclass(frozen=True)
class SomePlacement:
    direction: np.ndarray
    radius: np.ndarray
    shell: np.ndarray
    shells: SomeShells
    energy: dict[str, np.ndarray]
    step: np.ndarray
    prominence: np.ndarray


def texts_of(figure: Figure) -> list[str]:
    found = [text.get_text() for text in figure.texts]
    return found + [text.get_text() for legend in figure.legends for text in legend.get_texts()]
