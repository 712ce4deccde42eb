"""Maps that grow: old points remember their places while new ones are fitted among them.

Held points are anchored (`sphere_ebm.hamiltonian.anchor`), all less the more of their neighbours
are free: points amid newcomers have to make room, and the others have no reason to move. The fit
starts where every point is already, with a strong coupling, so that the free find each other while
the anchors hold the rest.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float32, Float64
from numpy.typing import ArrayLike

from sphere_ebm.geometry.frames import angles_between
from sphere_ebm.graph.index import nearest_neighbours
from sphere_ebm.graph.neighbours import Neighbours
from sphere_ebm.maps.anchors import STRENGTH, Anchors
from sphere_ebm.maps.checks import checked_embeddings, checked_prominence, real_array
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.maps.copies import Copies, find_copies
from sphere_ebm.maps.frozen_map import FrozenMap
from sphere_ebm.maps.place import place
from sphere_ebm.maps.placement import Placement
from sphere_ebm.progress import StageProgress
from sphere_ebm.sampling.devices import Devices

YIELDING = 0.2
"""Share of free neighbours at which an anchor holds 1/e as strongly."""
COUPLING = 24.0
"""`coupling_start` of a fit with anchors, where the map's own is smaller: those hold the rest."""


@final
class Points(NamedTuple):
    """Points of a map that is to be fitted: rows, where they start, and which are held there.

    `unsure` is the error of the places where they start, in radians.
    """

    embeddings: Float32[np.ndarray, "points width"]
    prominence: Float32[np.ndarray, " points"]
    start: Float32[np.ndarray, "points 3"]
    unsure: Float32[np.ndarray, " points"]
    held: Bool[np.ndarray, " points"]


def growing(config: PlacementConfig) -> PlacementConfig:
    """`config` with the coupling that a fit with anchors starts with."""
    return dataclasses.replace(config, coupling_start=max(config.coupling_start, COUPLING))


def anchor_strengths(
    neighbours: Neighbours, held: Bool[np.ndarray, " points"], strength: float | ArrayLike
) -> Float32[np.ndarray, " held"]:
    """λ exp(-f_i / `YIELDING`) of every held point, f_i the share of its neighbours that are free.

    `strength` λ is one number, or one for each held point.
    """
    found = neighbours.index[held]
    known = found >= 0
    free = np.count_nonzero(known & ~held[found], axis=1) / np.maximum(known.sum(axis=1), 1)
    return (np.asarray(strength) * np.exp(-free / YIELDING)).astype(np.float32)


def refit(
    points: Points,
    config: PlacementConfig,
    *,
    strength: float | ArrayLike = STRENGTH,
    progress: StageProgress | None = None,
    checkpoint: Path | None = None,
    devices: Devices = None,
) -> Placement:
    """Fit `points` from where they start, those that are held anchored at their places.

    `config` is used as it is, see `growing`; the other arguments and what is raised are those of
    `place`. All runs of the fit remember the same places, which are no surer than they were, so
    that `angle_std` adds both errors: its square is that of `points.unsure` and that of the fit.
    The replicas, and the modes that they have, say nothing of the former and are left out.
    """
    copies = find_copies(points.embeddings, points.prominence)
    if copies is None:
        return _refit(points, config, strength, progress, checkpoint, devices)
    # held points come first, so that a copy of one of them is held where that is
    distinct = Points(*(column[copies.first] for column in points))
    placed = _refit(
        distinct,
        config,
        _of_distinct(strength, points.held, copies),
        progress,
        checkpoint,
        devices,
    )
    return copies.spread(placed, points.embeddings, points.prominence)


def _of_distinct(
    strength: float | ArrayLike, held: Bool[np.ndarray, " points"], copies: Copies
) -> ArrayLike:
    """The strengths of those held points that are the first of their copies."""
    own = real_array("strength", strength)
    if own.shape != (np.count_nonzero(held),):
        return own
    every = np.zeros(len(held))
    every[held] = own
    return every[copies.first][held[copies.first]]


def _refit(
    points: Points,
    config: PlacementConfig,
    strength: float | ArrayLike,
    progress: StageProgress | None,
    checkpoint: Path | None,
    devices: Devices,
) -> Placement:
    """Fit points of which no two are copies."""
    found = nearest_neighbours(
        points.embeddings,
        config.neighbours,
        search=config.neighbour_search,
        seed=config.seed,
        progress=None if progress is None else _told(progress),
    )
    rows = np.flatnonzero(points.held)
    strengths = anchor_strengths(found, points.held, strength)
    placed = place(
        points.embeddings,
        points.prominence,
        config,
        start=points.start,
        anchors=Anchors(points.start[rows], strengths, rows),
        neighbours=found,
        progress=progress,
        checkpoint=checkpoint,
        devices=devices,
    )
    return dataclasses.replace(
        placed,
        angle_std=np.hypot(placed.angle_std, points.unsure),
        modes=None,
        mode_weight=None,
        replicas=None,
    )


def _told(progress: StageProgress) -> Any:
    return lambda done, total: progress("neighbours", done, total)


def grow(
    placement: Placement,
    embeddings: ArrayLike,
    prominence: ArrayLike | None = None,
    *,
    config: PlacementConfig | None = None,
    strength: float | ArrayLike = STRENGTH,
    progress: StageProgress | None = None,
    checkpoint: Path | None = None,
    devices: Devices = None,
) -> Placement:
    """A map of all points of `placement` and new ones, on which the old all but keep their places.

    New points join the map first (`FrozenMap`); then all are fitted, the old ones anchored. The
    frame stays that of `placement`, which itself is not changed.

    Args:
        placement: the older map, of at least one point, with its embeddings.
        embeddings: (M, D) of the new points.
        prominence: (M,) on the scale of the old; by default the norms of the embeddings.
        config: of the fit, used as it is; None: `growing(placement.config)`.
        strength: λ >= 0, one number or one for each old point; see `anchor_strengths`.
        progress: as in `place`.
        checkpoint: as in `place`.
        devices: as in `place`.

    Returns:
        A placement of N + M points, the old ones first.

    Raises:
        ValueError: `placement` has no embeddings or no points, or the new points are refused, see
            `FrozenMap.place`.
    """
    frozen = FrozenMap(placement)
    new = checked_embeddings(embeddings)
    order, _ = checked_prominence(prominence, new)
    joined = frozen.place(new, order)
    old = placement.embeddings
    assert old is not None  # or `FrozenMap` would have refused it
    points = Points(
        np.concatenate([old, new]),
        np.concatenate([placement.prominence, joined.prominence]),
        np.concatenate([placement.direction, joined.direction]),
        np.concatenate([placement.angle_std, joined.angle_std]),
        np.arange(len(old) + len(new)) < len(old),
    )
    return refit(
        points,
        growing(placement.config) if config is None else config,
        strength=strength,
        progress=progress,
        checkpoint=checkpoint,
        devices=devices,
    )


@final
class Drift(NamedTuple):
    """How far points moved, in degrees: the median and the 90th percentile, nan without points."""

    median: float
    p90: float

    @classmethod
    def of(cls, degrees: Float64[np.ndarray, " points"]) -> "Drift":
        """Of the angle that each point moved by."""
        if not len(degrees):
            return cls(float("nan"), float("nan"))
        return cls(float(np.median(degrees)), float(np.quantile(degrees, 0.9)))


def degrees_moved(
    before: Float32[np.ndarray, "points 3"], after: Float32[np.ndarray, "points 3"]
) -> Float64[np.ndarray, " points"]:
    """The angle between two places of each point, in degrees, in the frame that they have."""
    return np.degrees(angles_between(before, after))
