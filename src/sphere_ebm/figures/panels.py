"""The small panels of a map's figure: points in each shell, and the energy by steps."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Integer
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator

from sphere_ebm.figures.colours import INK, PALETTE, TERM_COLOURS
from sphere_ebm.figures.legend import plain
from sphere_ebm.figures.world import Numbers


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


def shell_panel(
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


def energy_panel(
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
