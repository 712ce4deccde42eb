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


def log_gaussian(way: tuple[Any, Any], drift: tuple[Any, Any], h: float) -> float:
    return sum(
        -float(np.sum((d - h * mu * f) ** 2)) / (4 * h * mu * TEMPERATURE)
        for mu, d, f in zip(MOBILITY, way, drift, strict=True)
    )
