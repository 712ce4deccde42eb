"""Visitors: points that a cell lists beside its own, because queries look for them there.

A map keeps most neighbours together and not all. Some points lie where few of those lie that are
like them, so that a cascade which finds the region of a query misses them. They are found with the
map's own points as queries: each walks down the map as if it were not on it, and where its returned
cells miss one of its nearest, the cells that suit it best may list what it missed. Of all such
pairs of a point and a cell those are taken that win the most for each time the cell is visited.

The pyramid stays as it is: a point lies in one cell of every level, and visits others.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float32, Int, Int64
from numpy.typing import ArrayLike

from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.index import NeighbourIndex
from sphere_ebm.maps.checks import checked_embeddings
from sphere_ebm.retrieval.cascade import Cascade, Own, Plan
from sphere_ebm.retrieval.levels import PyramidLevel
from sphere_ebm.retrieval.pyramid import MapPyramid, Visitors

TRIALS = 10_000
"""Points that play queries, at most, unless the caller says otherwise."""
WORK = 0.07
"""What each of them may spend, as a share of the points."""
_NEAREST = 20
_CELLS = 3
# visitors for each point that plays a query
_SHARE = 1.0
# neighbours saved that are taken off: what one query alone missed, another will hardly miss
_CHANCE = 0.7
# visits that even the least visited cell is taken to have: few are counted badly
_LEAST_VISITS = 5


def with_visitors(
    pyramid: MapPyramid, embeddings: ArrayLike, *, trials: int = TRIALS, seed: int = 0
) -> MapPyramid:
    """The same pyramid with visitors of its finest level, for a cascade that finds more.

    What T trials cost is a search of their neighbours, see `NeighbourIndex`, and T walks; more
    trials find more visitors, as many as there are trials at most. They are saved with the
    pyramid and stay when it grows; newcomers visit nobody until this is called again.

    Args:
        pyramid: of a map; visitors that it has are replaced.
        embeddings: (N, D) of the map's points, in their order.
        trials: points that play queries, drawn at random.
        seed: of the draw.

    Raises:
        ValueError: embeddings of other points, or trials that are not positive.
    """
    rows = checked_embeddings(embeddings)
    if rows.shape != (len(pyramid), pyramid.width):
        raise ValueError(
            f"`embeddings` must have shape ({len(pyramid)}, {pyramid.width}), a row for each point"
            f" of the map; got {rows.shape}."
        )
    if trials < 1:
        raise ValueError(f"`trials` must be at least 1; got {trials}. {TRIALS} is usual.")
    unit = unit_rows(rows.astype(np.float64)).astype(np.float32)
    pointing = np.flatnonzero(np.any(unit, axis=1))
    plain = dataclasses.replace(pyramid, visitors=None)
    if len(pointing) <= _NEAREST:
        return plain
    rng = np.random.default_rng(seed)
    asked = np.sort(rng.choice(pointing, min(trials, len(pointing)), replace=False))
    return dataclasses.replace(plain, visitors=_found(Cascade.build(plain), unit, asked))


def _found(
    cascade: Cascade,
    unit: Float32[np.ndarray, "points width"],
    asked: Int64[np.ndarray, " trials"],
) -> Visitors:
    """The points that should visit cells, by trials of points of the map."""
    levels = cascade.pyramid.levels
    truth = NeighbourIndex.build(unit).neighbours_of(asked, _NEAREST).index
    plan = cascade.plan(max(WORK, 2 / len(unit) + len(levels[0]) / len(unit)))
    home = [_nodes(cascade.pyramid.order, level) for level in levels]
    own = [_own(level, node[asked], unit[asked]) for level, node in zip(levels, home, strict=True)]
    walked = list(cascade.walk(plan, unit[asked], own))
    nodes = np.concatenate([part[0] for part in walked])
    used = _used(levels[-1], plan, nodes, np.concatenate([part[1] for part in walked]))
    visits = np.bincount(nodes[used], minlength=len(levels[-1]))
    # cells that a trial used and cells of its neighbours, each as one number
    base = np.arange(len(asked))[:, None] * len(levels[-1])
    known = np.sort((base + nodes)[used])
    looked = base + home[-1][truth]
    seen = known[np.minimum(np.searchsorted(known, looked), len(known) - 1)] == looked
    trial, rank = np.nonzero(~seen & (truth >= 0))
    best = np.where(used, nodes, -1)[trial, :_CELLS].astype(np.int64)
    host = best >= 0
    # equal pairs add up to the number of neighbours that they would have saved
    pair = best[host] * len(unit) + np.repeat(truth[trial, rank], host.sum(axis=1))
    pair, saved = np.unique(pair, return_counts=True)
    value = (saved - _CHANCE) / np.maximum(visits, _LEAST_VISITS)[pair // len(unit)]
    taken = np.sort(pair[np.argsort(-value, kind="stable")[: round(_SHARE * len(asked))]])
    return Visitors(levels[-1].key[taken // len(unit)], taken % len(unit))


def _nodes(
    order: Int64[np.ndarray, " points"], level: PyramidLevel
) -> Int64[np.ndarray, " points"]:
    """The node of a level that holds each point."""
    node = np.empty(len(order), np.int64)
    node[order] = np.repeat(np.arange(len(level)), level.count)
    return node


def _own(
    level: PyramidLevel,
    node: Int64[np.ndarray, " asked"],
    unit: Float32[np.ndarray, "asked width"],
) -> Own:
    """The cosine of each point to the mean of the others in its node."""
    count = level.count[node]
    others = level.embedding[node] * count[:, None].astype(np.float32) - unit
    length = np.linalg.norm(others, axis=1)
    cosine = np.sum(others * unit, axis=1) / np.maximum(length, 1e-12)
    return Own(node.astype(np.int32), np.where(count > 1, cosine, -np.inf).astype(np.float32))


def _used(
    level: PyramidLevel,
    plan: Plan,
    nodes: Int[np.ndarray, "queries nodes"],
    score: Float32[np.ndarray, "queries nodes"],
) -> Bool[np.ndarray, "queries nodes"]:
    """Which nodes return points of their own."""
    held = np.where(score > -np.inf, level.count[nodes], 0)
    return (np.cumsum(held, axis=1) - held < plan.returned) & (held > 0)
