"""What of the embedding's geometry the map keeps.

Neighbourhoods, in one blocked pass, and distances at large.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar, final

import numpy as np
from jaxtyping import Float, Float32, Int, UInt64
from typing_extensions import override

from sphere_ebm.files.machine import at_a_time
from sphere_ebm.quality.points import rank_correlation, unit_directions, unit_embeddings

Result = TypeVar("Result")

DEFAULT_QUERIES = 4096
"""Points that ask for their neighbours unless told otherwise: all up to 4 096, a sample beyond."""
_FEWEST_QUERIES = 512
_MOST_PAIRS = 500_000_000

_BLOCK_CELLS = 2**21
"""Cosines of one product; above 130 000 points those of 16 rows. Their rounding depends on it."""
_HELD_CELLS = 2**24
"""Cosines of several products that are held, in 64 MB, or those of one.

BLAS keeps all processors for some time, after which pieces of what is held have one each.
"""
_PIECE_CELLS = 2**19
"""Pairs in a piece: some 15 MB of temporary arrays, near what a processor's cache holds."""


@final
@dataclass(frozen=True)
class Neighbourhood:
    """How well neighbourhoods survive, by neighbourhood size k; nan where undefined.

    Attributes:
        recall: share of a point's k nearest in the input that are its k nearest on the map; chance
            is k / (N - 1).
        trustworthiness: 1 minus the normalised sum of (input rank - k) over the map's k nearest; 1
            is perfect.
        continuity: the same with input and map exchanged.
        queries: number of points that asked.
        left_out: number of points with a zero embedding, neither asking nor asked.
    """

    recall: dict[int, float]
    trustworthiness: dict[int, float]
    continuity: dict[int, float]
    queries: int
    left_out: int


def neighbourhood(
    embeddings: Float[np.ndarray, "points dim"],
    direction: Float[np.ndarray, "points 3"],
    ks: Sequence[int] = (15, 50),
    *,
    queries: int | None = DEFAULT_QUERIES,
    seed: int = 0,
) -> Neighbourhood:
    """Recall, trustworthiness and continuity for several sizes, in one pass over the pairs.

    With r_in and r_map the ranks (from 1) of j among the n - 1 others of i, for n points and q
    queries,

        recall          = 1/(q k) Σ_i |{j: r_in <= k and r_map <= k}|
        trustworthiness = 1 - Σ_i Σ_{j: r_map <= k} max(0, r_in - k) / (q m (2n - 2k - m - 1) / 2)
        continuity      = the same with r_in and r_map exchanged

    where m = min(k, n - 1 - k), and the divisor is the worst case: for k < n/2 that of Venna &
    Kaski 2001 and of scikit-learn, which stops there. A size k >= n is taken as n - 1, where recall
    is 1 and the other two are undefined, nan. Below 3 points all are nan.

    Args:
        embeddings: (N, dim), any norm.
        direction: (N, 3) unit vectors.
        ks: neighbourhood sizes >= 1.
        queries: at most this many points ask, and fewer, but no less than 512, where they would
            look at more than 5·10⁸ pairs (above 120 000 points); None: all.
        seed: of the order of ties and of the sample of queries.

    Cost: O(queries N (dim + log N)) time; three copies of the embeddings in float32, and blocks of
    fixed size.

    Raises:
        ValueError: shapes differ, values are not finite, directions are not unit, a size or
            `queries` is below 1.
    """
    if not ks or min(ks) < 1:
        raise ValueError(f"`ks` must hold sizes >= 1; got {tuple(ks)}.")
    if queries is not None and queries < 1:
        raise ValueError(f"`queries` must be at least 1, or None for all; got {queries}.")
    unit, kept, centred = unit_embeddings(embeddings, direction)
    n = kept.size
    left_out = len(direction) - n
    asked = (
        n if queries is None else min(n, queries, max(_FEWEST_QUERIES, _MOST_PAIRS // max(n, 1)))
    )
    if n < 3:
        undefined = dict.fromkeys(ks, math.nan)
        return Neighbourhood(undefined, dict(undefined), dict(undefined), asked, left_out)
    shuffle = np.random.default_rng(seed).permutation(n)
    on_map = unit_directions(direction)[kept[shuffle]].astype(np.float32)
    unit = unit[shuffle]  # the old order is given up, since it may take gigabytes
    size = {key: min(key, n - 1) for key in ks}

    def counts(map_rank: Int[np.ndarray, "piece others"]) -> list[_Counts]:
        return [_Counts.of(map_rank, k) for k in size.values()]

    total = dict.fromkeys(size, _Counts(0, 0, 0))
    for piece in _coranked(unit, on_map, asked, centred, counts):
        total = {key: total[key].plus(more) for key, more in zip(size, piece, strict=True)}
    return Neighbourhood(
        recall={key: total[key].shared / (asked * k) for key, k in size.items()},
        trustworthiness={
            key: _rank_score(total[key].intruding, asked, n, k) for key, k in size.items()
        },
        continuity={key: _rank_score(total[key].missing, asked, n, k) for key, k in size.items()},
        queries=asked,
        left_out=left_out,
    )


def _rank_score(penalty: int, queries: int, n: int, k: int) -> float:
    worst = min(k, n - 1 - k)
    return 1 - 2 * penalty / (queries * worst * (2 * n - 2 * k - worst - 1)) if worst else math.nan


class _Counts(NamedTuple):
    """Neighbours that input and map share, and by how many ranks the others are off."""

    shared: int
    intruding: int
    missing: int

    @classmethod
    def of(cls, map_rank: Int[np.ndarray, "piece others"], k: int) -> "_Counts":
        """Those of the k nearest of some points, from the map ranks of all by input rank."""
        input_rank = np.flatnonzero(map_rank < k) % map_rank.shape[1]
        return cls(
            int((map_rank[:, :k] < k).sum()),
            int(np.maximum(input_rank - (k - 1), 0).sum()),
            int(np.maximum(map_rank[:, :k] - (k - 1), 0).sum()),
        )

    def plus(self, other: "_Counts") -> "_Counts":
        return _Counts(*(one + more for one, more in zip(self, other, strict=True)))


def _coranked(
    unit: Float32[np.ndarray, "points dim"],
    on_map: Float32[np.ndarray, "points 3"],
    queries: int,
    centred: bool,
    measure: Callable[[Int[np.ndarray, "piece others"]], Result],
) -> Iterator[Result]:
    """Yields what is measured of map ranks by input rank, piece by piece of the first `queries`.

    Entry [b, r] is the map rank, from 0, of b's input neighbour of rank r.

    A distance >= 0 and an index packed into one uint64 sort as (distance, index), which is an exact
    stable sort at the speed of sorting numbers. Distances to equal embeddings are computed once, so
    that they are equal to the last bit. Distances are 1 - cosine; of `centred` rows half their
    squared distance, which is the same.
    """
    n = len(unit)
    distinct, copy_of = _distinct(unit)
    index = np.arange(n, dtype=np.uint64)[None, :]
    half = np.einsum("ij,ij->i", distinct, distinct) / 2

    def measured(start: int, cosine: Float32[np.ndarray, "piece distinct"]) -> Result:
        stop = start + len(cosine)
        self_point = (np.arange(len(cosine)), np.arange(start, stop))
        chord = np.zeros((len(cosine), n), dtype=np.float32)
        for axis in range(3):
            chord += np.square(on_map[start:stop, axis, None] - on_map[None, :, axis])
        chord[self_point] = np.inf
        rank = np.empty(chord.shape, np.uint64)
        np.put_along_axis(rank, _in_order(chord, index), index, axis=1)
        if centred:
            own = np.arange(start, stop) if copy_of is None else copy_of[start:stop]
            distance = np.maximum(half[own, None] + half - cosine, np.float32(0))
        else:
            distance = np.maximum(np.float32(1) - cosine, np.float32(0))
        if copy_of is not None:
            distance = distance[:, copy_of]
        distance[self_point] = np.inf
        return measure(_in_order(distance, rank)[:, :-1])

    piece = max(1, _PIECE_CELLS // n)
    with ThreadPoolExecutor(at_a_time()) as threads:
        for begin, cosine in _products(unit, distinct, queries):
            rows = range(0, len(cosine), piece)
            yield from threads.map(
                measured, (begin + row for row in rows), (cosine[row : row + piece] for row in rows)
            )


def _products(
    unit: Float32[np.ndarray, "points dim"],
    distinct: Float32[np.ndarray, "distinct dim"],
    queries: int,
) -> Iterator[tuple[int, Float32[np.ndarray, "held distinct"]]]:
    """Yields the first of some of the queries in turn, and their cosines."""
    rows = max(16, _BLOCK_CELLS // len(unit))
    held = rows * max(1, _HELD_CELLS // (rows * len(unit)))
    for begin in range(0, queries, held):
        end = min(begin + held, queries)
        cosine = np.empty((end - begin, len(distinct)), np.float32)
        for start in range(begin, end, rows):
            stop = min(start + rows, end)
            np.matmul(unit[start:stop], distinct.T, out=cosine[start - begin : stop - begin])
        yield begin, cosine


def _in_order(
    distance: Float32[np.ndarray, "block points"], index: UInt64[np.ndarray, "#block points"]
) -> Int[np.ndarray, "block points"]:
    """The indices of each row by rising distance, and of those at one distance by rising index."""
    packed = distance.view(np.uint32).astype(np.uint64)
    packed <<= np.uint64(32)
    packed |= index
    packed.sort(axis=1)
    packed &= np.uint64(0xFFFFFFFF)
    return packed.view(np.int64)


def _distinct(
    unit: Float32[np.ndarray, "points dim"],
) -> tuple[Float32[np.ndarray, "distinct dim"], Int[np.ndarray, " points"] | None]:
    """The distinct rows and the number of each row among them; None when no row occurs twice."""
    number: dict[bytes, int] = {}
    copy_of = [
        number.setdefault(hashlib.blake2b(row.tobytes(), digest_size=16).digest(), len(number))
        for row in unit
    ]
    if len(number) == len(unit):
        return unit, None
    _, first = np.unique(copy_of, return_index=True)
    return unit[first], np.asarray(copy_of)


@final
class NeighbourMeasure:
    """A function that measures one number of a `neighbourhood` by itself, for one size k."""

    def __init__(self, numbers: Callable[[Neighbourhood], dict[int, float]]) -> None:
        self.__name__ = numbers.__name__
        self.__doc__ = numbers.__doc__
        self._numbers = numbers

    def __call__(
        self,
        embeddings: Float[np.ndarray, "points dim"],
        direction: Float[np.ndarray, "points 3"],
        k: int = 15,
        *,
        queries: int | None = DEFAULT_QUERIES,
        seed: int = 0,
    ) -> float:
        """The number for `k` neighbours; arguments and errors are those of `neighbourhood`."""
        found = neighbourhood(embeddings, direction, (k,), queries=queries, seed=seed)
        return self._numbers(found)[k]

    @override
    def __reduce__(self) -> str:
        # pickled by name, as functions are
        return self.__name__


@NeighbourMeasure
def neighbour_recall(found: Neighbourhood) -> dict[int, float]:
    """Share of a point's k cosine neighbours that are among its k nearest by angle.

    See `neighbourhood`.
    """
    return found.recall


@NeighbourMeasure
def trustworthiness(found: Neighbourhood) -> dict[int, float]:
    """How near in the input the map's k nearest are, by rank (Venna & Kaski 2001).

    See `neighbourhood`.
    """
    return found.trustworthiness


@NeighbourMeasure
def continuity(found: Neighbourhood) -> dict[int, float]:
    """How near on the map the input's k nearest are, by rank (Venna & Kaski 2001).

    See `neighbourhood`.
    """
    return found.continuity


def distance_spearman(
    embeddings: Float[np.ndarray, "points dim"],
    direction: Float[np.ndarray, "points 3"],
    *,
    pairs: int = 50_000,
    seed: int = 0,
) -> float:
    """Spearman correlation of cosine distance and angle over pairs of points.

    It measures the global structure of the map.

    It takes all N (N - 1) / 2 pairs, or `pairs` of them drawn with replacement where there are
    more; in a sample the standard error is about 1 / sqrt(pairs). Points with zero embedding are
    left out. It is nan where fewer than 3 points are left or either distance is constant. Cost
    O(pairs dim).

    Raises:
        ValueError: shapes differ, values are not finite, directions are not unit, or `pairs` is
            below 1.
    """
    if pairs < 1:
        raise ValueError(f"`pairs` must be at least 1; got {pairs}.")
    unit, kept, centred = unit_embeddings(embeddings, direction)
    on_map = unit_directions(direction)[kept]
    n = kept.size
    if n < 3:
        return math.nan
    if n * (n - 1) // 2 <= pairs:
        one, other = np.triu_indices(n, 1)
    else:
        rng = np.random.default_rng(seed)
        one = rng.integers(0, n, pairs)
        other = rng.integers(0, n - 1, pairs)
        other += other >= one
    distance = np.empty(one.size)
    for start in range(0, one.size, 8192):
        block = slice(start, start + 8192)
        ends = unit[one[block]], unit[other[block]]
        if centred:
            distance[block] = np.square(ends[0] - ends[1]).sum(axis=1)
        else:
            distance[block] = -np.einsum("pd,pd->p", *ends)
    chord = np.linalg.norm(on_map[one] - on_map[other], axis=1)
    return rank_correlation(distance, chord)
