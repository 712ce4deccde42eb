"""Water-filling on arrays.

Where points start, the passes of the engine, and the radii that come of it.

`sphere_ebm.heuristics.water_filling` makes a `Placement` of it; `sphere_ebm.maps.starts` takes its
directions.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Float64, Int32

from sphere_ebm.filling.engine import Filling, Points, Tally, fill
from sphere_ebm.filling.lateral_search import LateralPlan
from sphere_ebm.filling.presets import Preset, RadialStart, law_of
from sphere_ebm.geometry.shells import RadiusOrder, Shells, assign_shells, ranked


class Poured(NamedTuple):
    """What a water-filling run made of its points.

    Attributes:
        radius: (N,) radii after the last pass.
        direction: (N, 3) unit vectors after the last pass.
        first: (N,) the shell of each point before the first pass.
        tally: counters of the engine; None where it did not run.
    """

    radius: Float32[np.ndarray, " points"]
    direction: Float32[np.ndarray, "points 3"]
    first: Int32[np.ndarray, " points"]
    tally: Tally | None


def pour(
    prominence: Float64[np.ndarray, " points"],
    variance: Float64[np.ndarray, " points"],
    direction: Float32[np.ndarray, "points 3"],
    features: Float32[np.ndarray, "points features"] | None,
    shells: Shells,
    rules: Preset,
    *,
    order: RadiusOrder,
    seed: int,
) -> Poured:
    """Fill the shells by `rules`.

    Args:
        prominence: (N,) what radii follow.
        variance: (N,) of each normalised embedding over its dimensions, for the information score.
        direction: (N, 3) unit vectors to start from.
        features: (N, F) unit vectors whose product tells how alike two points are; None where the
            rules have no lateral search.
        shells: the shells and their capacities.
        rules: see `Preset`.
        order: whether prominent points go outside or inside.
        seed: of the engine's chances, and of the order of equal prominences.

    Returns:
        Radii, directions and counters, see `Poured`.
    """
    signed = prominence if order == "outer" else -prominence
    n = len(signed)
    radius = _start_radius(signed, variance, shells, rules.start, seed)
    first = assign_shells(radius, shells)
    if n == 0 or rules.passes == 0:
        return Poured(radius, direction, first, None)
    filling, tally = fill(
        _points(signed, features),
        Filling(jnp.asarray(first), jnp.asarray(direction.T)),
        jnp.asarray(n * shells.capacity, jnp.float32),
        jnp.asarray(np.diff(shells.edges), jnp.float32),
        law_of(rules, seed),
        LateralPlan.of(n, shells.count) if rules.lateral else None,
        rules.osmotic_rate > 0,
    )
    part = (radius - shells.edges[:-1][first]) / np.diff(shells.edges)[first]
    radius = _within(np.asarray(filling.shell), part, shells)
    return Poured(radius, np.asarray(filling.direction).T.copy(), first, tally)


_ROWS = 65_536


def _start_radius(
    prominence: Float64[np.ndarray, " points"],
    variance: Float64[np.ndarray, " points"],
    shells: Shells,
    start: RadialStart,
    seed: int,
) -> Float32[np.ndarray, " points"]:
    """Radii within the edges of the shells; all in the middle where nothing tells points apart."""
    score = prominence if start == "norm" else prominence * (1 + variance)
    if start == "rank":
        score = np.empty(len(prominence))
        score[ranked(prominence, "outer", seed)] = np.arange(len(prominence))
    low, high = (score.min(), score.max()) if score.size else (0.0, 0.0)
    share = (score - low) / (high - low) if high > low else np.full(score.shape, 0.5)
    inner = shells.edges[0]
    outer = shells.edges[-1]
    radius = (inner + (outer - inner) * share).astype(np.float32)
    return np.clip(radius, np.nextafter(np.float32(inner), np.float32(np.inf)), np.float32(outer))


def spread_of(
    embeddings: Float32[np.ndarray, "points width"] | None, n: int
) -> Float64[np.ndarray, " points"]:
    """Variance over the dimensions of each embedding divided by its norm.

    It is 0 for zero vectors and without embeddings.
    """
    found = np.zeros(n)
    if embeddings is None or embeddings.shape[1] == 0:
        return found
    for first in range(0, n, _ROWS):
        rows = embeddings[first : first + _ROWS].astype(np.float64)
        square = (rows**2).sum(axis=1)
        found[first : first + len(rows)] = rows.var(axis=1) / np.where(square > 0, square, 1)
    return found


def _points(
    prominence: Float64[np.ndarray, " points"],
    features: Float32[np.ndarray, "points features"] | None,
) -> Points:
    mean = float(prominence.mean())
    std = float(prominence.std())
    scale = std if std > 0 else 1.0
    features = np.zeros((len(prominence), 0), np.float32) if features is None else features
    standard = ((prominence - mean) / scale).astype(np.float32)
    return Points(
        jnp.asarray(standard), jnp.asarray(features.T), jnp.asarray(mean / scale, jnp.float32)
    )


def _within(
    shell: Int32[np.ndarray, " points"], part: Float64[np.ndarray, " points"], shells: Shells
) -> Float32[np.ndarray, " points"]:
    """The radius at `part` of the thickness of each point's shell.

    It lies on the shell's own side of its edges in float32.
    """
    edges = shells.edges.astype(np.float32)
    radius = (shells.edges[:-1][shell] + part * np.diff(shells.edges)[shell]).astype(np.float32)
    return np.clip(radius, np.nextafter(edges[:-1], np.float32(np.inf))[shell], edges[1:][shell])
