"""What the navigator answers: `Bearings`, made of one look for each query."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from sphere_ebm.retrieval.cones import Cones
from sphere_ebm.retrieval.navigator.aiming import Sight, View


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Bearings:
    """Where to look for Q queries, and what lies there."""

    points: Int64[np.ndarray, "queries returned"]
    """(Q, n) indices of points, the smallest angle over aperture first; -1 where there are
    fewer.
    """
    cones: Cones
    """(Q, P), the strongest probe first. The points are those in the cones that are `used`."""
    used: Bool[np.ndarray, "queries probes"]
    """(Q, P) False for probes that were not needed or not found."""
    density: Float32[np.ndarray, "queries probes"]
    """(Q, P) of relevance at the axes, per steradian, 1 / 4π when even; 0 where there is no
    probe.
    """
    confidence: Float64[np.ndarray, " queries"]
    """(Q,) probability that `level` of the 10 true neighbours are among the points; nan for a given
    α₀.
    """


@final
@dataclass(frozen=True, eq=False)
class Look:
    """One query: its cones up to a scale, and what they were made of.

    The weights of the landmarks, and the density at the probes.
    """

    view: View
    weight: Float64[np.ndarray, " landmarks"]
    density: Float32[np.ndarray, " probes"]


@final
class Answer:
    """Bearings in the making, one query after the other."""

    def __init__(self, queries: int, probes: int) -> None:
        self._axis = np.zeros((queries, probes, 3))
        self._size = np.zeros((3, queries, probes))
        self._used = np.zeros((queries, probes), bool)
        self._density = np.zeros((queries, probes), np.float32)
        self._confidence = np.full(queries, np.nan)
        self._points: list[np.ndarray] = []

    def add(self, look: Look, used: int, sight: Sight, confidence: float) -> None:
        """Append one query: its first `used` probes, and the points in their cones."""
        row = len(self._points)
        view = look.view
        self._axis[row] = view.axis
        everywhere = np.zeros_like(view.inner), np.full_like(view.outer, np.inf)
        inner, outer = everywhere if sight.opened else (view.inner, view.outer)
        self._size[:, row] = np.minimum(sight.scale * view.relative, math.pi), inner, outer
        self._used[row] = view.found & (np.arange(len(view.found)) < used)
        self._density[row] = look.density
        self._confidence[row] = confidence
        self._points.append(sight.points)

    def bearings(self) -> Bearings:
        """What was added, in arrays; rows of fewer points end in -1."""
        points = np.full((len(self._points), max(map(len, self._points), default=0)), -1, np.int64)
        for row, found in enumerate(self._points):
            points[row, : len(found)] = found
        aperture, inner, outer = self._size
        return Bearings(
            points=points,
            cones=Cones(
                direction=self._axis, aperture=aperture, inner_radius=inner, outer_radius=outer
            ),
            used=self._used,
            density=self._density,
            confidence=self._confidence,
        )
