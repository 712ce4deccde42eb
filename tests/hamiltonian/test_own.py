"""Terms of which only the energy is written: forces in programs, of this package and of THRML."""

from typing import ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from sphere_ebm.hamiltonian.gravity import GravityFactor
from sphere_ebm.hamiltonian.own import AbstractEnergyTerm, EnergyFactor, made_factors
from sphere_ebm.sampling.programs import build_program, energies, point_energies, sphere_block


@final
class Field(AbstractEnergyTerm):
    """H = -Σ B·u_i."""

    field: Float[Array, "3"]
    name: ClassVar[str] = "field"

    def energy_of(self, state):
        return -state.direction @ self.field


@final
class Wells(AbstractEnergyTerm):
    """Gravity once more."""

    stiffness: Float[Array, " nodes"]
    ideal: Float[Array, " nodes"]
    name: ClassVar[str] = "wells"

    def energy_of(self, state):
        return self.stiffness * (state.radius - self.ideal) ** 2 / 2


FIELD = Field(jnp.asarray([0.5, -1.0, 2.0]))


def test_the_force_of_an_energy_is_what_it_would_be_by_hand(block, forces_of, state):
    force = forces_of([EnergyFactor(block, FIELD)], state)
    u = np.asarray(state.direction)
    field = np.asarray(FIELD.field)
    np.testing.assert_allclose(force.direction, field - (u @ field)[:, None] * u, atol=1e-6)
    np.testing.assert_array_equal(force.radius, 0)


def test_parameters_may_have_a_row_for_each_point(block, forces_of, state):
    n = len(block)
    stiffness = np.linspace(0.5, 2, n, dtype=np.float32)
    ideal = np.linspace(1, 3, n, dtype=np.float32)
    own = EnergyFactor(block, Wells(jnp.asarray(stiffness), jnp.asarray(ideal)))
    there = GravityFactor(block, ideal, stiffness)
    np.testing.assert_allclose(
        forces_of([own], state).radius, forces_of([there], state).radius, atol=1e-6
    )
    np.testing.assert_allclose(own.energy(state), there.energy(state), rtol=1e-6)


def test_energies_and_shares_in_a_program_are_those_of_the_term(block, probe, state):
    program = build_program(block, [EnergyFactor(block, FIELD)], probe)
    wanted = FIELD.energy_of(state)
    np.testing.assert_allclose(energies(program, state)["field"], wanted.sum(), rtol=1e-5)
    np.testing.assert_allclose(point_energies(program, state), wanted, rtol=1e-5)


def test_plain_thrml_takes_the_term_as_it_is_wrapped(state):
    (group,) = EnergyFactor(sphere_block(len(state.radius)), FIELD).to_interaction_groups()
    energy, force = group.interaction.energy_and_force(state, [], jnp.ones((1, 1), bool))
    np.testing.assert_allclose(energy, FIELD.energy_of(state).sum(), rtol=1e-6)
    np.testing.assert_allclose(force.direction[0], FIELD.field, rtol=1e-6)


def test_numbers_take_the_precision_in_force(block):
    given = Field(np.asarray([0.0, 0.0, 1.0]))
    assert EnergyFactor(block, given).term.field.dtype == jnp.float32
    with jax.enable_x64(True):
        assert EnergyFactor(block, given).term.field.dtype == jnp.float64


def test_functions_make_factors(block):
    made = made_factors([FIELD, lambda at: GravityFactor(at, np.ones(len(at)))], block)
    assert [type(factor).__name__ for factor in made] == ["EnergyFactor", "GravityFactor"]
    assert all(factor.node_groups[0] is block for factor in made)


@pytest.mark.usefixtures("unchecked")
def test_what_makes_no_factor_is_refused(block):
    factor = GravityFactor(block, np.ones(len(block)))
    for wrong in (factor, "field", lambda at: 3):
        with pytest.raises(ValueError, match="`extra_factors` must hold terms"):
            made_factors([wrong], block)
