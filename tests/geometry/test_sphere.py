"""What the geometry promises.

Motion stays on the sphere along great circles, and angles keep their digits.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sphere_ebm.geometry.sphere import (
    TWO_PI,
    angles,
    exponential_map,
    fibonacci_lattice,
    geodesic_flow,
    normalise,
    project_tangent,
    reflect_radius,
    tangent_basis,
    unit_rows,
)

POLES = np.asarray([[0, 0, 1], [0, 0, -1]], np.float32)


def from_angles(theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    return np.stack(
        [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1
    )


def directions_and_tangents(seed: int, count: int = 200) -> tuple[jax.Array, jax.Array]:
    """Uniform directions, poles included, with tangent vectors of length 0 to about 10."""
    key_direction, key_tangent, key_length = jax.random.split(jax.random.key(seed), 3)
    direction = normalise(jax.random.normal(key_direction, (count, 3))).at[:2].set(POLES)
    length = 10 * jax.random.uniform(key_length, (count, 1)).at[5].set(0)
    return direction, project_tangent(
        direction, length * jax.random.normal(key_tangent, (count, 3))
    )


def test_projection_is_orthogonal_to_the_direction_and_changes_nothing_twice():
    direction, _ = directions_and_tangents(0)
    once = project_tangent(direction, jax.random.normal(jax.random.key(1), direction.shape))
    np.testing.assert_allclose(jnp.sum(once * direction, axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(project_tangent(direction, once), once, atol=1e-6)


@given(seed=st.integers(0, 2**31 - 1))
@settings(max_examples=10, deadline=None)
def test_the_exponential_map_stays_on_the_sphere(seed):
    moved = exponential_map(*directions_and_tangents(seed))
    np.testing.assert_allclose(jnp.linalg.norm(moved, axis=1), 1, rtol=3e-7)


def test_the_exponential_map_goes_as_far_as_the_tangent_is_long():
    direction, tangent = directions_and_tangents(3)
    short = tangent / 12  # shorter than pi: there the geodesic is the shortest way
    moved = exponential_map(direction, short)
    travelled = 2 * jnp.arctan2(
        jnp.linalg.norm(moved - direction, axis=1), jnp.linalg.norm(moved + direction, axis=1)
    )
    np.testing.assert_allclose(travelled, jnp.linalg.norm(short, axis=1), atol=2e-6)


def test_the_exponential_map_of_half_a_turn_is_the_antipode():
    east = jnp.asarray([[1.0, 0.0, 0.0]])
    north = jnp.asarray([[0.0, 0.0, np.pi]], jnp.float32)
    np.testing.assert_allclose(exponential_map(east, north), -east, atol=1e-6)
    np.testing.assert_allclose(exponential_map(east, north / 2), [[0.0, 0.0, 1.0]], atol=1e-6)


def test_no_motion_leaves_every_direction_where_it_was():
    direction, _ = directions_and_tangents(4)
    np.testing.assert_allclose(
        exponential_map(direction, jnp.zeros_like(direction)), direction, atol=1e-7
    )


def test_geodesic_flow_follows_the_great_circle_in_closed_form():
    direction, velocity = (np.asarray(x, np.float64) for x in directions_and_tangents(5))
    time = 0.7
    speed = np.linalg.norm(velocity, axis=1, keepdims=True)
    heading = velocity / np.where(speed > 0, speed, 1)
    sin = np.sin(speed * time)
    cos = np.cos(speed * time)
    moved, turned = geodesic_flow(
        jnp.asarray(direction, jnp.float32),
        jnp.asarray(velocity, jnp.float32),
        jnp.asarray(time, jnp.float32),
    )
    np.testing.assert_allclose(moved, direction * cos + heading * sin, atol=5e-6)
    np.testing.assert_allclose(turned, speed * (heading * cos - direction * sin), atol=5e-5)


def test_geodesic_flow_conserves_speed_and_stays_tangent():
    direction, velocity = directions_and_tangents(6)
    moved, turned = geodesic_flow(direction, velocity, jnp.asarray(1.3))
    np.testing.assert_allclose(
        jnp.linalg.norm(turned, axis=1), jnp.linalg.norm(velocity, axis=1), rtol=2e-6, atol=1e-12
    )
    np.testing.assert_allclose(jnp.sum(moved * turned, axis=1), 0, atol=3e-6)


def test_geodesic_flow_backwards_undoes_the_way_there():
    direction, velocity = directions_and_tangents(7)
    time = jnp.asarray(0.4)
    back, turned = geodesic_flow(*geodesic_flow(direction, velocity, time), -time)
    np.testing.assert_allclose(back, direction, atol=5e-6)
    np.testing.assert_allclose(turned, velocity, atol=5e-5)


def test_radii_below_the_minimum_are_mirrored_with_their_velocity():
    radius, velocity = reflect_radius(
        jnp.asarray([0.5, 1.0, 2.0]), jnp.asarray([-3.0, -1.0, 1.0]), jnp.asarray(1.0)
    )
    np.testing.assert_array_equal(radius, [1.5, 1.0, 2.0])
    np.testing.assert_array_equal(velocity, [3.0, -1.0, 1.0])


def test_normalise_makes_unit_vectors_names_a_pole_for_zero_and_does_not_hide_nan():
    vectors = jnp.asarray([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0], [np.nan, 0.0, 1.0]])
    unit = normalise(vectors)
    np.testing.assert_allclose(unit[:2], [[0.6, 0.0, 0.8], [0.0, 0.0, 1.0]], rtol=1e-6)
    assert bool(jnp.isnan(unit[2]).all())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_colatitude_keeps_its_digits_next_to_the_poles(dtype):
    theta = np.asarray([0.0, 1e-6, 1e-4, 0.1, np.pi / 2, 3.0], dtype)
    phi = np.asarray([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], dtype)
    seen_theta, seen_phi = angles(from_angles(theta, phi))
    assert seen_theta.dtype == seen_phi.dtype == dtype
    np.testing.assert_allclose(seen_theta, theta, rtol=10 * np.finfo(dtype).eps)
    np.testing.assert_allclose(seen_phi, phi, rtol=10 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("y", [-1e-30, -1e-9, -1e-7, -0.0, 0.0, 1e-9])
def test_azimuth_next_to_its_seam_lies_in_the_half_open_interval(dtype, y):
    _, phi = angles(np.asarray([[1.0, y, 0.0]], dtype))
    assert 0 <= phi[0] < TWO_PI
    assert min(phi[0], TWO_PI - phi[0]) < 1e-6


def test_angles_of_the_poles_are_exact():
    theta, phi = angles(POLES)
    np.testing.assert_array_equal(theta, np.asarray([0, np.pi], np.float32))
    np.testing.assert_array_equal(phi, 0)


def test_directions_survive_the_way_through_their_angles():
    direction = np.asarray(directions_and_tangents(8)[0])
    theta, phi = angles(direction)
    assert theta.min() >= 0
    assert theta.max() <= np.float32(np.pi)
    assert phi.min() >= 0
    assert phi.max() < TWO_PI
    np.testing.assert_allclose(from_angles(theta, phi), direction, atol=5e-7)


def test_a_tangent_basis_is_orthonormal_everywhere_also_at_the_poles():
    direction = jnp.concatenate([directions_and_tangents(200)[0], jnp.asarray(POLES)])
    first, second = tangent_basis(direction)
    frame = np.stack([np.asarray(direction), np.asarray(first), np.asarray(second)], axis=1)
    np.testing.assert_allclose(
        frame @ frame.transpose(0, 2, 1), np.tile(np.eye(3), (len(frame), 1, 1)), atol=2e-6
    )


def test_a_fibonacci_lattice_has_no_large_gap():
    lattice = fibonacci_lattice(400)
    np.testing.assert_allclose(np.linalg.norm(lattice, axis=1), 1)
    here = np.asarray(directions_and_tangents(500)[0], np.float64)
    gap = np.arccos(np.clip((here @ lattice.T).max(axis=1), -1, 1)).max()
    assert gap < 1.3 * np.sqrt(4 * np.pi / 400)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unit_rows_have_norm_one_and_zero_rows_stay_zero(dtype):
    rows = np.array([[3, 0, 4, 0], [0, 0, 0, 0], [-1e-3, 0, 0, 0]], dtype)
    found = unit_rows(rows)
    assert found.dtype == dtype
    np.testing.assert_array_equal(
        found, np.array([[0.6, 0, 0.8, 0], [0] * 4, [-1, 0, 0, 0]], dtype)
    )
    np.testing.assert_array_equal(unit_rows(rows, np.full((3, 1), 2, dtype)), rows / 2)


def test_a_row_that_is_no_number_stays_none():
    assert np.isnan(unit_rows(np.array([[np.nan, 1.0], [0.0, 2.0]]))).tolist() == [
        [True, True],
        [False, False],
    ]
