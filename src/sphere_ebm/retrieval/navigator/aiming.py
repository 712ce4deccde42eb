"""From probes to points.

The union of a query's cones, scaled until it holds as many points as are asked for.
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float64, Int64


@final
@dataclass(frozen=True, eq=False)
class View:
    """The P cones of one query up to a common scale, strongest first.

    Their half angles are α₀ · `relative`; `inner` and `outer` bound their radial bands.
    """

    axis: Float64[np.ndarray, "probes 3"]
    relative: Float64[np.ndarray, " probes"]
    inner: Float64[np.ndarray, " probes"]
    outer: Float64[np.ndarray, " probes"]
    found: Bool[np.ndarray, " probes"]


@final
@dataclass(frozen=True, eq=False)
class Sight:
    """Points in the cones, nearest first, and the scale α₀ that holds them.

    They are nearest by the ratio of angle to relative aperture. `opened` tells that the bands held
    too few, so that the cones take all radii.
    """

    points: Int64[np.ndarray, " returned"]
    scale: float
    opened: bool = False


def stages(probes: int) -> tuple[int, ...]:
    """Numbers of probes after which the confidence is asked: 1, 2, 4, ... and all."""
    doubled = [2**power for power in range(probes.bit_length())]
    return tuple(sorted({*(count for count in doubled if count < probes), probes}))


def ratios(
    direction: Float64[np.ndarray, "points 3"],
    radius: Float64[np.ndarray, " points"],
    view: View,
    which: slice,
) -> tuple[Float64[np.ndarray, " points"], Float64[np.ndarray, " points"]]:
    """Smallest angle over relative aperture of each point among some probes.

    The first array counts a probe only where its band holds the point, the second at any radius.
    Both are inf where no probe counts. Angles are 2 arcsin(chord/2), float64. O(P N).
    """
    best = np.full(len(direction), np.inf)
    anywhere = best.copy()
    for probe in np.flatnonzero(view.found[which]) + (which.start or 0):
        chord = (direction[:, 0] - view.axis[probe, 0]) ** 2
        for axis in (1, 2):
            chord += (direction[:, axis] - view.axis[probe, axis]) ** 2
        ratio = 2 / view.relative[probe] * np.arcsin(np.minimum(np.sqrt(chord) / 2, 1))
        np.minimum(anywhere, ratio, out=anywhere)
        within = (radius >= view.inner[probe]) & (radius <= view.outer[probe])
        best = np.where(within, np.minimum(best, ratio), best)
    return best, anywhere


def nearest(
    best: Float64[np.ndarray, " points"], anywhere: Float64[np.ndarray, " points"], count: int
) -> Sight:
    """The `count` points of smallest ratio and the α₀ halfway to the next.

    Equal ratios go to the lower index.

    Where the bands hold fewer, ratios at any radius are taken instead. `count` is at most the
    number of points.
    """
    opened = bool(np.count_nonzero(np.isfinite(best)) < count)
    ratio = anywhere if opened else best
    if count == 0:
        return Sight(np.zeros(0, np.int64), float(ratio.min(initial=1.0)) / 2, opened)
    bound = np.partition(ratio, count - 1)[count - 1]
    closer = np.flatnonzero(ratio < bound)
    points = np.concatenate([closer, np.flatnonzero(ratio == bound)[: count - len(closer)]])
    points = points[np.argsort(ratio[points], kind="stable")]
    beyond = ratio[ratio > bound].min(initial=math.inf)
    return Sight(
        points,
        float((bound + beyond) / 2 if math.isfinite(beyond) else bound * (1 + 1e-12)),
        opened,
    )


def within(best: Float64[np.ndarray, " points"], scale: float) -> Sight:
    """All points of ratio at most `scale`."""
    points = np.flatnonzero(best <= scale)
    return Sight(points[np.argsort(best[points], kind="stable")], scale)
