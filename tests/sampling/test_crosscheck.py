"""The same Hamiltonian sampled by BlackJAX's NUTS, which knows no sphere, and by our samplers.

One energy law.
"""

from collections.abc import Callable
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from scipy import stats
from thrml import Block

from sphere_ebm.geometry.sphere import normalise
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.hamiltonian.gravity import GravityFactor
from sphere_ebm.hamiltonian.lateral import LateralFactor
from sphere_ebm.hamiltonian.osmotic import OsmoticFactor
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.langevin import AbstractLangevin
from sphere_ebm.sampling.leimkuhler_matthews import LeimkuhlerMatthews
from sphere_ebm.sampling.mala import MALA
from sphere_ebm.sampling.programs import build_program, sphere_block
from sphere_ebm.sampling.underdamped import Underdamped
from sphere_ebm.studies.chains import sample_chains

N = 8
TEMPERATURE = 0.5
CHAINS = 100
SHARPNESS = 2.0
STIFFNESS = 2.0
MOBILITIES = {"direction_mobility": 1 / SHARPNESS**2, "radius_mobility": 1 / STIFFNESS}
SHELL = 4.0


@pytest.fixture(scope="module")
def block() -> Block:
    return sphere_block(N)


@pytest.fixture(scope="module")
def factors(block: Block) -> list[Any]:
    """All three terms, on a ring with two chords.

    Radii lie 20 spreads from 0: the wall there is out of reach.
    """
    ends = np.arange(N)
    senders = np.append(ends, [0, 1])
    receivers = np.append((ends + 1) % N, [4, 5])
    weight = np.linspace(0.5, 1.1, N + 2).astype(np.float32)
    return [
        GravityFactor(block, np.linspace(9, 11, N).astype(np.float32), STIFFNESS),
        LateralFactor(block, senders, receivers, weight, sharpness=SHARPNESS),
        OsmoticFactor(block, sharpness=SHARPNESS, strength=2.0, evaluator="direct"),
    ]


@pytest.fixture(scope="module")
def start() -> SphereState:
    """Of every chain: uniform directions, radii near the ideal ones."""
    rng = np.random.default_rng(3)
    direction = normalise(jnp.asarray(rng.standard_normal((CHAINS, N, 3)), jnp.float32))
    return SphereState(direction, jnp.asarray(rng.normal(10, 0.5, (CHAINS, N)), jnp.float32))


@pytest.fixture(scope="module")
def energy(factors: list[Any]) -> Callable[[SphereState], Array]:
    """H as the factors evaluate it: no sampler has a part in it."""
    return lambda state: jnp.sum(jnp.stack([factor.energy(state) for factor in factors]))


@pytest.fixture(scope="module")
def reference(energy: Callable[[SphereState], Array], start: SphereState) -> np.ndarray:
    """Energies that NUTS draws, about independent, from the density exp(-H(x / |x|, r) / T) f(|x|)
    of x in R³.

    Lengths are independent of directions, so that u = x / |x| follows exp(-H / T) dΩ; f keeps x
    near a shell, because near the origin x / |x| is steep.
    """

    def on_sphere(position: SphereState) -> SphereState:
        return SphereState(normalise(position.direction), position.radius)

    def log_density(position: SphereState) -> Array:
        length = jnp.linalg.norm(position.direction, axis=1)
        return -energy(on_sphere(position)) / TEMPERATURE - jnp.sum((length - SHELL) ** 2) / 2

    nuts = blackjax.nuts(log_density, step_size=0.6, inverse_mass_matrix=jnp.ones(4 * N))

    def chain(key: Array, position: SphereState) -> Array:
        def draw(state: Any, key: Array) -> tuple[Any, Array]:
            state, _ = nuts.step(key, state)
            return state, energy(on_sphere(state.position))

        return jax.lax.scan(draw, nuts.init(position), jax.random.split(key, 120))[1]

    # BlackJAX relies on implicit promotion, which the test suite forbids
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        keys = jax.random.split(jax.random.key(1), CHAINS)
        drawn = jax.jit(jax.vmap(chain))(keys, SphereState(SHELL * start.direction, start.radius))
    return np.asarray(drawn, np.float64)[:, 24::4]


SAMPLERS: dict[str, Callable[[float], AbstractLangevin]] = {
    "mala": lambda temperature: MALA(Coefficients(temperature, 0.1, **MOBILITIES), adapt_steps=300),
    "leimkuhler-matthews": lambda temperature: LeimkuhlerMatthews(
        Coefficients(temperature, 0.1, **MOBILITIES), N
    ),
    "underdamped": lambda temperature: Underdamped(
        Coefficients(temperature, 0.2, **MOBILITIES), N, friction=0.7
    ),
}


@pytest.mark.parametrize(("wrong", "agrees"), [(1.0, True), (1.05, False)])
@pytest.mark.parametrize("name", SAMPLERS)
def test_nuts_in_ambient_coordinates_finds_the_same_law_of_the_energy(
    name: str,
    wrong: float,
    agrees: bool,
    block: Block,
    factors: list[Any],
    start: SphereState,
    reference: np.ndarray,
) -> None:
    program = build_program(block, factors, SAMPLERS[name](wrong * TEMPERATURE))
    samples = sample_chains(
        jax.random.key(4), program, start, chains=CHAINS, warmup=500, draws=60, thin=40
    )
    p = stats.ks_2samp(samples.total_energy.ravel(), reference.ravel()).pvalue
    assert (p > 1e-3) == agrees
