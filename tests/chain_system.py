"""A small system of two terms, chains of which are drawn in several files."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from thrml import Block

from sphere_ebm.geometry.sphere import normalise
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.hamiltonian.gravity import GravityFactor
from sphere_ebm.hamiltonian.lateral import LateralFactor
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.euler_maruyama import EulerMaruyama
from sphere_ebm.sampling.programs import (
    SphereNode,
    build_program,
)
from sphere_ebm.studies.chains import sample_chains
from sphere_ebm.studies.samples import Samples

N = 8
KEY = jax.random.key(7)
# as many draws as are recorded at once: fewer would be another compilation
DRAWS = 100


@pytest.fixture(scope="module")
def terms() -> tuple[Block, list[Any]]:
    """Gravity, and attraction along a star: node 0 is everybody's neighbour."""
    block = Block([SphereNode() for _ in range(N)])
    hub = np.zeros(N - 1, np.int64)
    leaves = np.arange(1, N)
    lateral = LateralFactor(block, hub, leaves, np.ones(N - 1, np.float32), sharpness=2.0)
    return block, [GravityFactor(block, np.linspace(2, 3, N).astype(np.float32), 2.0), lateral]


@pytest.fixture(scope="module")
def program(terms) -> Any:
    return build_program(*terms, EulerMaruyama(Coefficients(0.5, 0.02)))


@pytest.fixture(scope="module")
def start() -> SphereState:
    return SphereState(
        normalise(jax.random.normal(jax.random.key(1), (N, 3))), jnp.linspace(1.0, 3.0, N)
    )


@pytest.fixture(scope="module")
def draw(program, start) -> Any:
    """`sample_chains` of two chains, without a warm-up; the options are those that change."""

    def drawn(sampler: Any = None, **options: Any) -> Samples:
        using = (
            program if sampler is None else eqx.tree_at(lambda p: p.samplers, program, [sampler])
        )
        begin = options.pop("start", start)
        return sample_chains(
            KEY, using, begin, **{"chains": 2, "warmup": 0, "draws": DRAWS} | options
        )

    return drawn


def assert_same_draws(
    one: Samples, other: Samples, chains: Any = slice(None), draws: Any = slice(None)
) -> None:
    """Those of `one` are these chains and draws of `other`, bit for bit."""
    for name, values in one.energy.items():
        np.testing.assert_array_equal(values, other.energy[name][chains, draws])
