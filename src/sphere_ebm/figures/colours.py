"""Colours and style of the figures, and which points have which colour."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, final

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
# Lighter and darker shades of these, for figures of more classes than documents are coloured.
MORE_COLOURS = [
    *PALETTE,
    *("#8A7FCB", "#E8A9B2", "#6FB58A", "#F2D58F", "#3E7FA3"),
    *("#C46A86", "#1F6F63", "#C9C86B", "#D59BD0", "#9B9B9B"),
]
OTHER = "#C4C4C4"
PLAIN = "#3E7FA3"
"""Points of a map that there is nothing to tell apart by."""
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


@final
class Colouring(NamedTuple):
    """What the colours of a map mean.

    `colours` (n, 3): RGB of the points. `groups`: entries of the legend, where there are any.
    `scale`: from values to colours, with `title` above it, where there are values instead. `fact`:
    what the line under the title says of them.
    """

    colours: np.ndarray
    groups: list[Group]
    scale: Normalize | None = None
    title: str = ""
    fact: str = ""


def coloured_by_labels(labels: Sequence[Any] | np.ndarray, points: int, name: str) -> Colouring:
    """The twenty largest classes in colours of their own, the others in one.

    `name` is the plural of what a class is. None and NaN are no class.

    Raises:
        ValueError: another number of labels than points.
    """
    given = list(labels)
    if len(given) != points:
        raise ValueError(
            f"`labels` must have one entry for each of {points} points; got {len(given)}."
        )
    # only NaN differs from itself
    known = np.array([one is not None and bool(one == one) for one in given], bool)
    texts = np.array([str(one) for one in given], dtype=object)
    present, counts = np.unique(texts[known].astype(str), return_counts=True)
    largest = np.argsort(-counts, kind="stable")[: len(MORE_COLOURS)]
    shown = present[np.sort(largest)].tolist()
    groups = [
        Group(text, colour, known & (texts == text))
        for text, colour in zip(shown, MORE_COLOURS, strict=False)
    ]
    rest = known & ~np.isin(texts.astype(str), shown)
    if rest.any():
        groups.append(Group(f"{len(present) - len(shown)} more", OTHER, rest))
    if not known.all():
        groups.append(Group("without", HAIRLINE, ~known))
    return Colouring(
        group_colours(groups, points), groups, fact=f"{len(present)} {name}" if len(present) else ""
    )


def coloured_by_values(values: Sequence[float] | np.ndarray, points: int, name: str) -> Colouring:
    """A continuous scale from the least to the greatest finite value; the others are grey.

    Raises:
        ValueError: another number of values than points, or what is no number.
    """
    given = np.asarray(values, np.float64)
    if given.shape != (points,):
        raise ValueError(f"`values` must have shape ({points},); got {given.shape}.")
    scale = radius_norm(given)
    finite = np.isfinite(given)
    colours = np.tile(to_rgb(OTHER), (points, 1))
    colours[finite] = RADIUS_COLOURS(scale(given[finite]))[:, :3]
    missing = int(np.count_nonzero(~finite))
    return Colouring(colours, [], scale, name, f"{missing} without {name}" if missing else "")


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


def radius_colours(radius: np.ndarray) -> np.ndarray:
    """RGB rows (n, 3) on the scale of the radii."""
    return RADIUS_COLOURS(radius_norm(radius)(radius))[:, :3].reshape(-1, 3)


def one_colour(points: int) -> np.ndarray:
    """RGB rows (n, 3) of points that there is nothing to tell apart by."""
    return np.tile(to_rgb(PLAIN), (points, 1))


def point_colours(
    radius: np.ndarray, document: np.ndarray | None, radius_tells: bool
) -> np.ndarray:
    """RGB rows (n, 3): by document where there are several, else by a radius that tells."""
    groups = groups_of(document, None)
    if groups:
        return group_colours(groups, len(radius))
    return radius_colours(radius) if radius_tells else one_colour(len(radius))
