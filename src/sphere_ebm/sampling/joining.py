"""Where newcomers come to lie beside fitted points.

They relax at T = 0 from the best of several starts, and have a spread at any T.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from thrml import FactorSamplingProgram

from sphere_ebm.geometry.sphere import tangent_basis
from sphere_ebm.hamiltonian.base import AbstractLocalInteraction, SphereState, opened
from sphere_ebm.hamiltonian.frozen import FrozenPressure
from sphere_ebm.sampling.clamped import advance_clamped, bound, clamped_terms
from sphere_ebm.sampling.programs import initial_sampler_states
from sphere_ebm.sampling.terms import Terms, total_force
from sphere_ebm.sampling.underdamped import UnderdampedState

# Step of the finite differences, in interaction lengths: far below the width of any well, far above
# float32's rounding.
_DIFFERENCE = 0.05


class Newcomers(NamedTuple):
    """A batch of points that join fitted ones."""

    ideal_radius: Float[Array, " nodes"]
    """In shell units."""
    fitted: Int[Array, "nodes k"]
    """Positions of each newcomer's neighbours among the fitted points."""
    weight: Float[Array, "nodes k"]
    """Of the edges to them."""
    active: Bool[Array, "nodes k"]
    """Which slots are real. The others are padding and name the point 0, as do those of newcomers
    that only fill the batch.
    """


class Settled(NamedTuple):
    """Where a batch has come to rest."""

    direction: Float[Array, "nodes 3"]
    spread: Float[Array, " nodes"]
    """In radians."""
    energy: Float[Array, " nodes"]
    """H_i, all of each term that depends on the newcomer."""


@eqx.filter_jit
def settle(
    program: FactorSamplingProgram,
    clamped: SphereState,
    batch: Newcomers,
    steps: Int[Array, ""],
    temperature: Float[Array, ""],
    sharpness: Float[Array, ""],
) -> Settled:
    """Directions of lowest conditional energy, that energy, and the spread about them.

    The spread is the one at `temperature`.

    `program` has the sampler `Underdamped` at T = 0, or another that needs no random numbers. The
    start is the place of lowest energy among those of a newcomer's neighbours; without any, where
    the field is weakest.
    """
    program = bound(program, *batch)
    terms = clamped_terms(program, clamped)
    state = SphereState(_best_start(terms, clamped, batch), batch.ideal_radius)
    key = jax.random.key(0)

    def step(
        _: Array, carry: tuple[SphereState, UnderdampedState]
    ) -> tuple[SphereState, UnderdampedState]:
        return advance_clamped(key, program, carry[0], clamped, carry[1])

    state, _ = jax.lax.fori_loop(0, steps, step, (state, initial_sampler_states(program)[0]))
    spread = spread_of(terms, state, temperature, sharpness)
    return Settled(state.direction, spread, energy_of(terms, state))


def energy_of(terms: Terms, here: SphereState) -> Float[Array, " nodes"]:
    """Conditional energy H_i of every node: all of each term that depends on it."""
    total = jnp.zeros_like(here.radius)
    for interaction, there, active in terms:
        if not isinstance(interaction, AbstractLocalInteraction):
            raise TypeError(f"{type(interaction).__name__} has no energy of single nodes.")
        total = total + interaction.local_energy_and_force(here, there, active)[0]
    return total


def _best_start(terms: Terms, clamped: SphereState, batch: Newcomers) -> Float[Array, "nodes 3"]:
    """The place of the fitted neighbour where a newcomer's energy is lowest."""
    places = jnp.swapaxes(clamped.direction[batch.fitted], 0, 1)

    def energy(
        place: tuple[Float[Array, "nodes 3"], Bool[Array, " nodes"]],
    ) -> Float[Array, " nodes"]:
        value = energy_of(terms, SphereState(place[0], batch.ideal_radius))
        return jnp.where(place[1], value, jnp.inf)

    energies = jax.lax.map(energy, (places, batch.active.T))
    best = jnp.argmin(energies, axis=0)
    start = jnp.take_along_axis(places, best[None, :, None], axis=0)[0]
    return jnp.where(
        jnp.any(batch.active, axis=1)[:, None], start, _emptiest(terms, start.dtype)[None]
    )


def _emptiest(terms: Terms, dtype: jnp.dtype) -> Float[Array, " 3"]:
    """Where the osmotic field is weakest; the north pole of a map without one."""
    for interaction, _, _ in terms:
        if isinstance(interaction, FrozenPressure):
            return opened(interaction.emptiest)
    return jnp.asarray([0, 0, 1], dtype)


def spread_of(
    terms: Terms, state: SphereState, temperature: Float[Array, ""], sharpness: Float[Array, ""]
) -> Float[Array, " nodes"]:
    """The spread in radians: sqrt(T tr(A⁻¹)), A the Hessian of H_i on the sphere.

    It is found by central differences of the force.

    Where A has an eigenvalue below T the harmonic approximation ends, and T takes its place: one
    radian of spread.
    """
    u = state.direction
    east, north = tangent_basis(state.direction)
    angle = (_DIFFERENCE / sharpness).astype(u.dtype)
    cos = jnp.cos(angle)
    sin = jnp.sin(angle)

    def pull(
        turn: tuple[Array, Array, Array],
    ) -> tuple[Float[Array, " nodes"], Float[Array, " nodes"]]:
        """Components of the force, along and across, after a small turn of the direction.

        The turn is along one axis.
        """
        along, across, side = turn
        turned = SphereState(cos * u + side * sin * along, state.radius)
        force = total_force(turned, terms, jnp.ones((), u.dtype)).direction
        carried = (
            cos * along - side * sin * u
        )  # parallel transport of `along`; `across` stays as it is
        return jnp.sum(force * carried, axis=1), jnp.sum(force * across, axis=1)

    # one after another, so that the force is compiled once
    sides = jnp.asarray([1, -1, 1, -1], u.dtype)
    turns = jnp.stack([east, east, north, north]), jnp.stack([north, north, east, east]), sides
    along, across = (x / (2 * angle) for x in jax.lax.map(pull, turns))
    a = along[1] - along[0]
    b = across[1] - across[0]
    d = along[3] - along[2]
    c = across[3] - across[2]
    off = (b + c) / 2
    middle = (a + d) / 2
    half = jnp.hypot((a - d) / 2, off)
    t = temperature.astype(u.dtype)
    # T / max(eigenvalue, T), and no spread at T = 0
    parts = [
        jnp.where(t > 0, t / jnp.maximum(jnp.maximum(value, t), 1e-30), 0)
        for value in (middle - half, middle + half)
    ]
    return jnp.sqrt(parts[0] + parts[1])
