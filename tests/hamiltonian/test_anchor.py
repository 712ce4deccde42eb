"""What anchors promise: the energy of distance, a pull on anchored points alone, clear refusals."""

import jax.numpy as jnp
import numpy as np
import pytest

from sphere_ebm.hamiltonian.anchor import AnchorFactor
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.clamped import attraction_by_fitted, build_clamped_program, clamped_terms
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.programs import SphereBlock, build_program, sphere_block
from sphere_ebm.sampling.underdamped import Underdamped

EAST = np.asarray([[1.0, 0.0, 0.0]], np.float32)
ROWS = np.asarray([1])


def state_of(direction: np.ndarray) -> SphereState:
    return SphereState(jnp.asarray(direction, jnp.float32), jnp.ones(len(direction)))


def test_the_energy_is_the_strength_times_the_squared_distance_in_interaction_lengths():
    factor = AnchorFactor(sphere_block(3), ROWS, EAST, 0.25, sharpness=4.0)
    away = np.asarray([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    assert float(factor.energy(state_of(away))) == 0.25 * 16
    assert float(factor.energy(state_of(np.asarray([[0, 0, 1], [1, 0, 0], [0, 1, 0]])))) == 0


def test_only_anchored_points_are_pulled_in_a_program():
    factor = AnchorFactor(sphere_block(3), ROWS, EAST, 0.25, sharpness=4.0)
    sampler = Underdamped(Coefficients(0.0, 0.1), 3)
    program = build_program(sphere_block(3), [factor], sampler)
    pull = program.per_block_interactions[0][1]
    active = program.per_block_interaction_active[0][1]
    away = state_of(np.asarray([[0, 0, 1], [0, 1, 0], [-1, 0, 0]]))
    energy, force = pull.local_energy_and_force(away, [], active)
    np.testing.assert_allclose(energy, [0, 4, 0])
    np.testing.assert_allclose(force.direction, [[0, 0, 0], [4, 0, 0], [0, 0, 0]])


def test_a_newcomer_with_an_anchor_settles_between_it_and_the_clamped_points():
    free = SphereBlock(1)
    clamped = SphereBlock(1)
    north = state_of(np.asarray([[0, 0, 1]]))
    weight = np.asarray([[2.0]], np.float32)
    groups = [
        attraction_by_fitted(
            free, clamped, np.zeros((1, 1), np.int64), weight, sharpness=1.0, kernel="harmonic"
        ),
        *AnchorFactor(free, np.asarray([0]), EAST, 2.0, sharpness=1.0).to_interaction_groups(),
    ]
    program = build_clamped_program(free, clamped, groups, Underdamped(Coefficients(0.0, 0.1), 1))
    middle = state_of(np.sqrt([[0.5, 0, 0.5]]))
    terms = clamped_terms(program, north)
    force = sum(term.force(middle, there, active).direction for term, there, active in terms)
    # two equal harmonic pulls balance half-way
    across = force - middle.direction * jnp.sum(force * middle.direction)
    np.testing.assert_allclose(across, 0, atol=1e-6)
    assert float(jnp.sum(force * middle.direction)) > 1


@pytest.mark.parametrize(
    ("rows", "place", "strength", "sharpness", "message"),
    [
        (ROWS, EAST, 1.0, 0.0, "`sharpness` must be positive"),
        (ROWS[:0], EAST[:0], 1.0, 1.0, "at least one node"),
        (ROWS + 2, EAST, 1.0, 1.0, r"positions in \[0, 3\)"),
        (np.asarray([1, 1]), EAST.repeat(2, 0), 1.0, 1.0, "each at most once"),
        (ROWS, EAST.repeat(2, 0), 1.0, 1.0, r"shape \(1, 3\); got \(2, 3\)"),
        (ROWS, 2 * EAST, 1.0, 1.0, "unit vectors"),
        (ROWS, EAST, -1.0, 1.0, "`strength` must be .* >= 0"),
        (ROWS, EAST, np.ones(2), 1.0, "`strength` must be .* or 1 of them"),
    ],
)
def test_bad_anchors_are_refused_by_name(rows, place, strength, sharpness, message):
    with pytest.raises(ValueError, match=message):
        AnchorFactor(sphere_block(3), rows, place, strength, sharpness=sharpness)
