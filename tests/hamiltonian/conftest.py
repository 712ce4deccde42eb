"""Forces as a sampler sees them: through a THRML program, gathered by THRML."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from thrml import AbstractConditionalSampler, Block

from sphere_ebm.hamiltonian.anchor import AnchorFactor
from sphere_ebm.hamiltonian.base import AbstractSphereFactor, SphereState
from sphere_ebm.hamiltonian.gravity import GravityFactor
from sphere_ebm.hamiltonian.lateral import LateralFactor
from sphere_ebm.hamiltonian.osmotic import OsmoticFactor
from sphere_ebm.sampling.programs import advance, build_program, sphere_block
from sphere_ebm.sampling.terms import split_own_state, total_force

N_POINTS = 24


@final
class ForceProbe(AbstractConditionalSampler):
    """Returns the total force in place of a new state."""

    coupling: jax.Array

    def sample(
        self,
        key: jax.Array,
        interactions: list[Any],
        active_flags: list[jax.Array],
        states: list[list[SphereState]],
        sampler_state: None,
        output_sd: SphereState,
    ) -> tuple[SphereState, None]:
        here, terms = split_own_state(interactions, active_flags, states)
        return total_force(here, terms, self.coupling.astype(here.radius.dtype)), None


@pytest.fixture
def float64() -> Iterator[None]:
    """Double precision for the duration of a test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def block() -> Block:
    return sphere_block(N_POINTS)


@pytest.fixture
def state() -> SphereState:
    """Random points, two of them close together and one on a pole, in the precision in force."""
    rng = np.random.default_rng(3)
    direction = rng.standard_normal((N_POINTS, 3))
    direction[1] = direction[0] + 0.05 * direction[1]
    direction[2] = [0, 0, 1]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return SphereState(
        jnp.asarray(direction, float), jnp.asarray(rng.uniform(1, 3, N_POINTS), float)
    )


@pytest.fixture
def factors(block: Block) -> dict[str, AbstractSphereFactor]:
    """Every term of the Hamiltonian by name.

    One node has no edge at all, and every third no anchor, so that padding is exercised.
    """
    rng = np.random.default_rng(4)
    pairs = np.argwhere(np.triu(rng.uniform(size=(N_POINTS - 1, N_POINTS - 1)) < 0.3, 1))
    senders, receivers = pairs.T
    weight = rng.uniform(0.1, 2, len(pairs))
    terms: dict[str, AbstractSphereFactor] = {
        "gravity": GravityFactor(block, rng.uniform(1, 3, N_POINTS), rng.uniform(0.5, 4, N_POINTS)),
        "osmotic": OsmoticFactor(block, sharpness=3.0, strength=2.0, evaluator="direct"),
    }
    for kernel in ("cauchy", "gaussian", "harmonic"):
        terms[kernel] = LateralFactor(
            block, senders, receivers, weight, sharpness=1.5, strength=0.7, kernel=kernel
        )
    held = np.flatnonzero(np.arange(N_POINTS) % 3)[::-1]
    place = rng.standard_normal((len(held), 3))
    place /= np.linalg.norm(place, axis=1, keepdims=True)
    terms["anchor"] = AnchorFactor(
        block, held, place, rng.uniform(0.1, 2, len(held)), sharpness=1.5
    )
    return terms


@pytest.fixture
def probe() -> ForceProbe:
    """A sampler, where a program needs one and a test does not."""
    return ForceProbe(jnp.asarray(1.0))


@pytest.fixture
def forces_of(block: Block) -> Callable[..., SphereState]:
    def forces(
        factors: Sequence[AbstractSphereFactor], state: SphereState, coupling: float = 1.0
    ) -> SphereState:
        dtype = state.radius.dtype
        program = build_program(block, factors, ForceProbe(jnp.asarray(coupling, dtype)), dtype)
        return advance(jax.random.key(0), program, state, [None])[0]

    return forces
