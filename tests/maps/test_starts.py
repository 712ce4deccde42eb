"""Starts are unit vectors whatever the data, the same for the same seed, and already tell the
data's shape.
"""

import numpy as np
import pytest

from sphere_ebm import PlacementConfig, water_filling
from sphere_ebm.graph.graph import NeighbourGraph
from sphere_ebm.maps.starts import (
    pca_directions,
    random_directions,
    spectral_directions,
    water_filling_directions,
)


def cloud(points: int = 60, width: int = 8, seed: int = 0) -> np.ndarray:
    scale = np.linspace(3, 0.5, width)
    return (np.random.default_rng(seed).standard_normal((points, width)) * scale).astype(np.float32)


def graph(points: int, pairs: list[tuple[int, int]]) -> NeighbourGraph:
    ends = np.array(sorted((min(pair), max(pair)) for pair in pairs), np.int32).reshape(-1, 2)
    weight = np.full(len(ends), np.unique(ends).size / max(len(ends), 1), np.float32)
    return NeighbourGraph(points, ends[:, 0].copy(), ends[:, 1].copy(), weight)


def clique(first: int, size: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(first, first + size) for j in range(i + 1, first + size)]


def assert_unit(directions: np.ndarray, points: int) -> None:
    assert directions.shape == (points, 3)
    assert directions.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-6)


def cosines(directions: np.ndarray) -> np.ndarray:
    return directions @ directions.T


@pytest.mark.parametrize("points", [0, 1, 5])
def test_random_directions_are_unit_vectors(points: int) -> None:
    assert_unit(random_directions(points, 0), points)


def test_random_directions_are_uniform() -> None:
    directions = random_directions(20_000, 0)
    # On a uniform sphere every coordinate is uniform on [-1, 1] (Archimedes): mean 0, second moment
    # 1/3.
    for axis in directions.T:
        counts = np.histogram(axis, bins=10, range=(-1, 1))[0]
        assert ((counts - 2000) ** 2 / 2000).sum() < 27.9, (
            "chi-square with 9 degrees of freedom at p = 0.001"
        )
    assert np.abs(directions.T @ directions / 20_000 - np.eye(3) / 3).max() < 0.01


def test_the_seed_decides_random_directions() -> None:
    np.testing.assert_array_equal(random_directions(9, 1), random_directions(9, 1))
    assert (random_directions(9, 1) != random_directions(9, 2)).all()


@pytest.mark.parametrize("width", [1, 2, 3, 8])
@pytest.mark.parametrize("points", [1, 2, 3, 60])
def test_the_pca_start_is_made_of_unit_vectors(points: int, width: int) -> None:
    assert_unit(pca_directions(cloud(points, width), 0), points)


def test_the_pca_start_is_that_of_the_definition() -> None:
    points = cloud().astype(np.float64)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    scores = (unit - unit.mean(0)) @ np.linalg.svd(unit - unit.mean(0))[2][:3].T
    expected = scores / np.linalg.norm(scores, axis=1, keepdims=True)
    start = pca_directions(points.astype(np.float32), 0)
    signs = np.sign((start * expected).sum(0))
    np.testing.assert_allclose(start, expected * signs, atol=1e-5)


def test_the_largest_loading_of_each_component_is_positive() -> None:
    points = cloud()
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    scores = pca_directions(points, 0)
    centred = unit - unit.mean(0)
    axes = np.linalg.svd(centred.astype(np.float64))[2][:3]
    for axis, column in zip(axes, scores.T, strict=True):
        sign = np.sign(np.corrcoef(centred @ axis, column)[0, 1])
        assert sign * axis[np.abs(axis).argmax()] > 0


def test_the_pca_start_ignores_lengths() -> None:
    scale = np.random.default_rng(1).uniform(0.1, 10, (60, 1)).astype(np.float32)
    np.testing.assert_allclose(
        pca_directions(cloud() * scale, 0), pca_directions(cloud(), 0), atol=1e-5
    )


def test_the_pca_start_is_deterministic_and_needs_no_seed_for_full_rank() -> None:
    np.testing.assert_array_equal(pca_directions(cloud(), 0), pca_directions(cloud(), 0))
    np.testing.assert_array_equal(pca_directions(cloud(), 0), pca_directions(cloud(), 1))


def test_permuted_points_get_permuted_pca_starts() -> None:
    order = np.random.default_rng(2).permutation(60)
    np.testing.assert_allclose(
        pca_directions(cloud()[order], 0), pca_directions(cloud(), 0)[order], atol=1e-5
    )


@pytest.mark.parametrize("width", [1, 2])
def test_missing_components_are_filled_with_noise_that_leaves_the_others_in_charge(
    width: int,
) -> None:
    points = cloud(200, width)
    start = pca_directions(points, 0)
    assert (np.abs(start[:, width:]) > 0).any(axis=0).all()
    assert np.median(np.linalg.norm(start[:, :width], axis=1)) > 0.9
    assert (pca_directions(points, 1) != start).any()
    np.testing.assert_array_equal(pca_directions(points, 0), start)


@pytest.mark.parametrize(
    "points", [np.ones((40, 6)), np.full((40, 6), 1e-30), np.zeros((40, 6)), np.zeros((40, 0))]
)
def test_points_without_differences_start_at_random(points: np.ndarray) -> None:
    start = pca_directions(points.astype(np.float32), 3)
    assert_unit(start, 40)
    assert np.linalg.norm(start.mean(0)) < 0.5, "they spread"
    np.testing.assert_array_equal(start, pca_directions(points.astype(np.float32), 3))


def test_zero_vectors_start_apart_and_do_not_move_the_others() -> None:
    points = np.concatenate([cloud(), np.zeros((30, 8), np.float32)])
    start = pca_directions(points, 0)
    assert_unit(start, 90)
    np.testing.assert_allclose(start[:60], pca_directions(cloud(), 0), atol=1e-5)
    assert np.linalg.norm(start[60:].mean(0)) < 0.6
    assert len(np.unique(start[60:], axis=0)) == 30


@pytest.mark.parametrize("bridge", [[(4, 10)], []])
def test_the_spectral_start_separates_two_cliques(bridge: list[tuple[int, int]]) -> None:
    start = spectral_directions(graph(20, clique(0, 10) + clique(10, 10) + bridge), 0)
    assert_unit(start, 20)
    cosine = cosines(start)
    within = [cosine[i, j] for i, j in clique(0, 10) + clique(10, 10)]
    across = cosine[:10, 10:]
    assert min(within) > 0.9
    assert across.max() < 0


def test_neighbours_on_a_ring_start_near_in_angle() -> None:
    ring = [(i, (i + 1) % 40) for i in range(40)]
    cosine = cosines(spectral_directions(graph(40, ring), 0))
    np.fill_diagonal(cosine, -1)
    nearest = np.argsort(-cosine, axis=1)[:, :5]
    assert [
        i for i in range(40) if not {(i - 1) % 40, (i + 1) % 40} <= set(nearest[i].tolist())
    ] == []


def test_points_without_edges_start_at_random_beside_a_clique() -> None:
    start = spectral_directions(graph(60, clique(0, 20)), 0)
    assert_unit(start, 60)
    assert np.linalg.norm(start[20:].mean(0)) < 0.5


@pytest.mark.parametrize("points", [0, 1, 2, 5])
def test_few_points_start_at_random(points: int) -> None:
    np.testing.assert_array_equal(
        spectral_directions(graph(points, clique(0, points)), 4),
        spectral_directions(graph(points, []), 4),
    )
    assert_unit(spectral_directions(graph(points, []), 4), points)


def test_the_smallest_graph_that_has_a_spectrum_is_placed() -> None:
    assert_unit(spectral_directions(graph(6, clique(0, 6)), 0), 6)


def test_many_components_are_no_obstacle() -> None:
    pairs = [pair for k in range(100) for pair in clique(3 * k, 3)]
    assert_unit(spectral_directions(graph(300, pairs), 0), 300)


def test_the_spectral_start_is_deterministic() -> None:
    pairs = clique(0, 10) + clique(10, 10) + [(0, 10)]
    np.testing.assert_array_equal(
        spectral_directions(graph(20, pairs), 5), spectral_directions(graph(20, pairs), 5)
    )


@pytest.mark.parametrize("order", ["outer", "core"])
def test_directions_of_water_filling_are_those_of_its_placement(order):
    points = cloud(200)
    prominence = np.linalg.norm(points.astype(np.float64), axis=1)
    config = PlacementConfig(shells=4, radius_order=order, seed=3)
    filled = water_filling(points, prominence, config)
    assert filled.info["lateral_moves"] > 0, "or the order has no say in the directions"
    directions = water_filling_directions(points, prominence, config)
    np.testing.assert_array_equal(directions, filled.direction)
