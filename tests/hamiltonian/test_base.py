"""What every energy term promises.

Forces that are minus the gradient, symmetry, and one energy however counted.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sphere_ebm.geometry.sphere import exponential_map, project_tangent
from sphere_ebm.hamiltonian.anchor import AnchorFactor
from sphere_ebm.hamiltonian.base import (
    AbstractLocalInteraction,
    Shared,
    SphereState,
    opened,
    unwrap_shared,
)
from sphere_ebm.hamiltonian.fields.evaluators import DirectField
from sphere_ebm.hamiltonian.osmotic import OsmoticFactor, OsmoticPressure
from sphere_ebm.sampling.programs import build_program, energies, point_energies
from sphere_ebm.sampling.schedules import Constant

TERMS = ("gravity", "cauchy", "gaussian", "harmonic", "osmotic", "anchor")
FREE = tuple(name for name in TERMS if name != "anchor")
HAMILTONIAN = ("gravity", "cauchy", "osmotic")
ROTATION = Rotation.from_euler("xyz", [0.4, -1.1, 2.3]).as_matrix()


def total_energy(terms, state: SphereState) -> jax.Array:
    return sum(term.energy(state) for term in terms)


def chosen(factors, name: str) -> list:
    return [factors[each] for each in (HAMILTONIAN if name == "total" else (name,))]


def rotated(field: SphereState) -> SphereState:
    return SphereState(
        field.direction @ jnp.asarray(ROTATION.T, field.direction.dtype), field.radius
    )


def tangent_bases(state: SphereState) -> np.ndarray:
    """Two orthonormal tangent vectors at every direction, shape (2, n, 3)."""
    _, _, basis = np.linalg.svd(np.asarray(state.direction)[:, None, :])
    return np.moveaxis(basis[:, 1:], 1, 0)


def finite_difference_force(terms, state: SphereState, eps: float = 1e-5) -> np.ndarray:
    """-(H(+eps) - H(-eps)) / 2 eps along two geodesics and the radius of each point: (3, n)."""
    n = state.radius.shape[0]
    eye = np.eye(n)
    shifts = [
        SphereState(jnp.asarray(eye[:, :, None] * basis), jnp.zeros((n, n)))
        for basis in tangent_bases(state)
    ]
    shifts.append(SphereState(jnp.zeros((n, n, 3)), jnp.asarray(eye)))

    def moved_energy(shift: SphereState, step: float) -> jax.Array:
        direction = exponential_map(state.direction, step * shift.direction)
        return total_energy(terms, SphereState(direction, state.radius + step * shift.radius))

    slope = jax.jit(
        jax.vmap(lambda shift: (moved_energy(shift, eps) - moved_energy(shift, -eps)) / (2 * eps))
    )
    return np.stack([-np.asarray(slope(shift)) for shift in shifts])


@pytest.mark.parametrize("name", [*TERMS, "total"])
def test_the_force_a_sampler_sees_is_minus_the_gradient_by_autodiff(
    factors, forces_of, state, name
):
    terms = chosen(factors, name)
    gradient = jax.jit(jax.grad(lambda at: total_energy(terms, at)))(state)
    force = forces_of(terms, state)
    scale = float(jnp.max(jnp.abs(gradient.direction))) + 1
    np.testing.assert_allclose(
        force.direction, -project_tangent(state.direction, gradient.direction), atol=3e-6 * scale
    )
    np.testing.assert_allclose(force.radius, -gradient.radius, atol=1e-5)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", [*TERMS, "total"])
def test_the_force_a_sampler_sees_is_minus_the_gradient_by_finite_differences(
    factors, forces_of, state, name
):
    terms = chosen(factors, name)
    force = forces_of(terms, state)
    along = [np.sum(np.asarray(force.direction) * basis, axis=1) for basis in tangent_bases(state)]
    expected = finite_difference_force(terms, state)
    np.testing.assert_allclose(
        np.stack([*along, force.radius]), expected, atol=2e-8 * (1 + np.abs(expected).max())
    )


@pytest.mark.parametrize("name", [*TERMS, "total"])
def test_energies_of_the_program_equal_those_of_the_factors(block, factors, probe, state, name):
    terms = chosen(factors, name)
    seen = energies(build_program(block, terms, probe), state)
    assert len(seen) == len(terms)
    np.testing.assert_allclose(sum(seen.values()), total_energy(terms, state), rtol=2e-6)


@pytest.mark.parametrize("name", [*TERMS, "total"])
def test_what_points_own_of_a_term_adds_up_to_its_energy(block, factors, probe, state, name):
    terms = chosen(factors, name)
    owned = point_energies(build_program(block, terms, probe), state)
    assert owned.shape == state.radius.shape
    np.testing.assert_allclose(jnp.sum(owned), total_energy(terms, state), rtol=2e-6)


@pytest.mark.usefixtures("float64")
def test_a_point_owns_half_of_its_pairs_and_more_in_a_crowd(block, factors, probe, state):
    def owned(name):
        program = build_program(block, [factors[name]], probe, state.radius.dtype)
        return np.asarray(point_energies(program, state))

    u = np.asarray(state.direction)
    chord = np.sum((u[:, None] - u[None]) ** 2, axis=2)
    lateral = factors["cauchy"]
    weight = np.zeros(chord.shape)
    weight[lateral.senders, lateral.receivers] = lateral.weight
    pairs = 0.7 * (weight + weight.T) * np.log1p(1.5**2 * chord)
    np.testing.assert_allclose(owned("cauchy"), pairs.sum(axis=1) / 2)
    crowd = (1 / (1 + 9 * chord)).sum(axis=1) - 1
    n = len(u)
    expected = 2 * (np.log(crowd.mean() / (n - 1)) - 1 + crowd / crowd.mean())
    np.testing.assert_allclose(owned("osmotic"), expected)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", FREE)
def test_rotating_the_map_changes_no_energy_and_turns_the_forces_with_it(
    factors, forces_of, state, name
):
    term = factors[name]
    np.testing.assert_allclose(term.energy(rotated(state)), term.energy(state), rtol=1e-12)
    there = forces_of([term], rotated(state))
    here = rotated(forces_of([term], state))
    np.testing.assert_allclose(there.direction, here.direction, atol=1e-11)
    np.testing.assert_array_equal(there.radius, here.radius)


@pytest.mark.usefixtures("float64")
def test_rotating_a_map_with_anchors_changes_its_energy_unless_they_turn_with_it(
    block, factors, state
):
    anchor = factors["anchor"]
    turned = rotated(SphereState(jnp.asarray(anchor.place), jnp.ones(len(anchor.rows))))
    strength = anchor.stiffness / 1.5**2
    along = AnchorFactor(block, anchor.rows, np.asarray(turned.direction), strength, sharpness=1.5)
    held = float(anchor.energy(state))
    assert abs(float(anchor.energy(rotated(state))) - held) > 0.1
    np.testing.assert_allclose(along.energy(rotated(state)), held, rtol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["cauchy", "gaussian", "harmonic", "osmotic"])
def test_pair_forces_exert_no_net_torque(factors, forces_of, state, name):
    force = forces_of([factors[name]], state)
    torque = jnp.cross(state.direction, force.direction)
    assert float(jnp.max(jnp.abs(torque))) > 0.1
    np.testing.assert_allclose(jnp.sum(torque, axis=0), 0, atol=1e-11)


@pytest.mark.parametrize("name", TERMS)
def test_forces_are_tangent(factors, forces_of, state, name):
    force = forces_of([factors[name]], state)
    np.testing.assert_allclose(jnp.sum(force.direction * state.direction, axis=1), 0, atol=2e-5)


def test_the_coupling_multiplies_the_lateral_force_and_no_other(factors, forces_of, state):
    plain = {name: forces_of([factors[name]], state) for name in HAMILTONIAN}
    coupled = forces_of([factors[name] for name in HAMILTONIAN], state, coupling=3.0)
    expected = (
        plain["gravity"].direction + 3 * plain["cauchy"].direction + plain["osmotic"].direction
    )
    np.testing.assert_allclose(coupled.direction, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(coupled.radius, plain["gravity"].radius, rtol=1e-6)


def test_without_pressure_two_terms_remain(block, factors, forces_of, state):
    silent = OsmoticFactor(block, sharpness=3.0, strength=0.0, evaluator="direct")
    two = [factors["gravity"], factors["cauchy"]]
    np.testing.assert_allclose(
        total_energy([*two, silent], state), total_energy(two, state), rtol=1e-7
    )
    three_forces = forces_of([*two, silent], state)
    two_forces = forces_of(two, state)
    np.testing.assert_array_equal(three_forces.direction, two_forces.direction)
    np.testing.assert_array_equal(three_forces.radius, two_forces.radius)


def test_terms_of_one_name_are_added_in_the_energies(block, factors, probe, state):
    gravity = factors["gravity"]
    seen = energies(build_program(block, [gravity, gravity], probe), state)
    np.testing.assert_allclose(seen["gravity"], 2 * gravity.energy(state), rtol=1e-6)


def test_shared_values_are_leaves_that_open_once():
    field = DirectField(2.0)
    tree = {"shared": Shared(field), "array": jnp.ones(3), "schedule": Constant(1.0)}
    assert len(jax.tree.leaves(tree)) == 3
    unwrapped = unwrap_shared(tree)
    assert unwrapped["shared"] is field
    assert opened(field) is field
    assert opened(Shared(field)) is field


def test_shared_values_survive_the_builder_unsliced_and_opened(block, factors, probe):
    program = build_program(block, [factors["cauchy"], factors["osmotic"]], probe)
    _, lateral, osmotic = program.per_block_interactions[0]
    assert lateral.weight.shape == program.per_block_interaction_active[0][1].shape
    assert lateral.strength.shape == lateral.sharpness.shape == osmotic.strength.shape == ()
    assert isinstance(osmotic, OsmoticPressure)
    assert isinstance(osmotic.field, DirectField)


LOCAL = ("gravity", "cauchy", "gaussian", "harmonic", "anchor")


def interaction_of(program, state: SphereState):
    """The one term of a program.

    The interaction, its tails at `state`, and which slots are real.
    """
    _, interaction = program.per_block_interactions[0]
    _, active = program.per_block_interaction_active[0]
    there = [
        jax.tree.map(lambda x, s=slots: x[s], state)
        for slots in program.per_block_interaction_global_slices[0][1]
    ]
    return interaction, there, active


@pytest.mark.parametrize("name", LOCAL)
def test_shares_of_local_energies_add_up_to_the_energy(block, factors, probe, state, name):
    interaction, there, active = interaction_of(build_program(block, [factors[name]], probe), state)
    assert isinstance(interaction, AbstractLocalInteraction)
    local, force = interaction.local_energy_and_force(state, there, active)
    assert local.shape == state.radius.shape
    np.testing.assert_allclose(
        interaction.share * jnp.sum(local), factors[name].energy(state), rtol=2e-6
    )
    energy, same_force = interaction.energy_and_force(state, there, active)
    np.testing.assert_allclose(energy, factors[name].energy(state), rtol=2e-6)
    np.testing.assert_array_equal(force.direction, same_force.direction)
    np.testing.assert_array_equal(force.radius, same_force.radius)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["gravity", "cauchy", "anchor"])
def test_the_local_energy_is_all_that_a_node_changes_of_the_whole(
    block, factors, probe, state, name
):
    """Moving one node alone, the others at rest, changes H by the change of its local energy."""
    interaction, there, active = interaction_of(
        build_program(block, [factors[name]], probe, jnp.float64), state
    )
    elsewhere = SphereState(-state.direction, state.radius + 1)
    own = [
        interaction.local_energy_and_force(here, there, active)[0] for here in (state, elsewhere)
    ]

    def moved_energy(i: jax.Array) -> jax.Array:
        one = SphereState(
            state.direction.at[i].set(elsewhere.direction[i]),
            state.radius.at[i].set(elsewhere.radius[i]),
        )
        return factors[name].energy(one)

    change = jax.jit(jax.vmap(moved_energy))(jnp.arange(24)) - factors[name].energy(state)
    assert float(jnp.max(jnp.abs(change))) > 0.1
    np.testing.assert_allclose(own[1] - own[0], change, atol=1e-10)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", LOCAL)
def test_the_force_is_minus_the_gradient_of_the_local_energy_by_the_head_alone(
    block, factors, probe, state, name
):
    interaction, there, active = interaction_of(
        build_program(block, [factors[name]], probe, jnp.float64), state
    )

    @jax.jit
    def gradient(here: SphereState) -> SphereState:
        return jax.grad(
            lambda at: jnp.sum(interaction.local_energy_and_force(at, there, active)[0])
        )(here)

    expected = gradient(state)
    force = interaction.local_energy_and_force(state, there, active)[1]
    project = project_tangent
    np.testing.assert_allclose(
        project(state.direction, force.direction),
        -project(state.direction, expected.direction),
        atol=1e-11,
    )
    np.testing.assert_allclose(force.radius, -expected.radius, atol=1e-11)


@pytest.mark.parametrize("name", TERMS)
def test_gathering_tails_gives_what_thrml_gathers(block, factors, probe, state, name):
    program = build_program(block, [factors[name]], probe)
    interaction, there, active = interaction_of(program, state)
    gathered = interaction.gather(state)
    assert len(gathered) == len(there)
    for ours, theirs in zip(gathered, there, strict=True):
        np.testing.assert_array_equal(ours.direction[active], theirs.direction[active])
        np.testing.assert_array_equal(ours.radius[active], theirs.radius[active])


@pytest.mark.parametrize("name", TERMS)
def test_energy_and_force_with_gathered_tails_are_those_of_the_other_configuration(
    block, factors, probe, state, name
):
    interaction, _, active = interaction_of(build_program(block, [factors[name]], probe), state)
    # half of the points opposite: nothing that a sum over points or a shift would leave alone
    elsewhere = SphereState(state.direction.at[::2].multiply(-1), 1.5 * state.radius)
    energy = interaction.energy(elsewhere, interaction.gather(elsewhere), active)
    np.testing.assert_allclose(energy, factors[name].energy(elsewhere), rtol=2e-6)
    assert abs(float(energy) - float(factors[name].energy(state))) > 0.01
