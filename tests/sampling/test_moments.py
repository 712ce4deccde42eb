"""Running moments against those of all samples at once."""

import jax
import jax.numpy as jnp
import numpy as np

from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.moments import Moments, accumulate, empty_moments

SAMPLES = 50
POINTS = 4


def states(offset: float, spread: float) -> SphereState:
    rng = np.random.default_rng(7)
    direction, radius = (
        offset + spread * rng.standard_normal((SAMPLES, POINTS, *shape)) for shape in ((3,), ())
    )
    return SphereState(jnp.asarray(direction, jnp.float32), jnp.asarray(radius, jnp.float32))


@jax.jit
def gathered(samples: SphereState) -> Moments:
    empty = empty_moments(jax.tree.map(lambda x: x[0], samples))
    return jax.lax.scan(lambda moments, state: (accumulate(moments, state), None), empty, samples)[
        0
    ]


def test_moments_are_the_mean_and_the_sum_of_squared_deviations():
    samples = states(0.5, 1.0)
    moments = gathered(samples)
    assert float(moments.count) == SAMPLES
    for values, mean, deviation in zip(samples, moments.mean, moments.deviation, strict=True):
        exact = np.asarray(values, np.float64)
        np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(deviation, SAMPLES * exact.var(axis=0), rtol=1e-5)


def test_a_small_spread_far_from_zero_keeps_its_digits():
    # the mean of squares less the square of the mean is off by more than the variance here
    samples = states(1e4, 1.0)
    values = np.asarray(samples.radius, np.float64)
    naive = (
        np.mean(values.astype(np.float32) ** 2, axis=0)
        - np.mean(values.astype(np.float32), axis=0) ** 2
    )
    assert np.max(np.abs(naive / values.var(axis=0) - 1)) > 0.5
    np.testing.assert_allclose(
        gathered(samples).deviation.radius / SAMPLES, values.var(axis=0), rtol=1e-2
    )


def test_moments_of_no_sample_are_zero_in_shape_and_precision_of_the_state():
    one = jax.tree.map(lambda x: x[0], states(1.0, 1.0))
    empty = empty_moments(one)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(empty))
    assert [x.shape for x in jax.tree.leaves(empty)] == [
        (),
        (POINTS, 3),
        (POINTS,),
        (POINTS, 3),
        (POINTS,),
    ]
    assert {x.dtype for x in jax.tree.leaves(empty)} == {jnp.dtype("float32")}


def test_one_sample_is_its_own_mean_without_deviation():
    one = jax.tree.map(lambda x: x[0], states(3.0, 1.0))
    moments = accumulate(empty_moments(one), one)
    for value, mean, deviation in zip(one, moments.mean, moments.deviation, strict=True):
        np.testing.assert_array_equal(mean, value)
        assert not np.any(deviation)
