"""Searches among distinct directions for `neighbours`.

Exact blocks on JAX, or inverted lists of faiss, re-ranked.
"""

import abc
import functools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int32, Int64, UInt8
from typing_extensions import override

from sphere_ebm.errors import MissingPackageError, require
from sphere_ebm.files.machine import at_a_time
from sphere_ebm.files.mapped import portable, unmapped
from sphere_ebm.graph.centres import list_centres, rounded, sample_of
from sphere_ebm.graph.directions import Hits
from sphere_ebm.graph.held import STEP, Held, lengthened
from sphere_ebm.graph.ties import Ties

SearchProgress = Callable[[int, int], None]
"""Called as `progress(done, total)` while a search runs; `done` grows from call to call and ends at
`total`.
"""

MIN_LISTED = 1024
"""Fewer directions than this are searched exactly, whatever was asked: lists would save nothing."""

# queries in a block of the exact search, and the most that its cosines may take
_BLOCK_ROWS = 256
_BLOCK_BYTES = 128 * 2**20
# directions that faiss is given at once, and queries that a thread asks it
_CHUNK = 16_384
_ASKED = 4_096
# queries whose candidates are brought to float32 together
_LENGTHENED = 4
# points up to which there are as many lists as the square root of their number
_ROOT_ONLY = 1_000_000
# lists that a query scans, points in them for each neighbour at least, candidates for each that are
# ranked by their cosines
_PROBES = 48
_SPARE = 4
_CANDIDATES = 6.0
# components that share a 4-bit code, and points that the codes are fitted to
_CODE_WIDTH = 4
_CODE_SAMPLE = 8192


class Asked(NamedTuple):
    """Queries: unit vectors, and the row that each is itself, which is left out; -1: none."""

    unit: Float32[np.ndarray, "queries width"]
    own: Int32[np.ndarray, " queries"]


class AbstractSearch(abc.ABC):
    """The nearest among the directions `unit`, `rows` queries at a time.

    It may be sent to another process, which maps directions that are mapped from a file again.
    """

    unit: Held
    rows: int

    @abc.abstractmethod
    def __reduce__(self) -> tuple[Any, ...]: ...

    @abc.abstractmethod
    def answered(self, asked: Asked, k: int) -> Hits:
        """The k nearest of at most `rows` queries."""

    def nearest(
        self,
        queries: Held,
        own: Int32[np.ndarray, " queries"],
        k: int,
        progress: SearchProgress | None = None,
    ) -> Hits:
        """The k nearest of each query, without its `own` row (-1: nobody is left out).

        k is at most the number of points that are not left out.
        """
        index = np.empty((len(queries), k), np.int32)
        similarity = np.empty((len(queries), k), np.float32)

        def hits(start: int) -> Hits:
            rows = slice(start, start + self.rows)
            return self.answered(Asked(lengthened(queries[rows]), own[rows]), k)

        starts = range(0, len(queries), self.rows)
        for start, found in zip(starts, self._in_order(hits, starts), strict=True):
            rows = slice(start, start + self.rows)
            index[rows], similarity[rows] = found
            if progress is not None:
                progress(min(start + self.rows, len(queries)), len(queries))
        return index, similarity

    def _in_order(self, hits: Callable[[int], Hits], starts: Sequence[int]) -> Iterator[Hits]:
        """What `hits` finds for the queries from each start on, one after the other."""
        return map(hits, starts)


@final
class ExactSearch(AbstractSearch):
    """All cosines, in blocks of one shape, so that one compilation serves all.

    A query is answered alike in every batch: it is padded to the shape of a block, whose rows do
    not meet. `seed` and the vectors decide between equal cosines. `centred`: the rows are
    directions from which the common one was taken away, see `geometry.concentration`.

    Memory: a copy of the directions.
    """

    def __init__(
        self, unit: Float32[np.ndarray, "points width"], seed: int = 0, *, centred: bool = False
    ) -> None:
        self.unit = unit
        self._seed = seed
        self._ties = Ties(unit, seed)
        self._centred = centred
        self._points = jnp.asarray(np.pad(unit, ((0, -len(unit) % _BLOCK_ROWS), (0, 0))))
        # as many rows as keep a block of cosines small, and always the same number of them
        columns = self._points.shape[0]
        self.rows = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // (4 * columns)))
        # of a centred point, what makes its product with another one fall with their distance
        half = _half_squares(unit) if centred else np.zeros(len(unit), np.float32)
        self._half = jnp.asarray(np.pad(half, (0, -len(unit) % _BLOCK_ROWS)))

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return _exact_again, (portable(self.unit), self._seed, self._centred)

    @override
    def answered(self, asked: Asked, k: int) -> Hits:
        count = len(asked.unit)
        spare = self.rows - count
        block = (
            self._points,
            self._half,
            jnp.asarray(np.pad(asked.unit, ((0, spare), (0, 0)))),
            jnp.asarray(np.pad(asked.own, (0, spare))),
            len(self.unit),
        )
        # one more than is asked for tells whether there is a tie at the last place
        more = min(k + 1, self._points.shape[0])
        largest, nearest = (np.asarray(part)[:count] for part in _block_nearest(*block, more))
        index = nearest[:, :k].copy()
        score = largest[:, :k]
        tied = np.flatnonzero((largest[:, -1] == score[:, -1]) & np.isfinite(largest[:, -1]))
        if more > k and tied.size:
            every = np.asarray(_block_scores(*block))[tied, : len(self.unit)]
            index[tied] = self._ties.last_places(index[tied], score[tied], every, asked.unit[tied])
        index = self._ties.ordered(index, score, asked.unit)
        if not self._centred:
            return index, score
        half = _half_squares(asked.unit)[:, None]
        cosine = np.where(np.isfinite(score), 1 - (half.astype(np.float64) - score), -np.inf)
        return index, cosine.astype(np.float32)


def _half_squares(rows: Float32[np.ndarray, "rows width"]) -> Float32[np.ndarray, " rows"]:
    return (np.einsum("ij,ij->i", rows, rows, dtype=np.float64) / 2).astype(np.float32)


@functools.partial(jax.jit, static_argnames="k")
def _block_nearest(
    points: Float[Array, "columns width"],
    half: Float[Array, " columns"],
    queries: Float[Array, "rows width"],
    own: Int[Array, " rows"],
    n_points: int | Int[Array, ""],
    k: int,
) -> tuple[Float[Array, "rows k"], Int[Array, "rows k"]]:
    """The k largest scores of each query among the first `n_points` points.

    A query's own row is left out by index.
    """
    largest, index = jax.lax.top_k(_block_scores(points, half, queries, own, n_points), k)
    return largest, index


@jax.jit
def _block_scores(
    points: Float[Array, "columns width"],
    half: Float[Array, " columns"],
    queries: Float[Array, "rows width"],
    own: Int[Array, " rows"],
    n_points: int | Int[Array, ""],
) -> Float[Array, "rows columns"]:
    """Cosines less `half` of the point, which is 0 unless points are centred."""
    cosine = jnp.matmul(queries, points.T, precision=jax.lax.Precision.HIGHEST)
    column = jnp.arange(points.shape[0], dtype=jnp.int32)
    allowed: Bool[Array, "rows columns"] = (column[None, :] < n_points) & (
        column[None, :] != own[:, None]
    )
    return jnp.where(allowed, cosine - half[None, :], -jnp.inf)


@final
class ListedSearch(AbstractSearch):
    """Inverted lists with 4-bit product codes, re-ranked.

    Sources: Jégou, Douze & Schmid 2011; for the fast scan André et al. 2017. There are sqrt(N)
    lists about the centres of a spherical k-means, beyond a million points more, so that scanning
    them takes no longer than to find which to scan; a query scans the codes of its 48 nearest
    lists, and the best of them are ranked by their cosines in float32: 6 k up to 50 000 points and
    more above, by the cube root of N, since codes tell points that lie closer together less well
    apart. `seed` and the vectors decide between equal cosines.

    faiss sees directions times 4000, rounded. Sums of their products are integers below 2^24, exact
    in float32 in any order, so that which lists a direction belongs to does not depend on batches,
    threads or the machine; codes, scans and re-ranking treat every row by itself. Hence a query is
    answered alike, bit for bit, in every batch. One whose lists hold fewer than k points is
    searched exactly.

    Memory on top of the directions: a byte for 8 components, 8 bytes a point.
    """

    def __init__(
        self,
        faiss: Any,
        unit: Held,
        seed: int,
        progress: SearchProgress | None,
        trained: UInt8[np.ndarray, " bytes"] | None = None,
    ) -> None:
        """Train and fill the lists, or take over what `trained` was for the same directions."""
        self.unit = unit
        self._seed = seed
        self._ties = Ties(unit, seed)
        self.rows = _ASKED
        self._faiss = faiss
        self._exact: ExactSearch | None = None
        self._making_exact = threading.Lock()
        if trained is not None:
            self._index = faiss.deserialize_index(np.ascontiguousarray(trained))
            self._quantizer = self._index.quantizer
            return
        self._train(progress)

    @property
    def trained(self) -> UInt8[np.ndarray, " bytes"]:
        """Lists and codes, as faiss writes them: an eighth of a byte a component."""
        found: UInt8[np.ndarray, " bytes"] = self._faiss.serialize_index(self._index)
        return found

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return _listed_again, (portable(self.unit), self._seed, self.trained)

    def _train(self, progress: SearchProgress | None) -> None:
        faiss = self._faiss
        unit = self.unit
        seed = self._seed
        n = len(unit)
        width = unit.shape[1] + -unit.shape[1] % _CODE_WIDTH
        rng = np.random.default_rng(seed)
        lists = int(math.isqrt(n) * max(1.0, n / _ROOT_ONLY) ** 0.25)
        centres = rounded(list_centres(faiss, unit, lists, rng), width)
        self._quantizer = faiss.IndexFlatIP(width)
        self._quantizer.add(centres)
        self._index = faiss.IndexIVFPQFastScan(
            self._quantizer, width, lists, width // _CODE_WIDTH, 4, faiss.METRIC_INNER_PRODUCT
        )
        self._index.by_residual = False
        self._index.pq.cp.seed = int(rng.integers(2**31))
        threads = faiss.omp_get_max_threads()
        try:
            faiss.omp_set_num_threads(1)
            self._index.train(rounded(lengthened(unit[sample_of(n, _CODE_SAMPLE, rng)]), width))
        finally:
            faiss.omp_set_num_threads(threads)
        for start in range(0, n, _CHUNK):
            self._index.add(rounded(lengthened(unit[start : start + _CHUNK]), width))
            if progress is not None:
                progress(min(start + _CHUNK, n), n)

    @override
    def answered(self, asked: Asked, k: int) -> Hits:
        index, similarity = self._listed(asked, k)
        missed = np.flatnonzero(np.isneginf(similarity[:, -1]))
        if missed.size:
            with self._making_exact:
                self._exact = self._exact or ExactSearch(lengthened(self.unit), self._seed)
            index[missed], similarity[missed] = self._exact.nearest(
                asked.unit[missed], asked.own[missed], k
            )
        return index, similarity

    @override
    def _in_order(self, hits: Callable[[int], Hits], starts: Sequence[int]) -> Iterator[Hits]:
        """Threads of our own, not faiss's: also what follows its scan then takes all processors."""
        if len(starts) < 2:
            yield from map(hits, starts)
            return
        one = self._faiss.omp_set_num_threads  # of the thread that calls it
        with ThreadPoolExecutor(at_a_time(), initializer=one, initargs=(1,)) as threads:
            yield from threads.map(hits, starts)

    def _listed(self, asked: Asked, k: int) -> Hits:
        # Where lists are short more of them are scanned, so that they hold enough candidates; k + 1
        # are wanted, since a query may meet itself.
        n = len(self.unit)
        lists = self._index.nlist
        self._index.nprobe = min(lists, max(_PROBES, math.ceil(_SPARE * (k + 1) * lists / n)))
        candidates = math.ceil(_CANDIDATES * max(1.0, (n / 50_000) ** (1 / 3)) * (k + 1))
        _, near = self._index.search(rounded(asked.unit, self._index.d), min(n, candidates))
        # in rising order, so that what follows does not depend on the order of candidates
        near = np.sort(near, axis=1)
        cosine = self._cosines(np.ascontiguousarray(asked.unit), near)
        cosine[(near < 0) | (near == asked.own[:, None])] = -np.inf
        best = np.argsort(-cosine, axis=1, kind="stable")
        # all candidates, not only k: a tie at the last place is one of its neighbours in the order
        index = np.take_along_axis(near, best, axis=1).astype(np.int32)
        cosine = np.take_along_axis(cosine, best, axis=1)
        return self._ties.ordered(index, cosine, asked.unit)[:, :k], cosine[:, :k]

    def _cosines(
        self,
        queries: Float32[np.ndarray, "queries width"],
        near: Int64[np.ndarray, "queries candidates"],
    ) -> Float32[np.ndarray, "queries candidates"]:
        """Of queries and their candidates, each product by itself; of -1 anything."""
        cosine = np.empty(near.shape, np.float32)
        if self.unit.dtype == np.float32:
            self._products(cosine, queries, self.unit, near)
            return cosine
        # The candidates of a few queries at a time are brought to float32, so that they stay in
        # the processor's cache; what one step is worth is multiplied in at the end, exactly.
        count = near.shape[1]
        short = np.empty((_LENGTHENED * count, queries.shape[1]), np.int16)
        few = np.empty(short.shape, np.float32)
        own = np.arange(len(few)).reshape(_LENGTHENED, count)
        for start in range(0, len(queries), _LENGTHENED):
            rows = slice(start, start + _LENGTHENED)
            asking = len(queries[rows])
            np.take(self.unit, near[rows].ravel(), axis=0, out=short[: asking * count], mode="clip")
            few[...] = short
            self._products(cosine[rows], queries[rows], few, own[:asking])
        cosine *= STEP
        return cosine

    def _products(
        self,
        found: Float32[np.ndarray, "queries candidates"],
        queries: Float32[np.ndarray, "queries width"],
        points: Float32[np.ndarray, "points width"],
        near: Int64[np.ndarray, "queries candidates"],
    ) -> None:
        pointer = self._faiss.swig_ptr
        self._faiss.fvec_inner_products_by_idx(
            pointer(found),
            pointer(queries),
            pointer(points),
            pointer(near),
            queries.shape[1],
            *near.shape,
        )


def _exact_again(unit: Any, seed: int, centred: bool) -> ExactSearch:
    return ExactSearch(unmapped(unit), seed, centred=centred)


def _listed_again(unit: Any, seed: int, trained: UInt8[np.ndarray, " bytes"]) -> ListedSearch:
    faiss = require("faiss", "ann", "approximate neighbour search")
    return ListedSearch(faiss, unmapped(unit), seed, None, trained)


def index_library(search: str, n_points: int, limit: int) -> tuple[Any, str | None]:
    """Faiss where the search is to be approximate, else None, and the note for the user."""
    if search == "exact" or (search == "auto" and n_points <= limit):
        return None, None
    try:
        return require("faiss", "ann", "approximate neighbour search"), None
    except MissingPackageError as missing:
        if search == "approximate":
            raise
        return (
            None,
            (
                f"faiss could not be imported: the neighbours of {n_points} points were searched"
                f" exactly, in O(N²). For a faster approximate search: {missing.cure}."
            ),
        )
