"""What the attraction promises: its three kernels in closed form, each edge once, and clear refusals."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from sphere_ebm.hamiltonian import LateralFactor, SphereState
from sphere_ebm.sampling.nodes import build_program, energies, sphere_block
from sphere_ebm.sphere import squared_chord

ANTIPODES = SphereState(jnp.asarray([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]), jnp.asarray([1.0, 7.0]))
EDGE = (np.asarray([0]), np.asarray([1]), np.asarray([0.5]))

# chord² = 4 and s = 1.5, so x = 9
CLOSED_FORMS = {"cauchy": math.log(10), "gaussian": -math.exp(-9), "harmonic": 4.5}


@pytest.mark.parametrize("kernel", CLOSED_FORMS)
def test_the_energy_of_antipodes_is_that_of_a_chord_of_length_two(probe, kernel):
    block = sphere_block(2)
    factor = LateralFactor(block, *EDGE, sharpness=1.5, strength=3.0, kernel=kernel)
    expected = 3.0 * 0.5 * CLOSED_FORMS[kernel]
    np.testing.assert_allclose(factor.energy(ANTIPODES), expected, rtol=1e-6)
    seen = energies(build_program(block, [factor], probe), ANTIPODES)
    np.testing.assert_allclose(seen["lateral"], expected, rtol=1e-6)


def test_the_separation_of_points_ignores_their_radii():
    factor = LateralFactor(sphere_block(2), *EDGE, sharpness=1.5)
    far = SphereState(ANTIPODES.direction, jnp.asarray([1e6, 1e-3]))
    assert float(factor.energy(far)) == float(factor.energy(ANTIPODES))


def test_close_points_keep_the_digits_of_their_chord():
    gap = 1e-5
    a = jnp.asarray([[1.0, 0.0, 0.0]])
    np.testing.assert_allclose(squared_chord(a, a + jnp.asarray([[0.0, gap, 0.0]])), gap**2, rtol=1e-5)


@pytest.mark.parametrize(
    ("edges", "options", "message"),
    [
        (EDGE, {"sharpness": 0.0}, r"`sharpness` must be positive; got 0.0"),
        (EDGE, {"sharpness": math.nan}, r"`sharpness` must be positive"),
        (EDGE, {"strength": -1.0}, r"`strength` must be >= 0; got -1.0"),
        ((np.asarray([0]), np.asarray([2]), np.ones(1)), {}, r"edge ends must lie in \[0, 2\); got 0 to 2"),
        ((np.asarray([-1]), np.asarray([1]), np.ones(1)), {}, r"edge ends must lie in \[0, 2\); got -1 to 1"),
        ((np.zeros(0, int), np.zeros(0, int), np.zeros(0)), {}, r"at least one edge"),
    ],
)
def test_bad_arguments_are_refused_by_name(edges, options, message):
    with pytest.raises(ValueError, match=message):
        LateralFactor(sphere_block(2), *edges, **{"sharpness": 1.0, **options})


def test_tails_are_gathered_only_where_all_nodes_are(probe):
    factor = LateralFactor(sphere_block(2), *EDGE, sharpness=1.5)
    lateral = build_program(sphere_block(2), [factor], probe).per_block_interactions[0][1]
    (tails,) = lateral.gather(ANTIPODES)
    np.testing.assert_array_equal(tails.direction[:, 0], ANTIPODES.direction[::-1])
    np.testing.assert_array_equal(tails.radius[:, 0], ANTIPODES.radius[::-1])
    half = SphereState(ANTIPODES.direction[:1], ANTIPODES.radius[:1])
    with pytest.raises(ValueError, match=r"the block has 1 nodes and the lateral term 2.*node by node"):
        lateral.gather(half)


def test_each_end_of_an_edge_owns_the_whole_pair(probe):
    factor = LateralFactor(sphere_block(2), *EDGE, sharpness=1.5, strength=3.0)
    lateral = build_program(sphere_block(2), [factor], probe).per_block_interactions[0][1]
    local, _ = lateral.local_energy_and_force(ANTIPODES, lateral.gather(ANTIPODES), jnp.ones((2, 1), bool))
    np.testing.assert_allclose(local, float(factor.energy(ANTIPODES)), rtol=1e-6)
