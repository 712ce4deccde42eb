"""Whether radii follow prominence and shells hold their capacities."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Int, Shaped

from sphere_ebm.geometry.shells import RadiusOrder, Shells, occupancy
from sphere_ebm.quality.points import rank_correlation


@final
@dataclass(frozen=True)
class ShellDeviation:
    """The largest and the mean |count - N c_s| over the shells, in points.

    `mean_relative` is the mean of |count - N c_s| / (N c_s).
    """

    max_points: float
    mean_points: float
    mean_relative: float


def prominence_spearman(
    prominence: Shaped[np.ndarray, " points"],
    radius: Float[np.ndarray, " points"],
    order: RadiusOrder = "outer",
) -> float:
    """Spearman correlation of prominence and radius, signed so that 1 is right for either order.

    nan below 3 points or where either is constant.

    Raises:
        ValueError: shapes differ, values are not finite, or `order` is not known.
    """
    if len(prominence) != len(radius):
        raise ValueError(
            f"`prominence` must have one entry per radius ({len(radius)}); got {len(prominence)}."
        )
    if order not in ("outer", "core"):
        raise ValueError(f"`order` must be 'outer' or 'core'; got {order!r}.")
    if not (np.isfinite(prominence).all() and np.isfinite(radius).all()):
        raise ValueError("`prominence` and `radius` must be finite.")
    rho = rank_correlation(prominence, radius)
    return rho if order == "outer" else -rho


def shell_deviation(shell: Int[np.ndarray, " points"], shells: Shells) -> ShellDeviation:
    """How far the counts of the shells are from their capacities N c_s.

    `mean_relative` is nan without points.

    Raises:
        ValueError: a shell index is outside [0, S-1].
    """
    wanted = len(shell) * shells.capacity
    off = np.abs(occupancy(shell, shells) - wanted)
    return ShellDeviation(
        max_points=float(off.max()),
        mean_points=float(off.mean()),
        mean_relative=float((off / wanted).mean()) if len(shell) else math.nan,
    )
