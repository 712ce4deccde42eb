"""The lateral graph.

Symmetric k-nearest-neighbour edges with affinity weights and a bounded degree.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sphere_ebm.errors import require
from sphere_ebm.graph.degree_bound import DegreeBound, Edges
from sphere_ebm.graph.index import nearest_neighbours
from sphere_ebm.graph.neighbours import Neighbours
from sphere_ebm.graph.search import SearchProgress

_PRECISION_RANGE = (1e-3, 1e5)
"""Limits of 1 / (2 sigma²): squared chords are at most 4, and float32 cosines give them to about
2e-7.
"""

_CHUNK = 4096


@final
@dataclass(frozen=True, eq=False)
class NeighbourGraph:
    """An undirected weighted graph, each edge once.

    `senders < receivers`, sorted by (sender, receiver). The sum of `weights` is the number of
    points that have edges, so that each of them is held as strongly whether or not there are points
    without. Raises `ValueError` otherwise.
    """

    n_points: int
    senders: Int32[np.ndarray, " edges"]
    receivers: Int32[np.ndarray, " edges"]
    weights: Float32[np.ndarray, " edges"]

    def __post_init__(self) -> None:
        # one number for each edge, which rises strictly where edges are sorted without repetition
        key = self.senders.astype(np.int64) * self.n_points + self.receivers
        inside = (
            (self.senders >= 0) & (self.senders < self.receivers) & (self.receivers < self.n_points)
        )
        if not inside.all() or (np.diff(key) <= 0).any():
            raise ValueError(
                f"edges must satisfy 0 <= sender < receiver < n_points={self.n_points}, sorted and"
                " without repetition. Build the graph with `build_graph`, `graph_from_neighbours`"
                " or `add_edges`."
            )
        total = float(self.weights.sum(dtype=np.float64))
        held = int(np.count_nonzero(self.degree))
        if self.weights.size and not (self.weights.min() >= 0 and abs(total - held) <= 1e-3 * held):
            raise ValueError(
                f"`weights` must be non-negative with the sum {held}, the number of points with"
                f" edges; got the sum {total}."
            )

    @property
    def degree(self) -> Int[np.ndarray, " points"]:
        """Number of edges at each point."""
        ends = np.concatenate([self.senders, self.receivers])
        return np.bincount(ends, minlength=self.n_points)

    @property
    def max_degree(self) -> int:
        """The largest degree; 0 without edges."""
        return int(self.degree.max(initial=0))

    @property
    def n_components(self) -> int:
        """Number of connected components; a point without edges is one of its own."""
        shape = (self.n_points, self.n_points)
        edges = coo_array(
            (np.ones(len(self.senders), np.int8), (self.senders, self.receivers)), shape=shape
        )
        return (
            int(connected_components(edges, directed=False, return_labels=False))
            if self.n_points
            else 0
        )

    def padded(
        self,
    ) -> tuple[
        Int32[np.ndarray, "points slots"],
        Float32[np.ndarray, "points slots"],
        Bool[np.ndarray, "points slots"],
    ]:
        """`(tails, weights, active)`.

        Other ends of each point's edges in rising order, `max_degree` slots per point.

        Every edge is listed under both of its ends. Empty slots hold the point itself, weight 0 and
        `active` False.
        """
        # Every edge seen from both its ends, sorted by the point it is seen from and then by its
        # other end. A point's slots are numbered from 0: the place in this order less the number
        # of all edges seen from points before it.
        heads = np.concatenate([self.senders, self.receivers])
        others = np.concatenate([self.receivers, self.senders])
        order = np.lexsort((others, heads))
        heads = heads[order]
        degree = self.degree
        slot = np.arange(len(heads)) - np.repeat(np.cumsum(degree) - degree, degree)
        shape = (self.n_points, self.max_degree)
        tails = np.repeat(
            np.arange(self.n_points, dtype=np.int32)[:, None], self.max_degree, axis=1
        )
        weights = np.zeros(shape, np.float32)
        active = np.zeros(shape, bool)
        tails[heads, slot] = others[order]
        weights[heads, slot] = np.tile(self.weights, 2)[order]
        active[heads, slot] = True
        return tails, weights, active


def build_graph(
    embeddings: ArrayLike,
    *,
    neighbours: int = 15,
    affinity: str = "uniform",
    perplexity: float = 10.0,
    max_degree: int = 32,
    search: str = "auto",
    seed: int = 0,
    progress: SearchProgress | None = None,
) -> NeighbourGraph:
    """The neighbour graph of `embeddings`: `nearest_neighbours`, then `graph_from_neighbours`.

    Raises `ValueError` for what either refuses, and for a perplexity above `neighbours` when it is
    used.
    """
    if neighbours < 1:
        raise ValueError(f"`neighbours` must satisfy 0 < neighbours; got {neighbours}.")
    if affinity == "perplexity" and perplexity > neighbours:
        raise ValueError(
            f"`perplexity` must satisfy perplexity <= neighbours={neighbours}; got {perplexity}. "
            "Lower it or raise `neighbours`."
        )
    _check(affinity, perplexity, max_degree)
    found = nearest_neighbours(embeddings, neighbours, search=search, seed=seed, progress=progress)
    return graph_from_neighbours(
        found, affinity=affinity, perplexity=perplexity, max_degree=max_degree, seed=seed
    )


def graph_from_neighbours(
    neighbours: Neighbours,
    *,
    affinity: str = "uniform",
    perplexity: float = 10.0,
    max_degree: int = 32,
    seed: int = 0,
) -> NeighbourGraph:
    """Symmetrises directed neighbours, weighs the edges and bounds the degree.

    With p_{j|i} the affinity of i for its neighbour j (summing to 1 over j), w_ij ∝ (p_{j|i} +
    p_{i|j}) / 2:
    - `"uniform"`: p_{j|i} = 1 / k_i, so an edge found from both ends weighs twice one found from a
      single end;
    - `"perplexity"`: p_{j|i} ∝ exp(-|x_i - x_j|² / (2 sigma_i²)) on unit vectors, sigma_i such that
      the entropy of p_{.|i} is log(perplexity) (van der Maaten & Hinton 2008), over the k_i
      neighbours only. A point with fewer neighbours than `perplexity`, or all of them equally far,
      weighs them equally; one with more exact duplicates than that weighs only the duplicates.

    An edge stays when it is among the `max_degree` strongest of both its ends (by weight, then
    cosine, then a draw of `seed`). A point that loses all its edges by this takes one
    back: its strongest whose other end has room, else one whose other end can give up an edge that
    leaves nobody isolated, else along the shortest chain of such exchanges. So every point with
    neighbours keeps one, and no degree exceeds `max_degree` unless the graph has no subgraph with
    both properties; then (as in a star, where all have the same one neighbour) the strongest edge
    of each point left over is kept above the bound.

    Weights are scaled after that to a sum of the number of points that have edges. Raises
    `ValueError` for an unknown `affinity`, perplexity < 1 or max_degree < 2.
    """
    _check(affinity, perplexity, max_degree)
    index = neighbours.index
    found = neighbours.index >= 0
    cosine = np.where(found, neighbours.similarity, -1)
    directed = affinities(index, neighbours.similarity, affinity=affinity, perplexity=perplexity)
    near = np.nonzero(found)[0]
    far = index[found].astype(np.int64)
    return _bounded_graph(
        len(index),
        _merged(len(index), near, far, directed[found] / 2, cosine[found]),
        max_degree,
        seed,
    )


def affinities(
    index: Int[np.ndarray, "points k"],
    similarity: Float[np.ndarray, "points k"],
    *,
    affinity: str = "uniform",
    perplexity: float = 10.0,
) -> Float[np.ndarray, "points k"]:
    """p_{j|i} of `graph_from_neighbours`: rows sum to 1, or to 0 where no `index` is >= 0."""
    directed = np.empty(index.shape, np.float64)
    for start in range(0, len(index), _CHUNK):
        rows = slice(start, start + _CHUNK)
        found = index[rows] >= 0
        squared = 2 * (1 - np.where(found, similarity[rows], -1).astype(np.float64))
        precision = (
            _precision(squared, found, perplexity)
            if affinity == "perplexity"
            else np.zeros(len(found))
        )
        directed[rows] = _conditional(squared, found, precision)
    return directed


def add_edges(
    graph: NeighbourGraph,
    src: Int[np.ndarray, " added"],
    dst: Int[np.ndarray, " added"],
    weight: Float[np.ndarray, " added"],
    *,
    max_degree: int = 32,
    seed: int = 0,
) -> NeighbourGraph:
    """The union of `graph` and more undirected edges.

    It is bounded and rescaled as in `graph_from_neighbours`.

    `weight` is in units of the graph's mean weight: 1 makes an edge as strong as the average one.
    An edge that is there already, or is given more than once or in both directions, gets the sum.
    Where the bound must choose between equal weights `seed` draws, since added edges have no
    cosine.

    Raises `ValueError` for an end outside 0 .. n_points - 1, an edge from a point to itself, or a
    weight that is not positive.
    """
    _check("uniform", 1.0, max_degree)
    n = graph.n_points
    unit = float(graph.weights.mean(dtype=np.float64)) if len(graph.weights) else 1.0
    wrong = (np.minimum(src, dst) < 0) | (np.maximum(src, dst) >= n) | (src == dst)
    if wrong.any():
        row = wrong.argmax()
        raise ValueError(
            f"added edges must join two different points of 0 .. {n - 1}; got ({src[row]},"
            f" {dst[row]}) in row {row}."
        )
    usable = np.isfinite(weight) & (weight > 0)
    if not usable.all():
        row = usable.argmin()
        raise ValueError(
            f"`weight` must be positive and finite; got {weight[row]} in row {row}. Leave such"
            " edges out."
        )
    near = np.concatenate([graph.senders, src]).astype(np.int64)
    far = np.concatenate([graph.receivers, dst]).astype(np.int64)
    weights = np.concatenate([graph.weights.astype(np.float64), unit * weight.astype(np.float64)])
    return _bounded_graph(n, _merged(n, near, far, weights, np.zeros(len(near))), max_degree, seed)


def _check(affinity: str, perplexity: float, max_degree: int) -> None:
    if affinity not in ("uniform", "perplexity"):
        raise ValueError(f"`affinity` must be 'uniform' or 'perplexity'; got {affinity!r}.")
    if not perplexity >= 1:
        raise ValueError(f"`perplexity` must satisfy 1 <= perplexity; got {perplexity}.")
    if max_degree < 2:
        raise ValueError(f"`max_degree` must satisfy 2 <= max_degree; got {max_degree}.")


def _conditional(
    squared: Float[np.ndarray, "points k"],
    found: Bool[np.ndarray, "points k"],
    precision: Float[np.ndarray, " points"],
) -> Float[np.ndarray, "points k"]:
    """p_{j|i} ∝ exp(-precision_i d²_ij) over the neighbours found; rows without any are 0."""
    # relative to the nearest, so that the largest term is 1 and no row underflows as a whole
    nearest = np.min(squared, axis=1, keepdims=True, where=found, initial=4.0)
    kernel = np.where(found, np.exp(-precision[:, None] * np.maximum(squared - nearest, 0)), 0)
    return kernel / np.maximum(kernel.sum(axis=1, keepdims=True), 1)


def _precision(
    squared: Float[np.ndarray, "points k"], found: Bool[np.ndarray, "points k"], perplexity: float
) -> Float[np.ndarray, " points"]:
    """1 / (2 sigma_i²) by bisection of its logarithm, in which the entropy falls.

    It is 0 where neighbours are too few.
    """
    low = np.full(len(squared), np.log(_PRECISION_RANGE[0]))
    high = np.full(len(squared), np.log(_PRECISION_RANGE[1]))
    for _ in range(36):  # the range of 18.4 is halved to 3e-10
        middle = (low + high) / 2
        p = _conditional(squared, found, np.exp(middle))
        entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=1)
        wide = entropy > np.log(perplexity)
        low = np.where(wide, middle, low)
        high = np.where(wide, high, middle)
    return np.where(found.sum(axis=1) <= perplexity, 0, np.exp((low + high) / 2))


def _merged(
    n_points: int,
    near: Int[np.ndarray, " listed"],
    far: Int[np.ndarray, " listed"],
    weight: Float[np.ndarray, " listed"],
    cosine: Float[np.ndarray, " listed"],
) -> Edges:
    """Undirected edges once, sorted.

    Weights add up, the larger cosine counts, weights that underflow are dropped.
    """
    # One number for each undirected edge, whichever end it was found from: equal numbers come
    # together when they are sorted, `first` is where each run of them begins, and `reduceat`
    # takes the sum and the maximum of the runs.
    listed = weight > np.finfo(np.float32).tiny
    key = (np.minimum(near, far) * n_points + np.maximum(near, far))[listed]
    if not key.size:
        return Edges(key, key, np.zeros(0), np.zeros(0))
    order = np.argsort(key)
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    # a sum of two is the same in either order; longer runs are added in the order of the input
    if np.diff(first, append=len(key)).max() > 2:
        order = np.argsort(key, kind="stable")
    senders, receivers = np.divmod(key[order[first]], n_points)
    return Edges(
        senders,
        receivers,
        np.add.reduceat(weight[listed][order], first),
        np.maximum.reduceat(cosine[listed][order], first),
    )


def _bounded_graph(n_points: int, edges: Edges, max_degree: int, seed: int) -> NeighbourGraph:
    """Keep the edges that the degree bound allows and scale their weights.

    Their sum becomes the number of points that have edges.
    """
    kept = DegreeBound(n_points, edges, max_degree, seed).kept
    weight = edges.weight[kept]
    ends = np.concatenate([edges.senders[kept], edges.receivers[kept]])
    held = np.count_nonzero(np.bincount(ends, minlength=n_points))
    weight = weight / (weight.sum() / held if kept.any() else 1)
    return NeighbourGraph(
        n_points,
        edges.senders[kept].astype(np.int32),
        edges.receivers[kept].astype(np.int32),
        weight.astype(np.float32),
    )


def proper_colouring(
    n_points: int, senders: Int[np.ndarray, " edges"], receivers: Int[np.ndarray, " edges"]
) -> Int32[np.ndarray, " points"]:
    """A colour for every point, from 0, such that no edge joins two points of one colour.

    NetworkX (extra `studies`) takes points of large degree first (Welsh & Powell 1967), so there
    are at most as many colours as the largest degree + 1. Cost: Python, linear in points and edges.
    """
    networkx = require("networkx", "studies", "colouring a graph")
    graph = networkx.empty_graph(n_points)
    graph.add_edges_from(zip(senders.tolist(), receivers.tolist(), strict=True))
    colours = networkx.greedy_color(graph, strategy="largest_first")
    return np.asarray([colours[i] for i in range(n_points)], np.int32)
