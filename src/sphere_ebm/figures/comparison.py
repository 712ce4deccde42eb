"""One figure for a comparison: four of the maps above, a panel of bars for every measure below."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Integer
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sphere_ebm.figures.colours import (
    INK,
    QUIET,
    TERM_COLOURS,
    house_style,
    point_colours,
)
from sphere_ebm.figures.legend import plain, thousands
from sphere_ebm.figures.world import draw_world
from sphere_ebm.geometry.shells import radii_tell

_MAPS = ("random", "pca", "lateral_jit", "langevin-pca")
_HEURISTIC = "#7FA8A4"
_LANGEVIN = "#332288"
_PANELS = {"recall@15": "linear", "recall@50": "linear", "trustworthiness@15": "linear"}
_PANELS |= {"shell deviation": "log", "prominence rho": "linear", "seconds": "log"}
_TITLES = {"shell deviation": "shells off capacity", "prominence rho": "ρ(prominence, radius)"}
_TITLES |= {"seconds": "seconds, first run"}
_TITLES |= {"trustworthiness@15": "trustworthiness"}
_LEFT = 0.095
_RIGHT = 0.985
_GAP = 0.014


@runtime_checkable
class MethodResult(Protocol):
    """What the figure needs of a method, as `sphere_ebm.heuristics.compare.Compared` has it."""

    @property
    def method(self) -> str:
        """Name of the method."""
        ...

    @property
    def placement(self) -> Any:
        """Its points: `direction`, `radius`, and how many there are."""
        ...

    @property
    def energy(self) -> Mapping[str, float]:
        """Energy of each term per point."""
        ...

    def row(self) -> dict[str, Any]:
        """The measures by name."""
        ...


def plot_comparison(
    compared: Sequence[MethodResult],
    *,
    document: Integer[np.ndarray, " n"] | None = None,
    title: str = "The same points, placed by every method",
) -> Figure:
    """Draw a comparison.

    Above are maps in Hammer's equal-area projection: of `random`, `pca`, `lateral_jit` and
    `langevin-pca`, or of the last four methods where one of these is missing, coloured by
    `document` where there are several, else by radius. Below is a bar per method and measure,
    Langevin dark. Energies are per point: the angular terms together, and gravity apart, on a scale
    that is linear up to .01 and logarithmic beyond. "shells off capacity" is the mean of |count - N
    c_s| / (N c_s). Axes carry the name of their method or measure as label.

    Raises:
        ValueError: nothing was compared.
    """
    if not compared:
        raise ValueError("`compared` must hold at least one method; got none.")
    height = 4.9 + 0.24 * len(compared)
    with house_style():
        figure = Figure(figsize=(15, height), dpi=130, facecolor="white")
        FigureCanvasAgg(figure)
        figure.text(
            0.012, 1 - 0.34 / height, plain(title, 90), fontsize=15, fontweight="bold", va="center"
        )
        facts = (
            f"{thousands(len(compared[0].placement))} points   ·   {len(compared)} methods   ·  "
            " same shells, same H"
        )
        figure.text(0.012, 1 - 0.66 / height, facts, fontsize=9, color=QUIET, va="center")
        _maps(figure, compared, document, height)
        _bars(figure, compared, height)
    return figure


def _maps(
    figure: Figure,
    compared: Sequence[MethodResult],
    document: Integer[np.ndarray, " n"] | None,
    height: float,
) -> None:
    by_name = {one.method: one for one in compared}
    shown = (
        [by_name[name] for name in _MAPS]
        if set(_MAPS) <= set(by_name)
        else list(compared)[-len(_MAPS) :]
    )
    width = 1 / len(_MAPS)
    for column, one in enumerate(shown):
        place = (column * width + 0.008, 1 - 3.05 / height, width - 0.016, 1.85 / height)
        axes = figure.add_axes(place, label=f"map of {one.method}")
        placed = one.placement
        tells = radii_tell(placed.prominence)
        draw_world(axes, placed.direction, point_colours(placed.radius, document, tells))
        axes.set_title(one.method, loc="center")


def _bars(figure: Figure, compared: Sequence[MethodResult], height: float) -> None:
    rows = [one.row() for one in compared]
    panels = [name for name in _PANELS if any(name in row for row in rows)]
    count = len(panels) + 2
    width = (_RIGHT - _LEFT - _GAP * (count - 1)) / count
    bottom = 0.42 / height
    tall = 1 - (3.05 + 0.42 + 0.45) / height
    names = [one.method for one in compared]
    inks = [_LANGEVIN if name.startswith("langevin") else _HEURISTIC for name in names]

    def panel(index: int, label: str, heading: str) -> Axes:
        axes = figure.add_axes((_LEFT + index * (width + _GAP), bottom, width, tall), label=label)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_yticks(range(len(names)), names if index == 0 else [""] * len(names))
        axes.tick_params(axis="y", length=0, labelsize=8.5, labelcolor=INK)
        axes.set_title(heading)
        return axes

    angular = [
        sum(one.energy.get(term, 0.0) for term in ("lateral", "osmotic")) for one in compared
    ]
    base = max(angular) + 0.1 * (max(angular) - min(angular) or 1)
    axes = panel(0, "angular energy", "lateral + osmotic H / N")
    axes.barh(
        range(len(names)), [value - base for value in angular], left=base, height=0.7, color=inks
    )
    axes = panel(1, "gravity", "gravity H / N")
    gravity = [one.energy.get("gravity", 0.0) for one in compared]
    axes.barh(range(len(names)), gravity, height=0.7, color=TERM_COLOURS["gravity"])
    axes.set_xscale("symlog", linthresh=0.01)
    axes.set_xticks([0, 0.01, 1, 100] if max(gravity) > 1 else [0, 0.01, 1])
    for index, name in enumerate(panels, start=2):
        axes = panel(index, name, _TITLES.get(name, name))
        values = [row.get(name, np.nan) for row in rows]
        axes.barh(range(len(names)), values, height=0.7, color=inks)
        axes.set_xscale(_PANELS[name])
