"""Many independent chains in one block, built and compiled once for the whole session."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from thrml import AbstractConditionalSampler, Block, FactorSamplingProgram

from small_system import small_block as small_block
from small_system import small_factors as small_factors
from small_system import small_start as small_start
from sphere_ebm.geometry.sphere import normalise
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.hamiltonian.gravity import GravityFactor
from sphere_ebm.hamiltonian.lateral import LateralFactor
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.euler_maruyama import EulerMaruyama
from sphere_ebm.sampling.moments import empty_moments
from sphere_ebm.sampling.programs import build_program, sphere_block
from sphere_ebm.sampling.run import Carry, run_chunk

N_CHAINS = 40_000
IDEAL_RADIUS = 10.0
STIFFNESS = 1.0
PAIR_COUPLING = 2.0


class Chains(NamedTuple):
    """A program whose nodes (or pairs of nodes) are independent chains.

    `simulate` runs it with any sampler.
    """

    program: FactorSamplingProgram
    start: SphereState

    def simulate(
        self,
        sampler: AbstractConditionalSampler,
        steps: int,
        *,
        seed: int = 0,
        start: SphereState | None = None,
        sampler_state: Any = None,
    ) -> Carry:
        program = eqx.tree_at(lambda p: p.samplers, self.program, [sampler])
        start = self.start if start is None else start
        carry = Carry(
            start,
            [sampler.init() if sampler_state is None else sampler_state],
            empty_moments(start),
        )
        length = jnp.asarray(steps, jnp.int32)
        averaging = jnp.asarray(0, jnp.int32)
        return run_chunk(jax.random.key(seed), program, carry, length, averaging)[0]


def two_sided_chi2(statistic: float, dof: int) -> float:
    """p-value of a chi-square statistic that may be too large or too small."""
    return float(2 * min(stats.chi2.cdf(statistic, dof), stats.chi2.sf(statistic, dof)))


def two_sided_normal(z: float) -> float:
    return float(2 * stats.norm.sf(abs(z)))


@pytest.fixture(scope="session")
def chi2_p_value() -> Callable[[float, int], float]:
    return two_sided_chi2


@pytest.fixture(scope="session")
def normal_p_value() -> Callable[[float], float]:
    return two_sided_normal


@pytest.fixture(scope="session")
def chain_block() -> Block:
    return sphere_block(N_CHAINS)


@pytest.fixture(scope="session")
def wells(chain_block: Block) -> Chains:
    """Every node in its own radial well, free to turn.

    All start on the north pole at the ideal radius.
    """
    gravity = GravityFactor(chain_block, np.full(N_CHAINS, IDEAL_RADIUS, np.float32), STIFFNESS)
    start = SphereState(
        jnp.broadcast_to(jnp.asarray([0.0, 0.0, 1.0]), (N_CHAINS, 3)),
        jnp.full(N_CHAINS, IDEAL_RADIUS),
    )
    return Chains(
        build_program(chain_block, [gravity], EulerMaruyama(Coefficients(0.0, 0.0))), start
    )


@pytest.fixture(scope="session")
def pairs(chain_block: Block) -> Chains:
    """Nodes (2 i, 2 i + 1) attract each other with the harmonic kernel; all start uniform."""
    first = np.arange(0, N_CHAINS, 2)
    weight = np.ones(len(first), np.float32)
    lateral = LateralFactor(
        chain_block,
        first,
        first + 1,
        weight,
        sharpness=1.0,
        strength=PAIR_COUPLING,
        kernel="harmonic",
    )
    start = SphereState(
        normalise(jax.random.normal(jax.random.key(42), (N_CHAINS, 3))),
        jnp.full(N_CHAINS, IDEAL_RADIUS),
    )
    return Chains(
        build_program(chain_block, [lateral], EulerMaruyama(Coefficients(0.0, 0.0))), start
    )
