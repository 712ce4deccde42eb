"""`Cascade`: what a query is like, looked for on a map from wide cells down to narrow ones.

A query is compared with all nodes of a coarse level of a pyramid, by the cosine to their mean
embedding. The best of them are kept, their children are compared, and so on; on the last level the
points of the best nodes are returned. *Work* is what that costs: nodes compared and points
returned, as a share of the points of the map. The points themselves are not compared.

Widths, how many nodes are kept on each level, follow from a wanted work. The nodes of each level
and the points get an equal share of it, those below the first choice about half of that: what did
best of a few proportions on the queries of `benchmarks/retrieval.py`. A wanted recall is
turned into a work by `RecallCurve.measure` (`sphere_ebm.retrieval.recall`), which counts on points
of the map that are taken out of it.

A node of the last level lists its own points, and after them those that visit it, see
`sphere_ebm.retrieval.visitors`. A point that several nodes list comes back once.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Float64, Int, Int64
from numpy.typing import ArrayLike

from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.maps.checks import checked_queries
from sphere_ebm.maps.placement import Placement
from sphere_ebm.retrieval.cones import Cones
from sphere_ebm.retrieval.levels import PyramidLevel
from sphere_ebm.retrieval.pyramid import MapPyramid

BATCHES = (1, 8, 64)
"""Queries that run together: the least of these that holds all of them, or the last."""
NEIGHBOURS_FOUND = 10
"""Recall is that of so many nearest points by cosine."""
# numbers of gathered means that one step of a batch may hold: 64 MiB
_MOST_NUMBERS = 2**24
# the first level is the finest that has at most this part of the work's nodes
_FIRST_PART = 1 / 6
# relative shares of the work that is left: of the children of the first choice, of each later one,
# and of the points returned
_FIRST_SHARE = 0.55
_POINTS_SHARE = 1.0
_CHILDREN = 4


class Plan(NamedTuple):
    """What a cascade does for a wanted work.

    Attributes:
        first: place in `pyramid.levels` of the level whose nodes are all compared.
        widths: nodes whose children are compared, on that level and those below it.
        returned: points that come back, n.
    """

    first: int
    widths: tuple[int, ...]
    returned: int


@final
@dataclass(frozen=True, eq=False)
class Reached:
    """Where the cascade led Q queries.

    Attributes:
        points: (Q, n) those of the best nodes first; within a node by their key. -1 where the
            nodes that were compared hold fewer.
        nodes: (Q, m) rows of the last level, best first; -1 where there are fewer.
        score: (Q, m) their cosines to the query; -inf where there is none.
        work: (Q,) nodes compared and points returned over N.
    """

    points: Int64[np.ndarray, "queries returned"]
    nodes: Int64[np.ndarray, "queries nodes"]
    score: Float32[np.ndarray, "queries nodes"]
    work: Float64[np.ndarray, " queries"]


class _Table(NamedTuple):
    """A level on the device: unit means, and where the children of each node begin and end."""

    mean: Float[Array, "nodes width"]
    below: Int[Array, " ends"]


class Lists(NamedTuple):
    """The points that the nodes of the last level list, their own first.

    Attributes:
        first: (C + 1,) node c lists `points[first[c]:first[c + 1]]`.
        points: (L,) each of the N points at least once; N of them where nobody visits.
    """

    first: Int64[np.ndarray, " ends"]
    points: Int64[np.ndarray, " listed"]


class Own(NamedTuple):
    """What queries that are points of the map must not know of themselves, for each level.

    Attributes:
        node: (Q,) the node that holds the query.
        score: (Q,) its cosine to the mean of the node's other points; -inf where there is none.
    """

    node: Int[np.ndarray, " queries"]
    score: Float32[np.ndarray, " queries"]


@final
@dataclass(frozen=True, eq=False)
class Cascade:
    """A pyramid, ready to be asked. Made by `Cascade.build`; asked by `find`.

    It holds no embedding of a point, only means of nodes.
    """

    pyramid: MapPyramid
    tables: tuple[_Table, ...]
    lists: Lists

    @classmethod
    def build(cls, source: MapPyramid | Placement) -> "Cascade":
        """From a pyramid of either axis, or a placement with its embeddings. O(nodes D)."""
        pyramid = source if isinstance(source, MapPyramid) else MapPyramid.build(source)
        return cls(pyramid, tuple(_table(level) for level in pyramid.levels), _listed(pyramid))

    def plan(self, work: float) -> Plan:
        """The levels and widths for a share of the points to spend.

        Raises ValueError for a work that is not in (0, 1], or less than one node and one point.
        """
        if not 0 < work <= 1:
            raise ValueError(
                f"`work` must lie in (0, 1]; got {work}. It is a share of the points, .05 is usual."
            )
        budget = work * len(self.pyramid)
        sizes = [len(level) for level in self.pyramid.levels]
        last = len(sizes) - 1
        first = max((i for i in range(last) if sizes[i] <= _FIRST_PART * budget), default=0)
        if budget < sizes[first] + 1:
            raise ValueError(
                f"`work` must pay for at least {sizes[first] + 1} nodes and points of"
                f" {len(self.pyramid)}; got {work}. Raise it, or compare with all points."
            )
        left = budget - sizes[first]
        shares = [1.0] * (last - first)
        shares[:1] = [_FIRST_SHARE] * len(shares[:1])
        # longer lists return points for less work of comparing
        points_share = _POINTS_SHARE * len(self.lists.points) / len(self.pyramid)
        unit = left / (sum(shares) + points_share)
        widths = []
        for share, size, below in zip(shares, sizes[first:], sizes[first + 1 :], strict=False):
            # nodes that are kept hold more children than the mean node has; all have at most four
            branching = min(_CHILDREN, 1.1 * below / size)
            widths.append(min(size, max(1, round(share * unit / branching))))
        return Plan(first, tuple(widths), max(1, round(points_share * unit)))

    def find(self, queries: ArrayLike, *, work: float = 0.05) -> Reached:
        """What lies in the best nodes for `queries` (Q, D), by spending about `work` on each.

        Queries run 64, 8 or 1 at a time through a program that is compiled once for each of these
        and each plan. A step holds at most 64 MiB of means, unless one query alone needs more.

        Raises:
            ValueError: queries of another width than the map's embeddings, not finite, or zero; a
                bad `work`.
        """
        unit = checked_queries(queries, self.pyramid.width)
        plan = self.plan(work)
        parts = [self.returned(plan, *found) for found in self.walk(plan, unit)]
        if not parts:
            empty = np.zeros((0, plan.returned), np.int64)
            return Reached(empty, empty, np.zeros(empty.shape, np.float32), np.zeros(0))
        return Reached(
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.nodes for part in parts]),
            np.concatenate([part.score for part in parts]),
            np.concatenate([part.work for part in parts]),
        )

    def walk(
        self,
        plan: Plan,
        unit: Float32[np.ndarray, "queries width"],
        own: Sequence[Own] | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """What `_narrowed` says of unit queries, batch by batch.

        With `own`, one for each level, the queries are points of the map, which is walked as if
        it did not hold them.
        """
        tables = self.tables[plan.first :]
        apart = None if own is None else own[plan.first :]
        widest = _CHILDREN * max(plan.widths, default=1) * max(self.pyramid.width, 1)
        # one program for a single query, one for a few and one for many
        size = next(size for size in BATCHES if size >= min(len(unit), BATCHES[-1]))
        rows = max(1, min(size, _MOST_NUMBERS // widest))
        for start in range(0, len(unit), rows):
            # the last batch is filled up, so that one program serves all
            taken = np.minimum(np.arange(start, start + rows), len(unit) - 1)
            part = jax.tree.map(lambda array, taken=taken: jnp.asarray(array[taken]), apart)
            found = _narrowed(tables, plan.widths, jnp.asarray(unit[taken]), part)
            kept = min(rows, len(unit) - start)
            yield tuple(one[:kept] for one in jax.device_get(found))

    def cones(self, queries: ArrayLike, *, probes: int = 8, work: float = 0.05) -> Cones:
        """Through which cones to look for `queries`: (Q, probes), the best nodes of the last level.

        An axis is the mean direction of a node's points, the aperture twice their spread and at
        least the width of an equal share of the sphere; all radii. Fewer nodes repeat the best.
        Raises as `find`.
        """
        if probes < 1:
            raise ValueError(f"`probes` must be at least 1; got {probes}. Eight is usual.")
        nodes = self.find(queries, work=work).nodes[:, :probes]
        nodes = np.where(nodes < 0, nodes[:, :1], nodes)
        short = probes - nodes.shape[1]
        nodes = np.concatenate([nodes, np.repeat(nodes[:, :1], max(short, 0), axis=1)], axis=1)
        return self.cones_at(nodes)

    def cones_at(self, nodes: Int[np.ndarray, "*b"]) -> Cones:
        """The cones around nodes of the last level, as `cones` makes them: (*b)."""
        level = self.pyramid.levels[-1]
        centre = level.centre
        # a node whose directions cancel has no axis; such a one is the whole sphere
        lost = ~np.any(centre, axis=1)
        centre[lost] = [0, 0, 1]
        least = 2 / math.sqrt(max(len(level), 1))
        aperture = np.where(lost, math.pi, np.clip(2 * level.spread, least, math.pi))
        return Cones.build(centre[nodes], aperture[nodes])

    def returned(
        self,
        plan: Plan,
        nodes: Int[np.ndarray, "queries nodes"],
        score: Float32[np.ndarray, "queries nodes"],
        compared: Int[np.ndarray, " queries"],
    ) -> Reached:
        """The points that the best nodes list, as many as the plan returns, each once."""
        own = np.where(score > -np.inf, self.pyramid.levels[-1].count[nodes], 0)
        # points of their own are enough, whoever visits
        needed = (np.cumsum(own, axis=1) - own < plan.returned) & (own > 0)
        number = np.where(needed, np.diff(self.lists.first)[nodes], 0).ravel()
        # slices of the list, one after another: each begins where its node's does
        offset = self.lists.first[nodes].ravel() - (np.cumsum(number) - number)
        point = self.lists.points[np.repeat(offset, number) + np.arange(number.sum())]
        row = np.repeat(np.arange(own.size) // own.shape[1], number)
        if len(self.lists.points) > len(self.pyramid):
            kept = np.sort(np.unique(row * len(self.pyramid) + point, return_index=True)[1])
            row = row[kept]
            point = point[kept]
        place = np.arange(len(row)) - np.searchsorted(row, row)
        within = place < plan.returned
        points = np.full((len(nodes), plan.returned), -1, np.int64)
        points[row[within], place[within]] = point[within]
        known = np.where(own > 0, nodes, -1).astype(np.int64)
        total = np.count_nonzero(points >= 0, axis=1)
        return Reached(points, known, score, (compared + total) / len(self.pyramid))


def _listed(pyramid: MapPyramid) -> Lists:
    """What the nodes of the last level list."""
    level = pyramid.levels[-1]
    if pyramid.visitors is None:
        return Lists(level.first, pyramid.order)
    host = np.searchsorted(level.key, pyramid.visitors.key)
    owner = np.concatenate([np.repeat(np.arange(len(level)), level.count), host])
    order = np.argsort(owner, kind="stable")
    first = np.searchsorted(owner[order], np.arange(len(level) + 1))
    points = np.concatenate([pyramid.order, pyramid.visitors.point])
    return Lists(first.astype(np.int64), points[order])


def _table(level: PyramidLevel) -> _Table:
    mean = unit_rows(level.embedding.astype(np.float64)).astype(np.float32)
    return _Table(jnp.asarray(mean), jnp.asarray(level.below, jnp.int32))


@eqx.filter_jit
def _narrowed(
    tables: tuple[_Table, ...],
    widths: tuple[int, ...],
    queries: Float[Array, "batch width"],
    own: Sequence[Own] | None,
) -> tuple[Int[Array, "batch nodes"], Float[Array, "batch nodes"], Int[Array, " batch"]]:
    """Nodes of the last level, best first, their cosines, and how many nodes were compared.

    Cosines of -inf stand for children that are not there.
    """
    cosine = queries @ tables[0].mean.T
    nodes = jnp.broadcast_to(jnp.arange(cosine.shape[1], dtype=jnp.int32), cosine.shape)
    score = _apart(cosine, nodes, own, 0)
    compared = jnp.full(len(queries), score.shape[1], jnp.int32)
    for depth, width in enumerate(widths):
        best, place = jax.lax.top_k(score, min(width, score.shape[1]))
        parents = jnp.take_along_axis(nodes, place, axis=1)
        nodes, there = _children(tables[depth], parents, best > -jnp.inf)
        cosine = jnp.einsum("bnd,bd->bn", tables[depth + 1].mean[nodes], queries)
        score = jnp.where(there, _apart(cosine, nodes, own, depth + 1), -jnp.inf)
        compared = compared + jnp.sum(there, axis=1, dtype=jnp.int32)
    best, place = jax.lax.top_k(score, score.shape[1])
    return jnp.take_along_axis(nodes, place, axis=1), best, compared


def _apart(
    cosine: Float[Array, "batch nodes"],
    nodes: Int[Array, "batch nodes"],
    own: Sequence[Own] | None,
    depth: int,
) -> Float[Array, "batch nodes"]:
    """Cosines to nodes as if they did not hold the query."""
    if own is None:
        return cosine
    return jnp.where(nodes == own[depth].node[:, None], own[depth].score[:, None], cosine)


def _children(
    table: _Table, parents: Int[Array, "batch kept"], real: Bool[Array, "batch kept"]
) -> tuple[Int[Array, "batch candidates"], Bool[Array, "batch candidates"]]:
    """Four places for the children of each node, and which of them are filled."""
    begin = table.below[parents]
    place = begin[..., None] + jnp.arange(_CHILDREN, dtype=jnp.int32)[None, None]
    there = (place < table.below[parents + 1][..., None]) & real[..., None]
    last = table.below[-1] - 1
    flat = (len(parents), -1)
    return jnp.minimum(place, last).reshape(flat), there.reshape(flat)
