"""Colours and style of the figures, and which points have which colour."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb

from sphere_ebm.figures.legend import Group, distinct

INK = "#222222"
QUIET = "#6B6B6B"
HAIRLINE = "#DADADA"
FRAME = "#9A9A9A"
PAPER = "#FAFAFA"
# Paul Tol's "muted" scheme, safe for the common kinds of colour blindness; the tenth is dark grey.
PALETTE = [
    "#332288",
    "#CC6677",
    "#117733",
    "#DDAA33",
    "#88CCEE",
    "#882255",
    "#44AA99",
    "#999933",
    "#AA4499",
    "#4D4D4D",
]
OTHER = "#C4C4C4"
TERM_COLOURS = {"total": INK, "gravity": "#DDAA33", "lateral": "#CC6677", "osmotic": "#332288"}
TICKS = {"color": QUIET, "labelsize": 7.5, "major.width": 0.6, "major.size": 2.5}
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    "savefig.bbox": None,
}
STYLE |= {"axes.labelcolor": QUIET, "axes.edgecolor": FRAME, "axes.linewidth": 0.6}
STYLE |= {"axes.titlesize": 9.5, "axes.titlelocation": "left", "axes.titlepad": 7}
STYLE |= {f"{x}tick.{key}": value for x in "xy" for key, value in TICKS.items()}
RADIUS_COLOURS = LinearSegmentedColormap.from_list(
    "radius", matplotlib.colormaps["viridis"](np.linspace(0.0, 0.92, 64))
)


@contextmanager
def house_style() -> Iterator[None]:
    """`STYLE` over matplotlib's own defaults, whatever the user has set; theirs afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def groups_of(document: np.ndarray | None, names: Sequence[str] | None) -> list[Group]:
    """Documents in order of their index, each with its colour.

    Beyond the palette the small ones become one group. Raises ValueError for a document that is no
    integer, NaN for a missing one among them.
    """
    if document is None:
        return []
    if document.dtype.kind not in "iu":
        raise ValueError(
            f"`document` must hold an integer for every point; got dtype {document.dtype}. Give"
            " points without a document a number of their own."
        )
    present, counts = np.unique(document, return_counts=True)
    if len(present) < 2:
        return []
    coloured = np.sort(present[np.argsort(-counts, kind="stable")[: len(PALETTE)]])
    known = dict(enumerate(names or ()))
    shown = distinct([known.get(index, f"document {index}") for index in coloured.tolist()])
    groups = [
        Group(name, colour, document == index)
        for name, index, colour in zip(shown, coloured.tolist(), PALETTE, strict=False)
    ]
    if len(present) > len(coloured):
        rest = len(present) - len(coloured)
        groups.append(Group(f"{rest} more", OTHER, ~np.isin(document, coloured)))
    return groups


def group_colours(groups: list[Group], n: int) -> np.ndarray:
    """RGB rows (n, 3), each of the group that the point belongs to."""
    colours = np.zeros((n, 3))
    for group in groups:
        colours[group.members] = to_rgb(group.colour)
    return colours


def radius_norm(radius: np.ndarray) -> Normalize:
    """From the finite radii to [0, 1]."""
    finite = radius[np.isfinite(radius)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    return Normalize(low, high if high > low else low + 1.0)


def point_colours(radius: np.ndarray, document: np.ndarray | None) -> np.ndarray:
    """RGB rows (n, 3): by document where there are several, else by radius."""
    groups = groups_of(document, None)
    if groups:
        return group_colours(groups, len(radius))
    return RADIUS_COLOURS(radius_norm(radius)(radius))[:, :3].reshape(-1, 3)
