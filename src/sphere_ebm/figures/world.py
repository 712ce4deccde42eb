"""The sphere on paper: Hammer's world map, two globes, and points on either."""

import jax
import matplotlib.patheffects
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from sphere_ebm.figures.colours import FRAME, HAIRLINE, PAPER
from sphere_ebm.figures.legend import LONGEST_NAME, RING, Group, plain

Numbers = np.ndarray | jax.Array

RASTER_ABOVE = 100_000
FEWEST_NAMED = 10
_MAP_BOX = (2 * np.sqrt(2), np.sqrt(2))


DISC_MIDDLE = 1.5
"""How far from the middle of the drawing the middles of the two discs of `lambert_pair` are."""


def hammer(direction: Float[Numbers, "n 3"]) -> Float[np.ndarray, "n 2"]:
    """Hammer's equal-area projection of directions, centred on +x with +z up.

    With longitude λ = atan2(u_y, u_x) and latitude β = arcsin(u_z): x = 2√2 cos β sin(λ/2) / d, y =
    √2 sin β / d, d = sqrt(1 + cos β cos(λ/2)). The sphere becomes the ellipse with half axes 2√2
    and √2; equal solid angles become equal areas.
    """
    u = np.asarray(direction, np.float64)
    half = np.arctan2(u[:, 1], u[:, 0]) / 2
    sine = np.clip(u[:, 2], -1, 1)
    cosine = np.sqrt(1 - sine**2)
    scale = np.sqrt(2 / (1 + cosine * np.cos(half)))
    return np.stack([2 * scale * cosine * np.sin(half), scale * sine], axis=1)


def lambert_pair(direction: Float[Numbers, "n 3"]) -> Float[np.ndarray, "n 2"]:
    """Lambert's equal-area discs of the half spheres around +x, on the left, and -x, on the right.

    Both are seen from outside with +z up. A disc has the radius √2, and its middle at x = -+1.5.
    With u_x >= 0: (u_y, u_z) sqrt(2 / (1 + u_x)). Beside `hammer`, neighbours are torn apart at one
    great circle instead of half of one, but shapes far from the middle are kept better.
    """
    x, y, z = np.asarray(direction, np.float64).T
    side = np.where(x >= 0, 1.0, -1.0)
    scale = np.sqrt(2 / (1 + np.abs(x)))
    return np.stack([side * scale * y - side * DISC_MIDDLE, scale * z], axis=1)


def _bare(axes: Axes, half_width: float, half_height: float) -> None:
    margin = 1.012
    axes.set(
        xlim=(-half_width * margin, half_width * margin),
        ylim=(-half_height * margin, half_height * margin),
    )
    axes.set_aspect("equal")
    axes.set_axis_off()


def _parallels_and_meridians() -> list[np.ndarray]:
    """Curves (points on the sphere) every 30 degrees of latitude and longitude."""
    long = np.radians(np.linspace(-179.9, 179.9, 361))
    short = np.radians(np.linspace(-90, 90, 181))
    angles = [(long, np.full_like(long, b)) for b in np.radians(np.arange(-60, 61, 30))]
    angles += [(np.full_like(short, a), short) for a in np.radians(np.arange(-150, 151, 30))]
    return [
        np.stack([np.cos(b) * np.cos(a), np.cos(b) * np.sin(a), np.sin(b)], axis=1)
        for a, b in angles
    ]


def _draw_points(
    axes: Axes, xy: np.ndarray, colours: np.ndarray, box: tuple[float, float], usual: int
) -> None:
    """Dots in an order that favours no document.

    Above RASTER_ABOVE points an image of mean colour and density takes their place.

    Dots have the size at which `usual` of them would cover 30 % of the panel if none overlapped.
    """
    seen = np.isfinite(xy).all(axis=1)
    xy = xy[seen]
    colours = colours[seen]
    width = axes.bbox.width * 72 / axes.figure.dpi
    if len(xy) > RASTER_ABOVE:
        columns = int(np.clip(np.sqrt(len(xy) * box[0] / box[1]), 200, width * 2))
        axes.imshow(
            _density(xy, colours, box, columns), extent=(-box[0], box[0], -box[1], box[1]), zorder=2
        )
        return
    size = float(np.clip(0.3 * width**2 * box[1] / box[0] / max(usual, 1), 0.25, 40))
    order = np.random.default_rng(0).permutation(len(xy))
    alpha = float(np.interp(np.log10(max(usual, 1)), [2, 5], [0.92, 0.75]))
    axes.scatter(
        xy[order, 0], xy[order, 1], s=size, c=colours[order], alpha=alpha, linewidths=0, zorder=2
    )


def _density(
    xy: np.ndarray, colours: np.ndarray, box: tuple[float, float], columns: int
) -> np.ndarray:
    """RGBA image, top row first.

    A pixel has the mean colour of its points, and an opacity by the logarithm of their number.
    """
    rows = max(1, round(columns * box[1] / box[0]))
    column = np.clip(((xy[:, 0] / box[0] + 1) / 2 * columns).astype(int), 0, columns - 1)
    row = np.clip(((1 - xy[:, 1] / box[1]) / 2 * rows).astype(int), 0, rows - 1)
    pixel = row * columns + column
    count = np.bincount(pixel, minlength=rows * columns)
    sums = [np.bincount(pixel, colours[:, channel], rows * columns) for channel in range(3)]
    image = np.ones((rows * columns, 4))
    image[:, :3] = np.clip(np.stack(sums, axis=1) / np.maximum(count, 1)[:, None], 0, 1)
    full = np.log1p(np.quantile(count[count > 0], 0.98))
    image[:, 3] = np.where(count > 0, np.clip(0.3 + 0.7 * np.log1p(count) / full, 0, 1), 0)
    return image.reshape(rows, columns, 4)


def draw_world(axes: Axes, u: np.ndarray, colours: np.ndarray) -> None:
    """Fill `axes` with Hammer's projection of directions (n, 3), coloured by RGB rows (n, 3)."""
    width, height = _MAP_BOX
    _bare(axes, width, height)
    axes.add_patch(
        Ellipse((0, 0), 2 * width, 2 * height, facecolor=PAPER, edgecolor="none", zorder=0)
    )
    for curve in _parallels_and_meridians():
        axes.plot(*hammer(curve).T, color=HAIRLINE, linewidth=0.5, zorder=1)
    _draw_points(axes, hammer(u), colours, _MAP_BOX, usual=len(u))
    axes.add_patch(
        Ellipse((0, 0), 2 * width, 2 * height, facecolor="none", edgecolor=FRAME, linewidth=0.8)
    )


def draw_rings(axes: Axes, u: np.ndarray) -> None:
    """A thin ring around each of these directions, on a world map that `draw_world` drew."""
    xy = hammer(u)
    axes.scatter(xy[:, 0], xy[:, 1], s=14, c="none", edgecolors=RING, linewidths=0.5, zorder=3)


def draw_globes(figure: Figure, u: np.ndarray, colours: np.ndarray) -> None:
    """Orthographic views from +x and from -x."""
    for label, sign, left, name in (
        ("front", 1, 0.03, "around +x"),
        ("back", -1, 0.26, "around −x"),
    ):
        axes = figure.add_axes((left, 0.068, 0.22, 0.287), label=label)
        _bare(axes, 1.0, 1.0)
        axes.set_title(f"Half sphere {name}")
        axes.add_patch(
            Ellipse((0, 0), 2, 2, facecolor=PAPER, edgecolor=FRAME, linewidth=0.8, zorder=0)
        )
        for curve in _parallels_and_meridians():
            y, z = np.where(sign * curve[:, :1] >= 0, curve[:, 1:], np.nan).T
            axes.plot(sign * y, z, color=HAIRLINE, linewidth=0.5, zorder=1)
        here = u[:, 0] >= 0 if sign > 0 else u[:, 0] < 0
        _draw_points(axes, u[here][:, 1:] * [sign, 1], colours[here], (1.0, 1.0), usual=len(u) // 2)


def _densest_direction(u: np.ndarray, cap: float = 0.35) -> np.ndarray:
    """Mean direction of the points within `cap` radians of the point with most such neighbours."""
    sample = u[:: max(1, len(u) // 1500)]
    near = sample @ sample.T > np.cos(cap)
    mean = sample[near[np.argmax(near.sum(axis=1))]].mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)


def name_regions(axes: Axes, u: np.ndarray, groups: list[Group]) -> None:
    """Write each document's name where it is densest.

    A name that would cover another one is left to the legend.
    """
    taken: list[tuple[float, float, float]] = []
    outline = [matplotlib.patheffects.withStroke(linewidth=2.6, foreground="white", alpha=0.92)]
    for group in sorted(groups, key=lambda group: -int(group.members.sum())):
        points = u[group.members & np.isfinite(u).all(axis=1)]
        if len(points) < FEWEST_NAMED:
            continue
        x, y = hammer(_densest_direction(points)[None])[0].tolist()
        text = plain(group.name, LONGEST_NAME)
        half = 0.034 * len(text)
        y = float(np.clip(y, -0.9 * _MAP_BOX[1], 0.9 * _MAP_BOX[1]))
        room = max(_MAP_BOX[0] * np.sqrt(1 - (y / _MAP_BOX[1]) ** 2) - half - 0.04, 0.0)
        x = float(np.clip(x, -room, room))
        if any(abs(y - b) < 0.12 and abs(x - a) < half + w + 0.04 for a, b, w in taken):
            continue
        taken.append((x, y, half))
        ink = np.asarray(to_rgb(group.colour)) * 0.62
        axes.text(
            x,
            y,
            text,
            color=tuple(ink),
            fontsize=10,
            fontweight="bold",
            ha="center",
            va="center",
            path_effects=outline,
            zorder=5,
        )
