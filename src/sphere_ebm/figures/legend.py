"""Names on the figure: the documents' colours, their names in the room there is, and the legend."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

LONGEST_NAME = 22
RING = "#222222"
"""Colour of the rings around points that are kept no better than chance."""


@final
@dataclass(frozen=True)
class Group:
    """One entry of the legend.

    The points of a document, or of all documents that have no colour of their own.
    """

    name: str
    colour: str
    members: np.ndarray


def plain(text: str, longest: int) -> str:
    """Shorten a name in the middle, and keep matplotlib from reading it as mathematics."""
    end = (longest - 1) // 2
    short = (
        text
        if len(text) <= longest
        else f"{text[: longest - 1 - end].rstrip()}…{text[len(text) - end :].lstrip()}"
    )
    return short.replace("$", r"\$")


def distinct(names: Sequence[str]) -> list[str]:
    """Names without what all of them begin with, up to a separator.

    Only if any of them is too long to be shown whole.
    """
    first = min(names)
    last = max(names)
    same = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first)
    )
    while same and first[same - 1].isalnum():
        same -= 1
    if not same or first == last or max(map(len, names)) <= LONGEST_NAME:
        return list(names)
    return [f"…{name[same:]}" for name in names]


def thousands(n: int) -> str:
    """Thousands apart by a thin space."""
    return f"{n:,}".replace(",", "\u202f")


def legend(figure: Figure, groups: list[Group], rings: int = 0) -> None:
    """Colours, names and sizes, names as long as the page is wide.

    Where there are `rings`, around points that are kept no better than chance, their number is the
    last entry.
    """
    handles = [
        Line2D([], [], linestyle="none", marker="o", markersize=6, color=group.colour)
        for group in groups
    ]
    marks = []
    if rings:
        ring = Line2D([], [], linestyle="none", marker="o", markersize=4.5, color=RING)
        ring.set_markerfacecolor("none")
        ring.set_markeredgewidth(0.5)
        handles.append(ring)
        marks.append(f"as by chance  {thousands(rings)}")
    for longest in range(LONGEST_NAME, 4, -1):
        drawn = figure.legend(
            handles,
            [
                f"{plain(group.name, longest)}  {thousands(int(group.members.sum()))}"
                for group in groups
            ]
            + marks,
            loc="center left",
            bbox_to_anchor=(0.838, 0.665 if groups else 0.45),
            frameon=False,
            fontsize=8.5,
            labelspacing=0.75,
        )
        with no_glyph_warnings():
            right = drawn.get_window_extent().x1
        if right <= 0.995 * figure.bbox.width:
            break
        if longest > 5:
            drawn.remove()


@contextmanager
def no_glyph_warnings() -> Iterator[None]:
    """Silence warnings about glyphs that the bundled font lacks; boxes are drawn for them.

    A document's name may use any script.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font", category=UserWarning
        )
        yield
