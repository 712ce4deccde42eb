"""Three points whose Metropolis-adjusted steps are worked out once more in NumPy."""

from typing import Any, final

import jax
import numpy as np
from thrml import AbstractConditionalSampler, Block

from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.hamiltonian.gravity import GravityFactor
from sphere_ebm.hamiltonian.lateral import LateralFactor
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.langevin import AbstractLangevin
from sphere_ebm.sampling.programs import sphere_block

TEMPERATURE = 0.6
COUPLING = 2.5
WALL = 1.5
MOBILITY = (0.5, 1.7)
IDEAL = np.asarray([1.6, 1.9, 2.2])
STIFFNESS = 3.0
EDGES = np.asarray([[0, 1], [1, 2]])
WEIGHTS = np.asarray([0.8, 1.4])
STRENGTH = 0.9
SHARPNESS = 1.3


@final
class FixedKey(AbstractConditionalSampler):
    """A sampler that is always handed the same key, so that a test knows its random numbers."""

    inner: AbstractLangevin
    key: jax.Array

    def init(self) -> Any:
        return self.inner.init()

    def sample(
        self, key: Any, interactions: Any, active: Any, states: Any, sampler_state: Any, output: Any
    ) -> tuple[SphereState, Any]:
        return self.inner.sample(self.key, interactions, active, states, sampler_state, output)


def law(step_size: float) -> Coefficients:
    return Coefficients(
        TEMPERATURE,
        step_size,
        COUPLING,
        direction_mobility=MOBILITY[0],
        radius_mobility=MOBILITY[1],
        minimum_radius=WALL,
    )


def two_terms() -> tuple[Block, list[Any]]:
    """Three points in a row, each in its well."""
    block = sphere_block(3)
    lateral = LateralFactor(block, *EDGES.T, WEIGHTS, sharpness=SHARPNESS, strength=STRENGTH)
    return block, [GravityFactor(block, IDEAL, STIFFNESS), lateral]


def drawn(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Directions and radii of the three points at random, above the wall."""
    u = rng.standard_normal((3, 3))
    return u / np.linalg.norm(u, axis=1, keepdims=True), rng.uniform(WALL, 2.5, 3)


def well(r: np.ndarray, ideal: np.ndarray) -> float:
    """The energy of gravity."""
    return float(STIFFNESS / 2 * np.sum((r - ideal) ** 2))


def pull(r: np.ndarray, ideal: np.ndarray) -> np.ndarray:
    """The force of gravity."""
    return -STIFFNESS * (r - ideal)


def bond(one: np.ndarray, other: np.ndarray, weight: float) -> float:
    """The energy of one edge at the coupling of the sampler."""
    distance = np.sum((one - other) ** 2)
    return float(COUPLING * STRENGTH * weight * np.log1p(SHARPNESS**2 * distance))


def two_term_energy(u: np.ndarray, r: np.ndarray) -> float:
    """H of gravity and attraction, from the formulas of the terms."""
    edges = zip(EDGES, WEIGHTS, strict=True)
    return well(r, IDEAL) + sum(bond(u[i], u[j], w) for (i, j), w in edges)


def move(force: Any, noise: Any, h: float) -> Any:
    """The proposed move of directions and of radii."""
    return (
        h * mu * f + np.sqrt(2 * h * mu * TEMPERATURE) * x
        for mu, f, x in zip(MOBILITY, force, noise, strict=True)
    )


def log_gaussian(way: tuple[Any, Any], drift: tuple[Any, Any], h: float) -> float:
    return sum(
        -float(np.sum((d - h * mu * f) ** 2)) / (4 * h * mu * TEMPERATURE)
        for mu, d, f in zip(MOBILITY, way, drift, strict=True)
    )
