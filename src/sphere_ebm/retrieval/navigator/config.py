"""`NavigatorConfig`: every choice of the navigator."""

from dataclasses import dataclass
from typing import Literal, final

from sphere_ebm.retrieval.navigator.landmarks import CHOICES, Choice
from sphere_ebm.rules import Range, checked_fields

Where = Literal["cells", "field"]


@final
@dataclass(frozen=True, kw_only=True)
class NavigatorConfig:
    """Choices of the navigator. Angles in radians, shares of the points of the map.

    First what the guide is and what it may spend, then those of the field, from `probes` on those
    of the cones, from `level` on those of the confidence, from `batch` on those of running.
    """

    where: Where = "cells"
    """What finds where to look: `"cells"`, those that a cascade leads to, or the `"field"` of
    landmarks. Only a field needs what is said of landmarks, deposits, the band limit and smoothing,
    strength, crowding and bands.
    """
    work: float = 0.05
    """What the cascade spends to find cells, in (0, 1]."""
    landmarks: int | None = None
    """S; None: an eighth of the points, at most 2048."""
    choice: Choice = "medoids"
    """`"medoids"` of map cells, `"farthest"` first in direction, or `"random"`."""
    deposit_neighbours: int = 20
    """k points on which a landmark deposits besides itself; 0: none."""
    temperature: float = 0.6
    """τ > 0 of the weights, in standard deviations of a query's cosines to the landmarks: a low one
    listens to the nearest few.
    """
    band_limit: int = 32
    """L in [8, 256]."""
    smoothing: float = 0.08
    """σ > 0, width of one deposit; below about 2.5 / L it rings."""

    probes: int | None = None
    """P >= 1, at most; None: 16 cells, or 8 maxima of a field."""
    strength_exponent: float = 0.5
    """γ >= 0."""
    crowding: float = 0.1
    """β >= 0."""
    band: float | None = None
    """Half width of the radial band in standard deviations of the relevant radii; None: all
    radii.
    """
    share: float = 0.05
    """Of the points that is returned, in (0, 1]."""

    level: float = 0.8
    """Share of the 10 true neighbours that counts as success, in (0, 1]."""
    enough: float = 0.9
    """Probability at which no further probes are used, in (0, 1]; 1: all are. This saves comparing
    points with further cones; the probes themselves are found together.
    """
    pseudo_queries: int = 256
    """Points of the map that calibrate, at least 32; a quarter of the points at most."""

    batch: int = 64
    """Queries that are compiled for and run together."""
    seed: int = 0
    """Of the pseudo-queries and of the choice of landmarks."""

    @property
    def probe_count(self) -> int:
        """P."""
        return _PROBES[self.where] if self.probes is None else self.probes

    def __post_init__(self) -> None:
        """Raises ValueError naming the parameter, its rule and what was received."""
        checked_fields(
            self,
            choices={"where": _PROBES, "choice": CHOICES},
            ranges=_RANGES,
            hint=" See `NavigatorConfig`.",
        )


_PROBES: dict[str, int] = {"cells": 16, "field": 8}
_RANGES: dict[str, Range] = {
    "landmarks": Range(1, 1e9, "an integer >= 1, or None", whole=True, optional=True),
    "deposit_neighbours": Range(0, 1e9, "an integer >= 0", whole=True),
    "temperature": Range(1e-3, 1e3, "a number in [0.001, 1000]"),
    "band_limit": Range(8, 256, "an integer in [8, 256]", whole=True),
    "smoothing": Range(1e-3, 1, "an angle in [0.001, 1] radians"),
    "work": Range(1e-9, 1, "a number in (0, 1]"),
    "probes": Range(1, 64, "an integer in [1, 64], or None", whole=True, optional=True),
    "strength_exponent": Range(0, 8, "a number in [0, 8]"),
    "crowding": Range(0, 8, "a number in [0, 8]"),
    "band": Range(1e-3, 1e3, "a number in [0.001, 1000], or None", optional=True),
    "share": Range(1e-9, 1, "a number in (0, 1]"),
    "level": Range(1e-9, 1, "a number in (0, 1]"),
    "enough": Range(1e-9, 1, "a number in (0, 1]"),
    "pseudo_queries": Range(32, 1e9, "an integer >= 32", whole=True),
    "batch": Range(1, 65_536, "an integer in [1, 65536]", whole=True),
    "seed": Range(0, 2**32 - 1, "an integer in [0, 2^32)", whole=True),
}
