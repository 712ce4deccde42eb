"""Amplitudes on the sphere.

They interfere, their square is a density, its maxima are found off the grid.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders import unit
from sphere_ebm.geometry.harmonics import SphericalHarmonics, evaluate
from sphere_ebm.geometry.interference import InterferenceField, default_width


@pytest.fixture(scope="module")
def harmonics() -> SphericalHarmonics:
    return SphericalHarmonics.build(32)


def axes(vectors: object) -> jax.Array:
    """Unit vectors in float32, on the device."""
    return jnp.asarray(unit(np.asarray(vectors, np.float64)), jnp.float32)


def random_directions(count: int, seed: int = 0) -> jax.Array:
    return axes(np.random.default_rng(seed).standard_normal((count, 3)))


def ones(*shape: int) -> jax.Array:
    return jnp.ones(shape, jnp.float32)


def angle(a: jax.Array, b: jax.Array) -> np.ndarray:
    chord = np.linalg.norm(np.asarray(a, np.float64) - np.asarray(b, np.float64), axis=-1)
    return 2 * np.arcsin(chord / 2)


def rotation(seed: int) -> np.ndarray:
    matrix = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    return matrix * np.sign(np.linalg.det(matrix))


def integral(harmonics: SphericalHarmonics, density: jax.Array) -> jax.Array:
    return jnp.sum(jnp.sum(density, axis=-1) @ harmonics.weights) * (math.pi / harmonics.band_limit)


def one_each(harmonics: SphericalHarmonics, directions: jax.Array) -> InterferenceField:
    """A batch with one source per field."""
    return InterferenceField.from_sources(
        harmonics, directions, jnp.eye(len(directions), dtype=jnp.float32)
    )


AWKWARD = [
    [0, 0, 1],
    [0, 0, -1],
    [1, 0, 0],
    [-1, 1e-6, 0],
    [0.003, 0.001, 1],
    [0.03, -0.04, -1],
    [1e-6, 0, 1],
]


# one shape of batch and one count for most searches: each new one is compiled
COUNT = 6
BATCH = (2, 2)


@pytest.mark.parametrize("band_limit", [32, 64])
def test_a_single_source_is_the_only_peak_wherever_it_is_poles_included(band_limit):
    harmonics = SphericalHarmonics.build(band_limit)
    sources = jnp.concatenate([axes(AWKWARD), random_directions(17)])
    peaks = one_each(harmonics, sources).peaks(harmonics, 3)
    assert np.max(angle(peaks.direction[:, 0], sources)) < 1e-3
    np.testing.assert_array_equal(peaks.found, [[True, False, False]] * 24)
    np.testing.assert_array_equal(peaks.density[:, 1:], 0)


def test_two_sources_are_both_found_the_stronger_first(harmonics):
    sources = axes([[1, 0.2, 0.1], [-0.3, 1, 0.8]])
    field = InterferenceField.from_sources(harmonics, sources, jnp.asarray([1.0, 1.5], jnp.float32))
    peaks = field.peaks(harmonics, COUNT)
    np.testing.assert_array_equal(peaks.found, [True, True, False, False, False, False])
    assert np.max(angle(peaks.direction[:2], sources[::-1])) < 1e-3
    np.testing.assert_allclose(peaks.density[0] / peaks.density[1], 1.5**2, rtol=1e-3)


def test_a_peak_is_never_below_the_node_it_was_found_at(harmonics):
    phases = jnp.asarray(np.random.default_rng(5).uniform(0, 2 * np.pi, (*BATCH, 12)), jnp.float32)
    field = InterferenceField.from_sources(
        harmonics, random_directions(12, 4), ones(*BATCH, 12), phases
    )
    peaks = field.peaks(harmonics, COUNT)
    highest = jnp.max(field.intensity(harmonics), axis=(-2, -1))
    assert bool(jnp.all(peaks.density[..., 0] >= highest * (1 - 1e-5)))
    np.testing.assert_allclose(peaks.density, field.density(peaks.direction), rtol=1e-5)


def test_every_peak_is_a_stationary_point_and_a_maximum(harmonics):
    field = InterferenceField.from_sources(harmonics, random_directions(12, 4), ones(12))
    peaks = field.peaks(harmonics, COUNT)
    assert bool(jnp.all(peaks.found))
    slope = jax.jit(jax.grad(lambda u: jnp.sum(field.density(u))))(peaks.direction)
    # the density changes by its own size over a width
    bound = 0.01 * peaks.density / default_width(32)
    assert bool(jnp.all(jnp.linalg.norm(slope, axis=-1) < bound))
    shifts = 0.02 * np.random.default_rng(0).standard_normal((COUNT, 30, 3))
    around = axes(np.asarray(peaks.direction)[:, None] + shifts).reshape(-1, 3)
    assert bool(jnp.all(field.density(around).reshape(COUNT, 30) < peaks.density[:, None]))


def test_peaks_come_strongest_first_and_apart(harmonics):
    field = InterferenceField.from_sources(harmonics, random_directions(40, 7), ones(40))
    for separation in (0.1, 0.5):
        peaks = field.peaks(harmonics, COUNT, separation)
        assert bool(jnp.all(peaks.found))
        assert bool(jnp.all(jnp.diff(peaks.density) <= 0))
        gaps = angle(peaks.direction[:, None], peaks.direction[None]) + 10 * np.eye(COUNT)
        assert np.min(gaps) >= separation - 1e-6


def test_sources_in_opposite_phase_cancel_to_the_uniform_density(harmonics):
    sources = axes([[1, 2, 3], [1, 2, 3]])
    field = InterferenceField.from_sources(
        harmonics, sources, ones(2), jnp.asarray([0, math.pi], jnp.float32)
    )
    np.testing.assert_array_equal(field.power, 0)
    np.testing.assert_allclose(field.intensity(harmonics), 1 / (4 * math.pi), rtol=1e-6)
    np.testing.assert_allclose(field.density(sources), 1 / (4 * math.pi), rtol=1e-6)
    assert not bool(jnp.any(field.peaks(harmonics, COUNT).found))


def test_sources_in_opposite_phase_leave_a_dark_line_between_them(harmonics):
    sources = axes([[1, 0.1, 0.2], [1, -0.1, 0.2]])
    middle = axes([[1, 0, 0.2]])
    together = InterferenceField.from_sources(harmonics, sources, ones(2))
    opposed = InterferenceField.from_sources(
        harmonics, sources, jnp.asarray([1.0, -1.0], jnp.float32)
    )
    assert float(opposed.density(middle)[0]) < 1e-6 * float(together.density(middle)[0])


def test_superposition_adds_amplitudes_and_not_densities(harmonics):
    sources = random_directions(5)
    phases = jnp.linspace(0, 3, 5, dtype=jnp.float32)
    whole = InterferenceField.from_sources(harmonics, sources, ones(5), phases)
    first, rest = (
        InterferenceField.from_sources(
            harmonics, sources[part], ones(len(sources[part])), phases[part]
        )
        for part in (slice(2), slice(2, 5))
    )
    np.testing.assert_allclose((first + rest).real, whole.real, atol=1e-5)
    np.testing.assert_allclose((first + rest).imaginary, whole.imaginary, atol=1e-5)
    opposite = InterferenceField(-first.real, -first.imaginary)
    np.testing.assert_array_equal((first + opposite).power, 0)


def test_the_density_integrates_to_one(harmonics):
    amplitudes = jnp.asarray(np.random.default_rng(2).standard_normal((2, 3, 9)), jnp.float32)
    field = InterferenceField.from_sources(
        harmonics, random_directions(9), amplitudes, 3 * amplitudes
    )
    density = field.intensity(harmonics)
    assert density.shape == (2, 3, 32, 64)
    for row in density.reshape(6, 32, 64):
        np.testing.assert_allclose(integral(harmonics, row), 1, rtol=1e-5)


def test_the_density_off_the_grid_is_the_intensity_at_the_nodes(harmonics):
    field = InterferenceField.from_sources(harmonics, random_directions(6), ones(6))
    grid = field.intensity(harmonics)
    seen = field.density(harmonics.directions.reshape(-1, 3)).reshape(grid.shape)
    np.testing.assert_allclose(seen, grid, atol=1e-5 * float(jnp.max(grid)))


@pytest.mark.parametrize("band_limit", [8, 32])
def test_a_source_of_the_default_width_rings_below_one_per_cent(band_limit):
    harmonics = SphericalHarmonics.build(band_limit)
    field = InterferenceField.from_sources(harmonics, axes([[0, 0, 1]]), ones(1))
    theta = np.linspace(0, np.pi, 500)
    profile = evaluate(
        field.real, axes(np.stack([np.sin(theta), 0 * theta, np.cos(theta)], axis=-1))
    )
    assert float(jnp.min(profile) / profile[0]) > -0.01
    assert float(jnp.max(jnp.diff(profile)) / profile[0]) < 0.01
    # and is not much wider than it must be: at half the width the ringing is there
    narrow = InterferenceField.from_sources(
        harmonics, axes([[0, 0, 1]]), ones(1), width=default_width(band_limit) / 2
    )
    rough = evaluate(
        narrow.real, axes(np.stack([np.sin(theta), 0 * theta, np.cos(theta)], axis=-1))
    )
    assert float(jnp.min(rough) / rough[0]) < -0.01


def test_rotating_the_sources_rotates_the_density_and_its_peaks(harmonics):
    turn = jnp.asarray(rotation(1), jnp.float32)
    sources = random_directions(6, 8)
    amplitudes = jnp.linspace(1, 2, 6, dtype=jnp.float32)
    field = InterferenceField.from_sources(harmonics, sources, amplitudes)
    turned = InterferenceField.from_sources(harmonics, sources @ turn, amplitudes)
    points = random_directions(50, 9)
    here = field.density(points)
    np.testing.assert_allclose(
        turned.density(points @ turn), here, atol=1e-5 * float(jnp.max(here))
    )
    peaks = field.peaks(harmonics, COUNT)
    moved = turned.peaks(harmonics, COUNT)
    assert np.max(angle(moved.direction, peaks.direction @ turn)) < 1e-3
    np.testing.assert_allclose(moved.density, peaks.density, rtol=1e-4)


def test_a_batch_is_the_fields_one_by_one(harmonics):
    sources = random_directions(12, 3)
    amplitudes = jnp.asarray(np.random.default_rng(6).uniform(1, 3, (*BATCH, 12)), jnp.float32)
    together = InterferenceField.from_sources(harmonics, sources, amplitudes).peaks(
        harmonics, COUNT
    )
    assert together.direction.shape == (*BATCH, COUNT, 3)
    for index in np.ndindex(BATCH):
        alone = InterferenceField.from_sources(harmonics, sources, amplitudes[index]).peaks(
            harmonics, COUNT
        )
        np.testing.assert_array_equal(alone.found, together.found[index])
        assert np.max(angle(alone.direction, together.direction[index])) < 3e-4
        np.testing.assert_allclose(alone.density, together.density[index], rtol=1e-5)


def test_peaks_compile_once_for_batches_of_one_shape(harmonics):
    def search(
        tables: SphericalHarmonics, sources: jax.Array, amplitudes: jax.Array, separation: jax.Array
    ) -> object:
        return InterferenceField.from_sources(tables, sources, amplitudes).peaks(
            tables, 2, separation
        )

    run = eqx.filter_jit(eqx.debug.assert_max_traces(search, max_traces=1))
    for seed in range(3):
        run(harmonics, random_directions(5, seed), ones(3, 5), jnp.asarray(0.1 + seed, jnp.float32))


def test_arguments_out_of_range_are_refused(harmonics):
    field = InterferenceField.from_sources(harmonics, random_directions(2), ones(2))
    with pytest.raises(ValueError, match="`count` must be >= 1; got 0"):
        field.peaks(harmonics, 0)
    with pytest.raises(ValueError, match="`separation` must be >= 0"):
        field.peaks(harmonics, 1, -0.1)
    with pytest.raises(ValueError, match="`width` must be >= 0"):
        InterferenceField.from_sources(harmonics, random_directions(2), ones(2), width=-1.0)
    other = InterferenceField.from_sources(
        SphericalHarmonics.build(4), random_directions(2), ones(2)
    )
    with pytest.raises(ValueError, match="same batch and band limit"):
        field + other
