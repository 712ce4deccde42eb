"""Points that are stuck far from their neighbours are put back where their energy is lowest.

Langevin dynamics carry a point along its force; one that has been left behind, on the other side of
a crowd that pushes it back, stays there however long the run is. So once the map has cooled, such
points may be offered the places of their neighbours in the graph, as newcomers are
(`sphere_ebm.sampling.joining`). This is a heuristic of annealing, a descent between two stretches
of the dynamics, and no part of the sampled law: the steps after it are the scheme's own, and so are
all that are averaged.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int
from scipy.sparse import coo_array, csr_array

from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.graph import NeighbourGraph
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.hamiltonian.lateral import ARRAY_POTENTIALS
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.sampling.run import Carry, Chunk, RunPlan

_OFFERED = 0.25
"""Share of the points that are offered other places: those whose edges cost most per weight."""
_JITTER = 0.1
"""How far from a neighbour's place a point is put along each axis, in interaction lengths."""
_MOST_NEIGHBOURS = 256
"""Degree beyond which a point is offered nothing, since its places are compared with each other."""
_CELLS = 500_000


def reinserting(
    plan: RunPlan,
    graph: NeighbourGraph,
    ideal_radius: Float32[np.ndarray, " points"],
    config: PlacementConfig,
) -> Callable[[int, Chunk], Carry]:
    """What a run calls between its chunks: a `Reinsertion` after `reinsertion_steps`."""
    steps = reinsertion_steps(plan, config.reinsertions)
    reinsertion = Reinsertion(graph, ideal_radius, config)
    return lambda done, chunk: reinsertion(done, chunk) if done in steps else chunk.carry


def reinsertion_steps(plan: RunPlan, times: int) -> frozenset[int]:
    """The steps after which points are reinserted: the ends of the first chunks after cooling.

    There are `times` of them, or fewer: only those after which a whole chunk of annealing is left,
    so that points settle before any average.
    """
    first = plan.chunk * max(1, math.ceil(plan.settled / plan.chunk))
    ends = (first + plan.chunk * i for i in range(times))
    return frozenset(itertools.takewhile(lambda end: end + plan.chunk <= plan.steps, ends))


@final
class Reinsertion:
    """A pass over the points of one map.

    A point moves to the neighbour's place where its conditional energy H_i is lowest, if that is
    lower than where it is, and if no neighbour of it in the graph would gain more: then its
    neighbours stay, and H falls by the gain but for what the osmotic field of the others that move
    changes.

    Cost: one evaluation of the terms, and O(offered · degree²) in blocks of fixed size. Memory: the
    edges once more, under both ends.

    Args:
        graph: of the map.
        ideal_radius: (N,) where gravity is zero.
        config: of the map.
    """

    def __init__(
        self,
        graph: NeighbourGraph,
        ideal_radius: Float32[np.ndarray, " points"],
        config: PlacementConfig,
    ) -> None:
        self._graph = graph
        self._ideal = ideal_radius
        self._config = config
        self._sharpness = config.sharpness(graph.n_points)
        self._edges: csr_array | None = None

    def __call__(self, step: int, chunk: Chunk) -> Carry:
        """What the run goes on from, after the `step` steps that end with `chunk`."""
        if not self._graph.senders.size or not self._config.lateral_strength > 0:
            return chunk.carry
        state = chunk.carry.state
        direction = unit_rows(np.asarray(state.direction, np.float64))
        radius = np.asarray(state.radius, np.float64)
        gain, place = self._gains(direction, radius, np.asarray(chunk.point_energy, np.float64))
        moved = (gain > 0) & (gain > self._greatest_beside(gain))
        if not moved.any():
            return chunk.carry
        noise = np.random.default_rng([self._config.seed, step]).standard_normal(
            (int(moved.sum()), 3)
        )
        there = direction[place[moved]] + _JITTER / self._sharpness * noise
        direction[moved] = unit_rows(there)
        return _at(chunk.carry, direction, moved)

    def _gains(
        self,
        direction: Float64[np.ndarray, "points 3"],
        radius: Float64[np.ndarray, " points"],
        point_energy: Float64[np.ndarray, " points"],
    ) -> tuple[Float64[np.ndarray, " points"], Int[np.ndarray, " points"]]:
        """By how much each point's H_i is lower at its best neighbour's place, and whose it is."""
        n = len(direction)
        own = self._attraction(direction)
        crowd, mean = self._crowd(own, radius, point_energy)
        edges = self._adjacency()
        degree = np.diff(edges.indptr)
        weight = np.asarray(edges.sum(axis=1)).ravel()
        cost = own / np.maximum(weight, 1e-12)
        usual = (degree > 0) & (degree <= _MOST_NEIGHBOURS)
        offered = np.flatnonzero(usual & (cost >= np.quantile(cost, 1 - _OFFERED)))
        gain = np.zeros(n)
        place = np.zeros(n, np.int64)
        # rows of like degree together, so that padding costs little
        offered = offered[np.argsort(-degree[offered], kind="stable")]
        start = 0
        while start < len(offered):
            slots = int(degree[offered[start]])
            stop = start + max(1, _CELLS // slots**2)
            rows = offered[start:stop]
            slot = np.arange(slots)
            filled = slot < degree[rows][:, None]
            entry = np.minimum(edges.indptr[rows][:, None] + slot, edges.nnz - 1)
            tails = np.where(filled, edges.indices[entry], rows[:, None])
            weights = np.where(filled, edges.data[entry], 0.0)
            there = self._energies(direction, rows, tails, weights, crowd, mean)
            best = np.where(filled, there, np.inf).argmin(axis=1)
            at = np.arange(len(rows))
            gain[rows] = own[rows] + crowd[rows] - there[at, best]
            place[rows] = tails[at, best]
            start = stop
        return gain, place

    def _energies(
        self,
        direction: Float64[np.ndarray, "points 3"],
        rows: Int[np.ndarray, " rows"],
        tails: Int[np.ndarray, "rows k"],
        weights: Float[np.ndarray, "rows k"],
        crowd: Float64[np.ndarray, " points"],
        mean: float,
    ) -> Float64[np.ndarray, "rows k"]:
        """H_i of each row at the place of each of its neighbours, without gravity."""
        config = self._config
        stretch = self._sharpness**2
        places = direction[tails]
        between = 2 * stretch * np.maximum(1 - places @ np.swapaxes(places, 1, 2), 0)
        pairs = ARRAY_POTENTIALS[config.kernel][0](between)
        lateral = config.lateral_strength * np.einsum("rck,rk->rc", pairs, weights)
        if not config.osmotic_strength > 0:
            return lateral
        apart = 2 * stretch * np.maximum(1 - np.einsum("rkc,rc->rk", places, direction[rows]), 0)
        # there the neighbour itself is felt at distance 0, and the point no longer where it was
        return lateral + crowd[tails] + mean * (1 - 1 / (1 + apart))

    def _attraction(
        self, direction: Float64[np.ndarray, "points 3"]
    ) -> Float64[np.ndarray, " points"]:
        """Lateral part of H_i: all edges of each point, whole."""
        graph = self._graph
        chord = direction[graph.senders] - direction[graph.receivers]
        x = self._sharpness**2 * np.einsum("ec,ec->e", chord, chord)
        value, _ = ARRAY_POTENTIALS[self._config.kernel]
        energy = self._config.lateral_strength * graph.weights * value(x)
        n = graph.n_points
        return np.bincount(graph.senders, energy, n) + np.bincount(graph.receivers, energy, n)

    def _crowd(
        self,
        attraction: Float64[np.ndarray, " points"],
        radius: Float64[np.ndarray, " points"],
        point_energy: Float64[np.ndarray, " points"],
    ) -> tuple[Float64[np.ndarray, " points"], float]:
        """2 Π N Q_i / S of each point, and 2 Π N / S.

        Both follow from what points own of the osmotic term, which is what is left of
        `point_energy` when wells and edges are taken off: Π (log(S / (N (N - 1))) + N Q_i / S - 1),
        of the mean Π log(S / (N (N - 1))).
        """
        config = self._config
        n = len(radius)
        if n < 2 or not config.osmotic_strength > 0:
            return np.zeros(n), 0.0
        gravity = config.radius_stiffness / 2 * (radius - self._ideal) ** 2
        owned = (point_energy - gravity - attraction / 2) / config.osmotic_strength
        level = owned.mean()
        crowd = 2 * config.osmotic_strength * (owned - level + 1)
        return crowd, 2 * config.osmotic_strength / ((n - 1) * float(np.exp(level)))

    def _greatest_beside(
        self, gain: Float64[np.ndarray, " points"]
    ) -> Float64[np.ndarray, " points"]:
        """The largest gain among each point's neighbours; 0 where nobody gains."""
        graph = self._graph
        beside = np.zeros(len(gain))
        np.maximum.at(beside, graph.senders, gain[graph.receivers])
        np.maximum.at(beside, graph.receivers, gain[graph.senders])
        return beside

    def _adjacency(self) -> csr_array:
        """Weights, each edge under both ends; made once."""
        if self._edges is None:
            graph = self._graph
            ends = (graph.senders, graph.receivers)
            upper = coo_array((graph.weights, ends), shape=(graph.n_points, graph.n_points))
            self._edges = (upper + upper.T).tocsr()
        return self._edges


def _at(
    carry: Carry, direction: Float64[np.ndarray, "points 3"], moved: Bool[np.ndarray, " points"]
) -> Carry:
    """The carry with points that moved at other directions; velocities and noises there are 0."""
    rows = jnp.asarray(moved)[:, None]
    state = carry.state

    def placed(new: Any, old: Any) -> Any:
        array = jnp.where(rows, jnp.asarray(new, old.dtype), old)
        return jax.device_put(array, old.sharding) if old.committed else array

    def at_rest(part: Any) -> Any:
        if not isinstance(part, SphereState):
            return part
        return part._replace(direction=placed(np.zeros_like(direction), part.direction))

    held = jax.tree.map(
        at_rest, carry.sampler_states, is_leaf=lambda part: isinstance(part, SphereState)
    )
    return carry._replace(
        state=state._replace(direction=placed(direction, state.direction)), sampler_states=held
    )
