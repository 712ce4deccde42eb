"""The figure `map.png`: a whole placement on one page.

`plot_map` draws with matplotlib's object interface only (no pyplot, no global state left behind),
so it may be called beside a user's own figures. `save_figure` writes the same bytes for the same
figure.
"""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from sphere_ebm.figures.colours import (
    OTHER,
    QUIET,
    RADIUS_COLOURS,
    Colouring,
    coloured_by_labels,
    coloured_by_values,
    group_colours,
    groups_of,
    house_style,
    one_colour,
    radius_colours,
    radius_norm,
)
from sphere_ebm.figures.legend import Group, legend, no_glyph_warnings, plain, thousands
from sphere_ebm.figures.panels import ShellLaw, energy_panel, shell_panel
from sphere_ebm.figures.world import (
    RASTER_ABOVE,
    Numbers,
    draw_globes,
    draw_rings,
    draw_world,
    name_regions,
)
from sphere_ebm.files.atomic import atomic_write
from sphere_ebm.geometry.shells import radii_tell


@runtime_checkable
class PlacedPoints(Protocol):
    """What the figure takes of a `Placement`."""

    @property
    def direction(self) -> Numbers:
        """Unit vectors (n, 3)."""
        ...

    @property
    def radius(self) -> Numbers:
        """Radii (n,)."""
        ...

    @property
    def shell(self) -> Numbers:
        """Shell of each point (n,)."""
        ...

    @property
    def shells(self) -> Any:
        """The shells, a `ShellLaw`."""
        ...

    @property
    def energy(self) -> Mapping[str, Any]:
        """Energy by term, (records,) each."""
        ...

    @property
    def prominence(self) -> Numbers:
        """What the radii order (n,)."""
        ...

    @property
    def step(self) -> Numbers:
        """Step of each record."""
        ...


def plot_map(
    direction: Float[Numbers, "n 3"] | PlacedPoints,
    radius: Float[Numbers, " n"] | None = None,
    *,
    labels: Sequence[Any] | Shaped[Numbers, " n"] | None = None,
    values: Sequence[float] | Shaped[Numbers, " n"] | None = None,
    name: str | None = None,
    radius_tells: bool | None = None,
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
    ten largest have a colour and a name), by `labels` (the twenty largest classes), by `values` on
    a continuous scale, or by `radius` when there are none of these, or fewer than two documents.
    The globes show the half spheres around +x and -x, coloured by radius. Axes carry the labels
    "map", "front", "back", "shells", "energy"; the energy panel is left out without `energy`. More
    than `RASTER_ABOVE` points are drawn as a density image.

    Args:
        direction: unit vectors u_i, or a `Placement`, whose radii, shells and energies are then
            shown unless they are given.
        radius: radii r_i, in the units of the shells.
        labels: class of each point, of any type that `str` can write; None and NaN for no class.
        values: a number for each point; those that are not finite are grey.
        name: what the labels are, in the plural, or the values; by default "classes" and "value".
        radius_tells: whether the radii order anything; where not, nothing is coloured by them. By
            default they do, unless a `Placement` is given whose points all have one prominence.
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

    Raises:
        ValueError: more than one of `document`, `labels` and `values`, or one of another length.
    """
    given = _Given(radius, shell, shells, energy, steps, radius_tells)
    if isinstance(direction, PlacedPoints):
        given = given.filled(direction)
        direction = direction.direction
    u = np.asarray(direction, np.float64)
    r = np.asarray(given.radius, np.float64)
    if r.shape != (len(u),):
        raise ValueError(f"`radius` must have shape ({len(u)},); got {r.shape}.")
    tells = given.radius_tells is not False
    coloured = _colouring(r, document, document_names, groups_are, labels, values, name, tells)
    ringed = np.zeros(len(r), bool)
    if chance is not None and len(r) <= RASTER_ABOVE:
        ringed = np.asarray(chance) & np.isfinite(u).all(axis=1)
    with house_style():
        figure = Figure(figsize=(12, 9.2), dpi=150, facecolor="white")
        FigureCanvasAgg(figure)
        _heading(figure, title, len(r), coloured.fact, quality)
        _map_panel(figure, u, coloured.colours, coloured.groups, ringed)
        _keys(figure, coloured, r if tells else None, ringed)
        draw_globes(figure, u, radius_colours(r) if tells else coloured.colours)
        panel = figure.add_axes((0.585, 0.085, 0.17, 0.27), label="shells")
        shell_panel(panel, r, given.shell, given.shells)
        if given.energy:
            panel = figure.add_axes((0.815, 0.085, 0.165, 0.27), label="energy")
            energy_panel(panel, given.energy, given.steps, len(r))
    return figure


class _Given(NamedTuple):
    """What the caller gives beside directions and colours, see `plot_map`."""

    radius: Any
    shell: Any
    shells: ShellLaw | None
    energy: Mapping[str, Any] | None
    steps: Any
    radius_tells: bool | None

    def filled(self, placed: PlacedPoints) -> "_Given":
        """The same, with what was left out from a placement."""
        tells = self.radius_tells
        if tells is None:
            tells = radii_tell(np.asarray(placed.prominence))
        own = (placed.radius, placed.shell, placed.shells, dict(placed.energy), placed.step)
        pairs = zip(self[:-1], own, strict=True)
        chosen: list[Any] = [mine if mine is not None else theirs for mine, theirs in pairs]
        return _Given(*(*chosen, tells))


def _colouring(
    radius: np.ndarray,
    document: Integer[Numbers, " n"] | None,
    document_names: Sequence[str] | None,
    groups_are: str,
    labels: Sequence[Any] | Shaped[Numbers, " n"] | None,
    values: Sequence[float] | Shaped[Numbers, " n"] | None,
    name: str | None,
    radius_tells: bool,
) -> Colouring:
    """What the points of the map are coloured by. Raises ValueError where that is two things."""
    given = {"document": document, "labels": labels, "values": values}
    named = [f"`{key}`" for key, value in given.items() if value is not None]
    if len(named) > 1:
        raise ValueError(f"a map is coloured by one thing; got {' and '.join(named)}.")
    if labels is not None:
        return coloured_by_labels(list(labels), len(radius), name or "classes")
    if values is not None:
        return coloured_by_values(np.asarray(values), len(radius), name or "value")
    groups = groups_of(None if document is None else np.asarray(document), document_names)
    documents = 0 if document is None else len(np.unique(document))
    fact = f"{documents} {groups_are}" if documents > 1 else ""
    if groups:
        return Colouring(group_colours(groups, len(radius)), groups, fact=fact)
    if not radius_tells:
        return Colouring(one_colour(len(radius)), [], fact=fact)
    return Colouring(radius_colours(radius), [], radius_norm(radius), "radius", fact)


def _keys(
    figure: Figure, coloured: Colouring, radius: np.ndarray | None, ringed: np.ndarray
) -> None:
    """The legend of the map, or its scale, and the scale of the globes where that is another.

    Without a `radius` the globes have the colours of the map.
    """
    if coloured.groups or ringed.any():
        legend(figure, coloured.groups, rings=int(ringed.sum()))
    if coloured.scale is not None:
        _scale(figure, coloured.scale, coloured.title, (0.925, 0.53, 0.011, 0.28))
    if coloured.title != "radius" and radius is not None:
        _scale(figure, radius_norm(radius), "radius", (0.492, 0.12, 0.008, 0.2))


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
    figure: Figure, title: str, n: int, fact: str, quality: Mapping[str, float] | None
) -> None:
    figure.text(0.03, 0.962, plain(title, 90), fontsize=15, fontweight="bold", va="center")
    facts = [f"{thousands(n)} points" if n != 1 else "1 point"]
    if fact:
        facts.append(plain(fact, 60))
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


def _scale(
    figure: Figure, norm: Normalize, title: str, place: tuple[float, float, float, float]
) -> None:
    axes = figure.add_axes(place, label=f"{title} scale")
    bar = figure.colorbar(ScalarMappable(norm, RADIUS_COLOURS), cax=axes)
    bar.outline.set_visible(False)
    bar.ax.set_title(plain(title, 22), fontsize=8, color=QUIET, loc="left")
