"""`Cascade`: what a query is like, looked for on a map from wide cells down to narrow ones.

A query is compared with all nodes of a coarse level of a pyramid, by the cosine to their mean
embedding. The best of them are kept, their children are compared, and so on; on the last level the
points of the best nodes are returned. *Work* is what that costs: nodes compared and points
returned, as a share of the points of the map. The points themselves are not compared.

Widths, how many nodes are kept on each level, follow from a wanted work. The nodes of each level
and the points get an equal share of it, those below the first choice about half of that: what did
best of a few proportions on the queries of `benchmarks/retrieval.py`. A wanted recall is
turned into a work by `RecallCurve.measure`, which counts on points of the map that are
taken out of it.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Float64, Int, Int64
from numpy.typing import ArrayLike

from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.exact import exact_neighbours
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


@final
@dataclass(frozen=True, eq=False)
class Cascade:
    """A pyramid, ready to be asked. Made by `Cascade.build`; asked by `find`.

    It holds no embedding of a point, only means of nodes.
    """

    pyramid: MapPyramid
    tables: tuple[_Table, ...]

    @classmethod
    def build(cls, source: MapPyramid | Placement) -> "Cascade":
        """From a pyramid of either axis, or a placement with its embeddings. O(nodes D)."""
        pyramid = source if isinstance(source, MapPyramid) else MapPyramid.build(source)
        return cls(pyramid, tuple(_table(level) for level in pyramid.levels))

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
        unit = left / (sum(shares) + _POINTS_SHARE)
        widths = []
        for share, size, below in zip(shares, sizes[first:], sizes[first + 1 :], strict=False):
            # nodes that are kept hold more children than the mean node has; all have at most four
            branching = min(_CHILDREN, 1.1 * below / size)
            widths.append(min(size, max(1, round(share * unit / branching))))
        return Plan(first, tuple(widths), max(1, round(_POINTS_SHARE * unit)))

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
        tables = self.tables[plan.first :]
        widest = _CHILDREN * max(plan.widths, default=1) * max(self.pyramid.width, 1)
        # one program for a single query, one for a few and one for many
        size = next(size for size in BATCHES if size >= min(len(unit), BATCHES[-1]))
        rows = max(1, min(size, _MOST_NUMBERS // widest))
        parts = []
        for start in range(0, len(unit), rows):
            # the last batch is filled up, so that one program serves all
            taken = np.minimum(np.arange(start, start + rows), len(unit) - 1)
            found = jax.device_get(_narrowed(tables, plan.widths, jnp.asarray(unit[taken])))
            kept = min(rows, len(unit) - start)
            parts.append(self._returned(plan, *(part[:kept] for part in found)))
        if not parts:
            empty = np.zeros((0, plan.returned), np.int64)
            return Reached(empty, empty, np.zeros(empty.shape, np.float32), np.zeros(0))
        return Reached(
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.nodes for part in parts]),
            np.concatenate([part.score for part in parts]),
            np.concatenate([part.work for part in parts]),
        )

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
        level = self.pyramid.levels[-1]
        centre = level.centre
        # a node whose directions cancel has no axis; such a one is the whole sphere
        lost = ~np.any(centre, axis=1)
        centre[lost] = [0, 0, 1]
        least = 2 / math.sqrt(max(len(level), 1))
        aperture = np.where(lost, math.pi, np.clip(2 * level.spread, least, math.pi))
        return Cones.build(centre[nodes], aperture[nodes])

    def _returned(
        self,
        plan: Plan,
        nodes: Int[np.ndarray, "queries nodes"],
        score: Float32[np.ndarray, "queries nodes"],
        compared: Int[np.ndarray, " queries"],
    ) -> Reached:
        """The points of the best nodes, as many as the plan returns."""
        level = self.pyramid.levels[-1]
        held = np.where(score > -np.inf, level.count[nodes], 0)
        behind = np.cumsum(held, axis=1) - held
        taken = np.clip(plan.returned - behind, 0, held)
        total = taken.sum(axis=1)
        # slices of `order`, one after another: each begins at its node's first point
        number = taken.ravel()
        offset = level.first[nodes].ravel() - (np.cumsum(number) - number)
        place = np.repeat(offset, number) + np.arange(number.sum())
        points = np.full((len(nodes), plan.returned), -1, np.int64)
        points[np.arange(plan.returned) < total[:, None]] = self.pyramid.order[place]
        known = np.where(held > 0, nodes, -1).astype(np.int64)
        return Reached(points, known, score, (compared + total) / len(self.pyramid))


@final
@dataclass(frozen=True, eq=False)
class RecallCurve:
    """How much of the 10 nearest points a work finds on one map.

    Attributes:
        work: (W,) mean work, rising.
        recall: (W,) mean recall over the trials, made not to fall.
        error: (W,) standard error of that mean over the trials.
        trials: how many points were taken out and asked for.
    """

    work: Float64[np.ndarray, " works"]
    recall: Float64[np.ndarray, " works"]
    error: Float64[np.ndarray, " works"]
    trials: int

    @classmethod
    def measure(
        cls,
        placement: Placement,
        works: ArrayLike = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.25),
        *,
        trials: int = 400,
        seed: int = 0,
    ) -> "RecallCurve":
        """Take `trials` points out of the map at random, and ask a cascade of the others for them.

        Their neighbours were placed with them, which a query that never was on the map has not:
        on wordnet-10k what such queries found was within .006 of what the curve said.
        O(trials N D).

        Raises:
            ValueError: no embeddings, a map of fewer than 64 points whose embeddings are not zero,
                or a bad work.
        """
        if placement.embeddings is None:
            raise ValueError(
                "`placement` must hold its embeddings; got one without. Add them with"
                " `placement.with_embeddings(embeddings)`."
            )
        unit = unit_rows(placement.embeddings.astype(np.float64)).astype(np.float32)
        pointing = np.flatnonzero(np.any(unit, axis=1))
        if len(pointing) < 64:
            raise ValueError(
                "`placement` must hold at least 64 points with embeddings that are not zero; got"
                f" {len(pointing)}. Compare queries with all of them instead."
            )
        rng = np.random.default_rng(seed)
        out = np.sort(rng.choice(pointing, min(trials, len(pointing) // 4), replace=False))
        kept = np.delete(np.arange(len(unit)), out)
        truth = exact_neighbours(unit[kept], unit[out], NEIGHBOURS_FOUND)
        cascade = Cascade.build(
            MapPyramid.of_points(placement.direction[kept], placement.radius[kept], unit[kept])
        )
        rows = []
        for work in np.sort(np.asarray(works, np.float64)):
            reached = cascade.find(unit[out], work=float(work))
            found = found_share(truth, reached.points)
            rows.append((reached.work.mean(), found.mean(), found.std() / math.sqrt(len(out))))
        work, recall, error = (np.array(column) for column in zip(*rows, strict=True))
        return cls(work, np.maximum.accumulate(recall), error, len(out))

    def work_for(self, recall: float) -> float:
        """The work that finds so much, between the measured ones by a straight line.

        Raises ValueError for more than the largest measured work finds.
        """
        if not self.recall[0] <= recall <= self.recall[-1]:
            raise ValueError(
                f"`recall` must lie in [{self.recall[0]:.3f}, {self.recall[-1]:.3f}], what the"
                f" measured works found; got {recall}. Measure other works."
            )
        return float(np.interp(recall, self.recall, self.work))


def found_share(
    truth: Int[np.ndarray, "queries k"], points: Int[np.ndarray, "queries returned"]
) -> Float64[np.ndarray, " queries"]:
    """The share of each query's true neighbours that is among its points."""
    found = [np.isin(true, row).mean() for true, row in zip(truth, points, strict=True)]
    return np.array(found, np.float64)


def _table(level: PyramidLevel) -> _Table:
    mean = unit_rows(level.embedding.astype(np.float64)).astype(np.float32)
    return _Table(jnp.asarray(mean), jnp.asarray(level.below, jnp.int32))


@eqx.filter_jit
def _narrowed(
    tables: tuple[_Table, ...], widths: tuple[int, ...], queries: Float[Array, "batch width"]
) -> tuple[Int[Array, "batch nodes"], Float[Array, "batch nodes"], Int[Array, " batch"]]:
    """Nodes of the last level, best first, their cosines, and how many nodes were compared.

    Cosines of -inf stand for children that are not there.
    """
    score = queries @ tables[0].mean.T
    nodes = jnp.broadcast_to(jnp.arange(score.shape[1], dtype=jnp.int32), score.shape)
    compared = jnp.full(len(queries), score.shape[1], jnp.int32)
    for width, table, next_table in zip(widths, tables, tables[1:], strict=False):
        best, place = jax.lax.top_k(score, min(width, score.shape[1]))
        parents = jnp.take_along_axis(nodes, place, axis=1)
        nodes, there = _children(table, parents, best > -jnp.inf)
        cosine = jnp.einsum("bnd,bd->bn", next_table.mean[nodes], queries)
        score = jnp.where(there, cosine, -jnp.inf)
        compared = compared + jnp.sum(there, axis=1, dtype=jnp.int32)
    best, place = jax.lax.top_k(score, score.shape[1])
    return jnp.take_along_axis(nodes, place, axis=1), best, compared


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
