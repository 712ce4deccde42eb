"""A set's points as `place` poses them, with the Hamiltonian that their samplers share."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from thrml import Block

from benchmarks.datasets import Dataset
from sphere_ebm import PlacementConfig
from sphere_ebm.geometry.shells import ideal_radii
from sphere_ebm.graph.graph import NeighbourGraph, build_graph
from sphere_ebm.hamiltonian.base import AbstractSphereFactor, SphereState
from sphere_ebm.maps.config import shells_of
from sphere_ebm.maps.place import hamiltonian_factors
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.programs import sphere_block
from sphere_ebm.sampling.schedules import Linear
from sphere_ebm.sampling.underdamped import Underdamped

FRICTION = 0.7


@dataclass(frozen=True, eq=False)
class Problem:
    """Points of a set with the Hamiltonian that `place` gives them, osmotic pressure by the direct
    sum.
    """

    embeddings: Float32[np.ndarray, "points width"]
    graph: NeighbourGraph
    ideal: Float32[np.ndarray, " points"]
    config: PlacementConfig
    block: Block
    factors: list[AbstractSphereFactor]

    def __len__(self) -> int:
        return len(self.embeddings)

    def dynamics(self) -> dict[str, float]:
        """What every sampler gets.

        Mobilities 1/s² and 1/κ, and the wall for radii, all as in `place`.
        """
        return {
            "direction_mobility": 1 / self.config.sharpness(len(self)) ** 2,
            "radius_mobility": 1 / self.config.radius_stiffness,
            "minimum_radius": float(shells_of(self.config).edges[0]),
        }

    def underdamped(
        self, temperature: float, step_size: float, coupling: Linear | float = 1.0
    ) -> Underdamped:
        coefficients = Coefficients(temperature, step_size, coupling, **self.dynamics())
        return Underdamped(coefficients, len(self), friction=FRICTION)


def pose(data: Dataset, points: int, seed: int) -> Problem:
    """`points` of a set, drawn by `seed`; radii by the norms of the embeddings, as `place` does."""
    config = PlacementConfig(osmotic_evaluator="direct", seed=seed)
    chosen = np.sort(np.random.default_rng(seed).choice(len(data), points, replace=False))
    embeddings = data.embeddings[chosen]
    graph = build_graph(
        embeddings, neighbours=config.neighbours, max_degree=config.max_degree, seed=seed
    )
    ideal = ideal_radii(
        np.linalg.norm(embeddings, axis=1), shells_of(config), config.radius_order, seed=seed
    )
    block = sphere_block(points)
    return Problem(
        embeddings, graph, ideal, config, block, hamiltonian_factors(block, ideal, graph, config)
    )


def exact_energy(problem: Problem, state: SphereState) -> float:
    """H of one configuration in float64, written down again in NumPy from its definition.

    O(N²) memory.
    """
    u = np.asarray(state.direction, np.float64)
    r = np.asarray(state.radius, np.float64)
    n = len(r)
    config = problem.config
    graph = problem.graph
    stretch = config.sharpness(n) ** 2
    gravity = config.radius_stiffness / 2 * np.sum((r - problem.ideal) ** 2)
    chord = np.sum((u[graph.senders] - u[graph.receivers]) ** 2, axis=1)
    lateral = config.lateral_strength * np.sum(graph.weights * np.log1p(stretch * chord))
    repulsion = 1 / (1 + stretch * np.sum((u[:, None] - u[None]) ** 2, axis=2))
    pairs = (repulsion.sum() - n) / (n * (n - 1))
    return float(gravity + lateral + config.osmotic_strength * n * np.log(pairs))
