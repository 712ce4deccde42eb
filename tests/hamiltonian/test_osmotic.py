"""What the pressure promises: its energy by hand, evaluators that agree, and clear refusals."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sphere_ebm.geometry.sphere import normalise
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.hamiltonian.fields.evaluators import (
    MAX_ROWS,
    DirectField,
    GridField,
    grid_rows,
    make_field,
)
from sphere_ebm.hamiltonian.fields.pyramid import PyramidField
from sphere_ebm.hamiltonian.osmotic import OsmoticFactor
from sphere_ebm.sampling.programs import sphere_block

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
    points = normalise(jax.random.normal(jax.random.key(0), (33, 3)))
    potential, gradient = DirectField(3.0, block_size)(points)
    q = 1 / (1 + 9 * np.sum((np.asarray(points)[:, None] - np.asarray(points)[None]) ** 2, axis=-1))
    np.fill_diagonal(q, 0)
    np.testing.assert_allclose(potential, q.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(gradient, 18 * (q**2) @ np.asarray(points), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("evaluator", ["harmonic", "pyramid"])
def test_all_evaluators_give_one_energy_in_every_orientation(evaluator):
    n = 600
    block = sphere_block(n)
    direct = OsmoticFactor(block, sharpness=3.5, evaluator="direct")
    grid = OsmoticFactor(block, sharpness=3.5, evaluator=evaluator)
    points = normalise(jax.random.normal(jax.random.key(1), (n, 3)))
    exact = jax.jit(lambda at: direct.energy(at))
    seen = jax.jit(lambda at: grid.energy(at))
    for rotation in Rotation.random(3, rng=np.random.default_rng(0)):
        turned = SphereState(points @ jnp.asarray(rotation.as_matrix(), jnp.float32), jnp.ones(n))
        np.testing.assert_allclose(seen(turned) / n, exact(turned) / n, atol=0.002)


def test_auto_takes_the_sum_for_few_points_and_the_grid_for_many():
    assert isinstance(make_field("auto", 3.0, 100), DirectField)
    assert isinstance(make_field("auto", 3.0, 1000), GridField)


@pytest.mark.parametrize(
    ("sharpness", "n_points", "found"),
    [
        (7.0, 2_200, GridField),
        (33.5, 50_000, PyramidField),
        (53.0, 125_000, PyramidField),
        (60.0, 160_000, PyramidField),
    ],
)
def test_auto_takes_the_pyramid_where_the_grid_costs_more_or_cannot_serve(
    sharpness, n_points, found
):
    assert isinstance(make_field("auto", sharpness, n_points), found)


@pytest.mark.parametrize(("sharpness", "n_points"), [(60.0, 2000), (50.0, 2000), (30.0, 50)])
def test_auto_takes_the_sum_where_the_grid_cannot_serve_or_costs_more(sharpness, n_points):
    assert isinstance(make_field("auto", sharpness, n_points), DirectField)


@pytest.mark.parametrize(
    ("evaluator", "sharpness", "n_points", "problem"),
    [
        ("harmonic", 60.0, 10**6, "needs more than 320 rows"),
        ("pyramid", 600.0, 10**8, "needs more than 3072 rows"),
        ("auto", 600.0, 10**8, "needs more than 3072 rows"),
        ("pyramid", 50.0, 20, "20 points at an interaction length of 0.02 hardly feel each other"),
        ("harmonic", 50.0, 20, "20 points at an interaction length of 0.02 hardly feel each other"),
    ],
)
def test_a_grid_that_cannot_serve_is_refused_with_the_cure(evaluator, sharpness, n_points, problem):
    with pytest.raises(ValueError, match=rf"{problem}.*osmotic_evaluator='direct'"):
        make_field(evaluator, sharpness, n_points)


def test_a_few_points_far_apart_have_a_finite_energy():
    points = normalise(jax.random.normal(jax.random.key(5), (20, 3)))
    factor = OsmoticFactor(sphere_block(20), sharpness=1e4)
    assert np.isfinite(factor.energy(SphereState(points, jnp.ones(20))))


@pytest.mark.parametrize(
    ("sharpness", "rows"), [(0.1, 24), (4.0, 24), (4.1, 32), (15.0, 96), (53.0, MAX_ROWS)]
)
def test_the_grid_has_six_rows_per_unit_of_sharpness(sharpness, rows):
    assert grid_rows(sharpness) == rows


@pytest.mark.parametrize(
    ("n_points", "options", "message"),
    [
        (1, {}, "at least 2 nodes; got 1"),
        (3, {"strength": -0.5}, "`strength` must be >= 0; got -0.5"),
        (3, {"sharpness": 0.0}, "`sharpness` must be positive; got 0.0"),
        (
            3,
            {"evaluator": "fmm"},
            "`osmotic_evaluator` must be one of auto, direct, harmonic, pyramid; got 'fmm'",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(n_points, options, message):
    with pytest.raises(ValueError, match=message):
        OsmoticFactor(sphere_block(n_points), **{"sharpness": 1.0, **options})
