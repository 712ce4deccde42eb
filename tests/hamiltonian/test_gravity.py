"""What radial gravity promises: the energy of springs, and refusals that say what was wrong."""

import jax.numpy as jnp
import numpy as np
import pytest

from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.hamiltonian.gravity import GravityFactor
from sphere_ebm.sampling.programs import sphere_block

NORTH = jnp.asarray([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])


def test_the_energy_is_half_the_stiffness_times_the_stretch_squared():
    factor = GravityFactor(sphere_block(2), np.asarray([2.0, 5.0]), np.asarray([1.0, 4.0]))
    assert float(factor.energy(SphereState(NORTH, jnp.asarray([3.0, 5.0])))) == 0.5
    assert float(factor.energy(SphereState(NORTH, jnp.asarray([2.0, 8.0])))) == 18.0


def test_one_stiffness_serves_all_nodes():
    factor = GravityFactor(sphere_block(2), np.asarray([2.0, 5.0]), 3.0)
    np.testing.assert_array_equal(factor.stiffness, [3.0, 3.0])


@pytest.mark.parametrize(
    ("ideal_radius", "stiffness", "message"),
    [
        (np.ones(3), 1.0, r"`ideal_radius` .* shape \(2,\); got \(3,\)"),
        (np.ones(2), -1.0, r"`stiffness` must be .* >= 0"),
        (np.ones(2), np.nan, r"`stiffness` must be .* >= 0"),
    ],
)
def test_bad_arrays_are_refused_by_name(ideal_radius, stiffness, message):
    with pytest.raises(ValueError, match=message):
        GravityFactor(sphere_block(2), ideal_radius, stiffness)
