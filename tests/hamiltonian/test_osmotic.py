"""What the pressure promises: its energy by hand, evaluators that agree, and clear refusals."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sphere_ebm.hamiltonian import DirectField, OsmoticFactor, SphereState
from sphere_ebm.hamiltonian.osmotic import MAX_ROWS, grid_rows, make_field
from sphere_ebm.harmonics import ZonalField
from sphere_ebm.sampling.nodes import sphere_block
from sphere_ebm.sphere import uniform_directions

ORTHOGONAL = SphereState(jnp.eye(3), jnp.ones(3))


def test_the_energy_of_three_orthogonal_points_by_hand():
    factor = OsmoticFactor(sphere_block(3), sharpness=2.0, strength=1.5)
    # chord² = 2 for every pair, so every q is 1 / (1 + 4 · 2), and their mean is that too
    np.testing.assert_allclose(factor.energy(ORTHOGONAL), 1.5 * 3 * math.log(1 / 9), rtol=1e-6)


def test_the_energy_of_antipodes_by_hand():
    factor = OsmoticFactor(sphere_block(2), sharpness=1.5, strength=2.0)
    antipodes = SphereState(jnp.asarray([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]]), jnp.ones(2))
    np.testing.assert_allclose(factor.energy(antipodes), 2 * 2 * math.log(1 / 10), rtol=1e-6)


def test_points_in_one_place_have_no_energy_and_spreading_lowers_it():
    factor = OsmoticFactor(sphere_block(3), sharpness=2.0)
    together = SphereState(jnp.broadcast_to(jnp.asarray([0.0, 0.0, 1.0]), (3, 3)), jnp.ones(3))
    np.testing.assert_allclose(factor.energy(together), 0, atol=1e-6)
    assert float(factor.energy(ORTHOGONAL)) < -1


@pytest.mark.parametrize("block_size", [1, 7, 33, 64])
def test_the_direct_sum_does_not_depend_on_its_blocks(block_size):
    points = uniform_directions(jax.random.key(0), 33)
    potential, gradient = DirectField(3.0, block_size)(points)
    q = 1 / (1 + 9 * np.sum((np.asarray(points)[:, None] - np.asarray(points)[None]) ** 2, axis=-1))
    np.testing.assert_allclose(potential, q.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(gradient, 18 * (q**2) @ np.asarray(points), rtol=1e-4, atol=1e-4)


def test_both_evaluators_give_one_energy_in_every_orientation():
    n = 600
    block = sphere_block(n)
    direct = OsmoticFactor(block, sharpness=3.5, evaluator="direct")
    harmonic = OsmoticFactor(block, sharpness=3.5, evaluator="harmonic")
    points = uniform_directions(jax.random.key(1), n)
    exact, seen = jax.jit(lambda at: direct.energy(at)), jax.jit(lambda at: harmonic.energy(at))
    for rotation in Rotation.random(3, rng=np.random.default_rng(0)):
        turned = SphereState(points @ jnp.asarray(rotation.as_matrix(), jnp.float32), jnp.ones(n))
        np.testing.assert_allclose(seen(turned) / n, exact(turned) / n, atol=0.002)


def test_auto_takes_the_sum_for_few_points_and_the_grid_for_many():
    assert isinstance(make_field("auto", 3.0, 500), DirectField)
    assert isinstance(make_field("auto", 3.0, 501), ZonalField)


@pytest.mark.parametrize(("sharpness", "rows"), [(0.1, 24), (4.0, 24), (4.1, 32), (15.0, 96), (53.0, MAX_ROWS)])
def test_the_grid_has_six_rows_per_unit_of_sharpness(sharpness, rows):
    assert grid_rows(sharpness) == rows


def test_a_kernel_too_sharp_for_the_grid_is_refused():
    with pytest.raises(ValueError, match=r"`sharpness` must be at most 53 .* osmotic_evaluator='direct'"):
        grid_rows(60.0)


@pytest.mark.parametrize(
    ("n_points", "options", "message"),
    [
        (1, {}, "at least 2 nodes; got 1"),
        (3, {"strength": -0.5}, "`strength` must be >= 0; got -0.5"),
        (3, {"sharpness": 0.0}, "`sharpness` must be positive; got 0.0"),
        (3, {"evaluator": "fmm"}, "`osmotic_evaluator` must be one of auto, direct, harmonic; got 'fmm'"),
    ],
)
def test_bad_arguments_are_refused_by_name(n_points, options, message):
    with pytest.raises(ValueError, match=message):
        OsmoticFactor(sphere_block(n_points), **{"sharpness": 1.0, **options})
