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

import numpy as np
from jaxtyping import Bool, Float, Integer
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from sphere_ebm.figures.colours import (
    INK,
    OTHER,
    PALETTE,
    QUIET,
    RADIUS_COLOURS,
    TERM_COLOURS,
    group_colours,
    groups_of,
    house_style,
    radius_norm,
)
from sphere_ebm.figures.legend import Group, legend, no_glyph_warnings, plain, thousands
from sphere_ebm.figures.world import (
    RASTER_ABOVE,
    Numbers,
    draw_globes,
    draw_rings,
    draw_world,
    name_regions,
)
from sphere_ebm.files.atomic import atomic_write


@runtime_checkable
class ShellLaw(Protocol):
    """What the figure needs of the shells.

    They are mid radii and capacities (in any scale), one of each per shell.
    """

    @property
    def radius(self) -> Numbers:
        """Mid radius of each shell."""
        ...

    @property
    def capacity(self) -> Numbers:
        """Share of the points that each shell is meant for, on any scale."""
        ...


def plot_map(
    direction: Float[Numbers, "n 3"],
    radius: Float[Numbers, " n"],
    *,
    document: Integer[Numbers, " n"] | None = None,
    document_names: Sequence[str] | None = None,
    shell: Integer[Numbers, " n"] | None = None,
    shells: ShellLaw | None = None,
    chance: Bool[Numbers, " n"] | None = None,
    energy: Mapping[str, Float[Numbers, " records"]] | None = None,
    steps: Integer[Numbers, " records"] | None = None,
    quality: Mapping[str, float] | None = None,
    title: str = "Map on the sphere",
    groups_are: str = "documents",
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
        document: index of each point's document into `document_names`; integers, else ValueError.
        document_names: by default "document k".
        shell: index of each point's shell; without it the radii are shown as a histogram.
        shells: capacities to compare with; scaled here to sum to n.
        chance: which points keep their neighbours no better than chance; a thin ring marks each on
            the map, unless that is a density image.
        energy: energy per term name, of the whole map, "total" among them or not; shown divided by
            n.
        steps: sampler step of each energy record; defaults to 0, 1, 2, ...
        quality: numbers for the line under the title, in the order given; those that are nan are
            left out.
        title: the first line of the page, shortened to 90 characters.
        groups_are: what `document` numbers, for the line under the title.

    Points with non-finite coordinates are not drawn. Cost: O(n).
    """
    u = np.asarray(direction, np.float64)
    r = np.asarray(radius, np.float64)
    groups = groups_of(None if document is None else np.asarray(document), document_names)
    with house_style():
        figure = Figure(figsize=(12, 9.2), dpi=150, facecolor="white")
        FigureCanvasAgg(figure)
        count = len(np.unique(document)) if document is not None else 0
        _heading(figure, title, len(r), f"{count} {groups_are}" if count > 1 else "", quality)
        norm = radius_norm(r)
        by_radius = RADIUS_COLOURS(norm(r))[:, :3].reshape(-1, 3)
        colours = group_colours(groups, len(r)) if groups else by_radius
        ringed = np.zeros(len(r), bool)
        if chance is not None and len(r) <= RASTER_ABOVE:
            ringed = np.asarray(chance) & np.isfinite(u).all(axis=1)
        _map_panel(figure, u, colours, groups, ringed)
        if groups or ringed.any():
            legend(figure, groups, rings=int(ringed.sum()))
        if not groups:
            _radius_scale(figure, norm, (0.925, 0.53, 0.011, 0.28))
        draw_globes(figure, u, by_radius)
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
    was; who may read the file is up to the umask. The bytes depend on the figure alone (no date, no
    software version). Returns the path.
    """
    target = Path(path)
    buffer = io.BytesIO()
    with house_style(), no_glyph_warnings():
        figure.savefig(buffer, format="png", metadata={"Software": None})
    atomic_write(target, lambda file: file.write(buffer.getvalue()))
    return target


def _heading(
    figure: Figure, title: str, n: int, grouped: str, quality: Mapping[str, float] | None
) -> None:
    figure.text(0.03, 0.962, plain(title, 90), fontsize=15, fontweight="bold", va="center")
    facts = [f"{thousands(n)} points" if n != 1 else "1 point"]
    if grouped:
        facts.append(plain(grouped, 60))
    defined = {name: value for name, value in (quality or {}).items() if np.isfinite(value)}
    facts += [f"{name.replace('_', ' ')} {value:.3g}" for name, value in defined.items()]
    figure.text(0.03, 0.934, "   ·   ".join(facts), fontsize=9, color=QUIET, va="center")


def _map_panel(
    figure: Figure, u: np.ndarray, colours: np.ndarray, groups: list[Group], ringed: np.ndarray
) -> None:
    axes = figure.add_axes((0.03, 0.415, 0.8, 0.5), label="map")
    draw_world(axes, u, colours)
    if ringed.any():
        draw_rings(axes, u[ringed])
    name_regions(axes, u, [group for group in groups if group.colour != OTHER])


def _radius_scale(
    figure: Figure, norm: Normalize, place: tuple[float, float, float, float]
) -> None:
    axes = figure.add_axes(place, label="radius scale")
    bar = figure.colorbar(ScalarMappable(norm, RADIUS_COLOURS), cax=axes)
    bar.outline.set_visible(False)
    bar.ax.set_title("radius", fontsize=8, color=QUIET, loc="left")


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
