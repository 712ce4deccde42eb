"""The figure `map.png`: a whole placement on one page.

`plot_map` draws with matplotlib's object interface only (no pyplot, no global state left behind),
so it may be called beside a user's own figures. `save_figure` writes the same bytes for the same
figure.
"""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import matplotlib
import matplotlib.patheffects
import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.ticker import EngFormatter, MaxNLocator

from sphere_ebm.figures.legend import (
    LONGEST_NAME,
    Group,
    distinct,
    legend,
    no_glyph_warnings,
    plain,
    thousands,
)
from sphere_ebm.files.atomic import atomic_write

Numbers = np.ndarray | jax.Array

INK = "#222222"
QUIET = "#6B6B6B"
HAIRLINE = "#DADADA"
FRAME = "#9A9A9A"
PAPER = "#FAFAFA"
# Paul Tol's "muted" scheme, safe for the common kinds of colour blindness; the tenth colour is a
# dark grey. fmt: off
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
# fmt: on
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
RASTER_ABOVE = 100_000
FEWEST_NAMED = 10
_MAP_BOX = (2 * np.sqrt(2), np.sqrt(2))
_RADIUS_COLOURS = LinearSegmentedColormap.from_list(
    "radius", matplotlib.colormaps["viridis"](np.linspace(0.0, 0.92, 64))
)


@runtime_checkable
class ShellLaw(Protocol):
    """What the figure needs of the shells.

    Mid radii and capacities (any scale), one of each per shell.
    """

    @property
    def radius(self) -> Numbers: ...

    @property
    def capacity(self) -> Numbers: ...


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


def plot_map(
    direction: Float[Numbers, "n 3"],
    radius: Float[Numbers, " n"],
    *,
    document: Integer[Numbers, " n"] | None = None,
    document_names: Sequence[str] | None = None,
    shell: Integer[Numbers, " n"] | None = None,
    shells: ShellLaw | None = None,
    energy: Mapping[str, Float[Numbers, " records"]] | None = None,
    steps: Integer[Numbers, " records"] | None = None,
    quality: Mapping[str, float] | None = None,
    title: str = "Map on the sphere",
) -> Figure:
    """Draw a placement: world map, two globes, shells, energies.

    The map is Hammer's equal-area projection, centred on the +x axis, coloured by `document` (the
    ten largest have a colour and a name) or by `radius` when there are fewer than two documents.
    The globes show the half spheres around +x and -x, coloured by radius. Axes carry the labels
    "map", "front", "back", "shells", "energy"; the energy panel is left out without `energy`. More
    than `RASTER_ABOVE` points are drawn as a density image.

    Args:
        direction: unit vectors u_i.
        radius: radii r_i, in the units of the shells.
        document: index of each point's document into `document_names`; names default to "document
            k".
        shell: index of each point's shell; without it the radii are shown as a histogram.
        shells: capacities to compare with; scaled here to sum to n.
        energy: energy per term name, of the whole map, "total" among them or not; shown divided by
            n.
        steps: sampler step of each energy record; defaults to 0, 1, 2, ...
        quality: numbers for the line under the title, in the order given; those that are nan are
            left out.

    Points with non-finite coordinates are not drawn. Cost: O(n).
    """
    u = np.asarray(direction, np.float64)
    r = np.asarray(radius, np.float64)
    groups = _groups(None if document is None else np.asarray(document), document_names)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 9.2), dpi=150, facecolor="white")
        FigureCanvasAgg(figure)
        _heading(
            figure, title, len(r), len(np.unique(document)) if document is not None else 0, quality
        )
        norm = _radius_norm(r)
        by_radius = _RADIUS_COLOURS(norm(r))[:, :3].reshape(-1, 3)
        _map_panel(figure, u, _group_colours(groups, len(r)) if groups else by_radius, groups)
        if groups:
            legend(figure, groups)
        else:
            _radius_scale(figure, norm, (0.925, 0.53, 0.011, 0.28))
        _globes(figure, u, by_radius)
        if groups:
            _radius_scale(figure, norm, (0.492, 0.12, 0.008, 0.2))
        _shell_panel(figure.add_axes((0.585, 0.085, 0.17, 0.27), label="shells"), r, shell, shells)
        if energy:
            _energy_panel(
                figure.add_axes((0.815, 0.085, 0.165, 0.27), label="energy"), energy, steps, len(r)
            )
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write `figure` as PNG to `path`.

    See `atomic_write`: on an error nothing is left behind and an older file at `path` stays as it
    was. The bytes depend on the figure alone (no date, no software version). Returns the path.
    """
    target = Path(path)
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE), no_glyph_warnings():
        figure.savefig(buffer, format="png", metadata={"Software": None})
    atomic_write(target, lambda file: file.write(buffer.getvalue()))
    return target


def _groups(document: np.ndarray | None, names: Sequence[str] | None) -> list[Group]:
    """Documents in order of their index, each with its colour.

    Beyond the palette the small ones become one group.
    """
    if document is None:
        return []
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


def _group_colours(groups: list[Group], n: int) -> np.ndarray:
    colours = np.zeros((n, 3))
    for group in groups:
        colours[group.members] = to_rgb(group.colour)
    return colours


def _radius_norm(radius: np.ndarray) -> Normalize:
    finite = radius[np.isfinite(radius)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    return Normalize(low, high if high > low else low + 1.0)


def _heading(
    figure: Figure, title: str, n: int, documents: int, quality: Mapping[str, float] | None
) -> None:
    figure.text(0.03, 0.962, plain(title, 90), fontsize=15, fontweight="bold", va="center")
    facts = [f"{thousands(n)} points" if n != 1 else "1 point"]
    if documents > 1:
        facts.append(f"{documents} documents")
    defined = {name: value for name, value in (quality or {}).items() if np.isfinite(value)}
    facts += [f"{name.replace('_', ' ')} {value:.3g}" for name, value in defined.items()]
    figure.text(0.03, 0.934, "   ·   ".join(facts), fontsize=9, color=QUIET, va="center")


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

    Above RASTER_ABOVE points an image of mean colour and density.

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

    Mean colour of the points in each pixel, opacity by the logarithm of their number.
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


def point_colours(radius: np.ndarray, document: np.ndarray | None) -> np.ndarray:
    """RGB rows (n, 3): by document where there are several, else by radius."""
    groups = _groups(document, None)
    if groups:
        return _group_colours(groups, len(radius))
    return _RADIUS_COLOURS(_radius_norm(radius)(radius))[:, :3].reshape(-1, 3)


def _map_panel(figure: Figure, u: np.ndarray, colours: np.ndarray, groups: list[Group]) -> None:
    axes = figure.add_axes((0.03, 0.415, 0.8, 0.5), label="map")
    draw_world(axes, u, colours)
    _name_regions(axes, u, [group for group in groups if group.colour != OTHER])


def _densest_direction(u: np.ndarray, cap: float = 0.35) -> np.ndarray:
    """Mean direction of the points within `cap` radians of the point with most such neighbours."""
    sample = u[:: max(1, len(u) // 1500)]
    near = sample @ sample.T > np.cos(cap)
    mean = sample[near[np.argmax(near.sum(axis=1))]].mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)


def _name_regions(axes: Axes, u: np.ndarray, groups: list[Group]) -> None:
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


def _radius_scale(
    figure: Figure, norm: Normalize, place: tuple[float, float, float, float]
) -> None:
    axes = figure.add_axes(place, label="radius scale")
    bar = figure.colorbar(ScalarMappable(norm, _RADIUS_COLOURS), cax=axes)
    bar.outline.set_visible(False)
    bar.ax.set_title("radius", fontsize=8, color=QUIET, loc="left")


def _globes(figure: Figure, u: np.ndarray, colours: np.ndarray) -> None:
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


def _shell_panel(
    axes: Axes, radius: np.ndarray, shell: Integer[Numbers, " n"] | None, shells: ShellLaw | None
) -> None:
    """Points per shell as bars and, where it is known, the capacity as a line."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel("points")
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    if shell is None:
        axes.set_title("Radii")
        axes.set_xlabel("radius")
        finite = radius[np.isfinite(radius)]
        axes.hist(finite, bins=min(40, max(1, round(np.sqrt(len(finite))))), color="#7FA8A4")
        return
    axes.set_title("Points per shell")
    axes.set_xlabel("shell")
    index = np.asarray(shell)
    capacity = None if shells is None else np.asarray(shells.capacity, np.float64)
    count = max(int(index.max(initial=-1)) + 1, 0 if capacity is None else len(capacity), 1)
    axes.bar(
        np.arange(count),
        np.bincount(index, minlength=count),
        width=0.78,
        color="#7FA8A4",
        label="occupied",
    )
    if capacity is not None and capacity.sum() > 0:
        expected = capacity / capacity.sum() * len(index)
        axes.plot(
            np.arange(len(capacity)),
            expected,
            "o-",
            color=INK,
            linewidth=1.1,
            markersize=2.8,
            label="capacity",
        )
        axes.legend(
            frameon=False, fontsize=7.5, loc="upper left", handlelength=1.4, borderaxespad=0.2
        )
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_ylim(0, max(axes.get_ylim()[1] * 1.04, 1))


def _energy_panel(
    axes: Axes, energy: Mapping[str, Any], steps: Integer[Numbers, " records"] | None, n: int
) -> None:
    """Energy per point and term against the step."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("Energy per point")
    axes.set_xlabel("step")
    spare = iter(PALETTE[2:] * (1 + len(energy) // len(PALETTE)))
    for name, trace in energy.items():
        values = np.asarray(trace, np.float64) / max(n, 1)
        x = np.arange(len(values)) if steps is None else np.asarray(steps)
        bold = name == "total"
        style: dict[str, Any] = {
            "color": TERM_COLOURS.get(name) or next(spare),
            "linewidth": 1.6 if bold else 1.1,
        }
        axes.plot(x, values, label=plain(name, 18), zorder=3 if bold else 2, **style)
    axes.legend(frameon=False, fontsize=7.5, handlelength=1.2, borderaxespad=0.2)
