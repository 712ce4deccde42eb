"""How far each point's place can be trusted: what it keeps of its own neighbours, against chance.

The measures of `neighbourhood` are means over a map; these are columns of it, one number for every
point. Which points are near in the embedding is not searched again: the lists are those that the
map was made of.
"""

import math
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int
from scipy.spatial import cKDTree

from sphere_ebm.quality.points import unit_directions

CHANCE_LEVEL = 0.05
"""False discovery rate at which a point counts as better than chance."""

_LEAST = float(np.finfo(np.float32).tiny)
_CHUNK = 16_384


class Kept(NamedTuple):
    """What points keep of their neighbours, one row for each."""

    share: Float32[np.ndarray, " points"]
    """Of the k nearest in the embedding, those among the k nearest on the map; in [0, 1]."""
    p_value: Float32[np.ndarray, " points"]
    """Probability that permuted neighbours keep as many or more; in (0, 1]."""


@final
class MapNeighbours:
    """The points of a finished map by nearness on the sphere.

    Args:
        direction: (N, 3) unit vectors.
        known: positions of the points that may be anybody's neighbours; None: of all.

    Raises ValueError for directions that are not unit. Cost: O(N log N), 60 bytes a point.
    """

    def __init__(
        self,
        direction: Float[np.ndarray, "points 3"],
        known: Int[np.ndarray, " known"] | None = None,
    ) -> None:
        self._known = np.arange(len(direction)) if known is None else known
        # in random order, so that equal places are listed in no order that embeddings know of
        self._known = np.random.default_rng(0).permutation(self._known).astype(np.int32)
        self._tree = cKDTree(unit_directions(direction[self._known]))

    def __len__(self) -> int:
        return len(self._known)

    def nearest(
        self,
        direction: Float[np.ndarray, "queries 3"],
        k: int,
        itself: Int[np.ndarray, " queries"] | None = None,
    ) -> Int[np.ndarray, "queries k"]:
        """Positions of the `k` nearest points of the map to each direction, nearest first.

        `itself` are the positions of the directions where they are points of the map, which are
        left out of their own lists. -1 where there are no more.
        """
        left_out = 0 if itself is None else 1
        found = np.full((len(direction), k), -1, np.int32)
        columns = min(k, len(self) - left_out)
        if columns < 1 or not len(direction):
            return found
        near = self._tree.query(unit_directions(direction), k=columns + left_out)[1]
        listed = self._known[near.reshape(len(direction), -1)]
        if itself is not None:
            # Among many copies of one place a point need not be found: then the farthest goes.
            last = np.argsort(listed == itself[:, None], axis=1, kind="stable")
            listed = np.take_along_axis(listed, last[:, :columns], axis=1)
        found[:, :columns] = listed
        return found


def kept_by_points(
    nearest: Int[np.ndarray, "points k"], direction: Float[np.ndarray, "points 3"]
) -> Kept:
    """What every point of a map keeps of its neighbours.

    `share` of point i is |A_i ∩ B_i| / k_i: A_i are the k_i points that `nearest` lists, B_i the
    k_i nearest on the map. Points that list nobody and are listed by nobody (zero vectors) are
    nobody's neighbours on the map either; their share is 0 and their p-value 1. Of more than k
    copies of one embedding those that are listed count, and no others.

    The null law permutes the neighbours: A_i is any k_i of the n - 1 others with equal probability,
    n the number of points that may be neighbours. Then |A_i ∩ B_i| is hypergeometric, exactly,

        P(x) = C(k_i, x) C(n - 1 - k_i, k_i - x) / C(n - 1, k_i),

    and the p-value is P(X >= x). P-values below the smallest normal float32, 1.2e-38, are that.

    Args:
        nearest: (N, k) positions of other points, -1 where a list is short.
        direction: (N, 3) unit vectors.

    Raises ValueError for directions that are not unit, or of another number of points. Cost: one
    k-d tree and O(N k log N); blocks of fixed size beside it.
    """
    if len(nearest) != len(direction):
        raise ValueError(
            f"`direction` must have one row per list of `nearest` ({len(nearest)}); got"
            f" {len(direction)}."
        )
    neighbours = np.zeros(len(nearest), bool)
    neighbours[nearest[nearest >= 0]] = True
    neighbours |= (nearest >= 0).any(axis=1)
    on_map = MapNeighbours(direction, np.flatnonzero(neighbours))
    parts = [
        _kept(
            nearest[rows], on_map.nearest(direction[rows], nearest.shape[1], own), len(on_map) - 1
        )
        for rows, own in _blocks(len(nearest))
    ]
    return _joined(parts)


def kept_by_newcomers(
    nearest: Int[np.ndarray, "new k"],
    direction: Float[np.ndarray, "new 3"],
    on_map: MapNeighbours,
) -> Kept:
    """What points keep that have joined a map, of their neighbours among the points of the map.

    As `kept_by_points`, but a newcomer is none of the map's n points: the law is that of k_i drawn
    from n.

    Args:
        nearest: (M, k) positions of points of the map, -1 where a list is short.
        direction: (M, 3) unit vectors of the newcomers.
        on_map: the points of the map that may be neighbours.

    Raises ValueError for directions that are not unit.
    """
    parts = [
        _kept(nearest[rows], on_map.nearest(direction[rows], nearest.shape[1]), len(on_map))
        for rows, _ in _blocks(len(nearest))
    ]
    return _joined(parts)


def better_than_chance(
    p_value: Float[np.ndarray, " points"], level: float = CHANCE_LEVEL
) -> Bool[np.ndarray, " points"]:
    """Which points keep more of their neighbours than chance explains, by Benjamini and Hochberg.

    With p_(1) <= ... <= p_(N), these are all points up to the last one with p_(i) <= `level` i / N:
    among those chosen, at most a share of `level` is expected to be there by chance, where p-values
    are independent or positively dependent (Benjamini & Yekutieli 2001).
    """
    ordered = np.sort(p_value.astype(np.float64))
    below = np.flatnonzero(ordered <= level * np.arange(1, len(ordered) + 1) / max(len(ordered), 1))
    return p_value <= ordered[below[-1]] if below.size else np.zeros(len(p_value), bool)


def chance_share(p_value: Float[np.ndarray, " points"]) -> float:
    """Share of points whose neighbourhood is kept no better than chance; nan without points.

    These are the points that `better_than_chance` does not choose.
    """
    return float(1 - better_than_chance(p_value).mean()) if len(p_value) else math.nan


def chance_tail(others: int, k: int) -> Float64[np.ndarray, " counts"]:
    """P(X >= x) for x = 0 .. k, where two sets of k are drawn from `others` points.

    X is the size of their intersection. In integers of any length, rounded once.
    """
    counts = [math.comb(k, x) * math.comb(others - k, k - x) for x in range(k + 1)]
    tails = np.cumsum(np.asarray(counts[::-1], object))[::-1]
    every = math.comb(others, k)
    return np.asarray([tail / every for tail in tails], np.float64)


def _blocks(points: int) -> list[tuple[slice, Int[np.ndarray, " block"]]]:
    """Rows of each block, as a slice and one by one."""
    starts = range(0, points, _CHUNK)
    rows = [slice(start, min(start + _CHUNK, points)) for start in starts]
    return [(block, np.arange(block.start, block.stop)) for block in rows]


def _kept(
    nearest: Int[np.ndarray, "block k"], on_map: Int[np.ndarray, "block k"], others: int
) -> Kept:
    """Share and p-value of a block, where each point has `others` that may be its neighbours."""
    listed = (nearest >= 0).sum(axis=1)
    # as many on the map as are listed: the nearest of them
    seen = np.where(np.arange(nearest.shape[1]) < listed[:, None], on_map, -1)
    # Neither list names a point twice, so that what stands twice in both together is in both.
    both = np.sort(np.concatenate([nearest, seen], axis=1), axis=1)
    common = ((both[:, 1:] == both[:, :-1]) & (both[:, 1:] >= 0)).sum(axis=1)
    p_value = np.ones(len(nearest))
    for k in np.unique(listed[listed > 0]).tolist():
        rows = listed == k
        p_value[rows] = chance_tail(others, k)[common[rows]]
    share = common / np.maximum(listed, 1)
    return Kept(share.astype(np.float32), np.maximum(p_value, _LEAST).astype(np.float32))


def _joined(parts: list[Kept]) -> Kept:
    nothing = Kept(np.zeros(0, np.float32), np.zeros(0, np.float32))
    columns = zip(nothing, *parts, strict=True)
    return Kept(*(np.concatenate(column) for column in columns))
