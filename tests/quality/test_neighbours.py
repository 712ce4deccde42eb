"""Neighbourhoods and distances on the map, against brute force, scikit-learn and closed forms."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import manifold

from builders import directions_at_random, noisy_map, unit
from sphere_ebm.geometry.shells import ideal_radii, make_shells
from sphere_ebm.quality import neighbours
from sphere_ebm.quality.maps import label_accuracy
from sphere_ebm.quality.neighbours import (
    continuity,
    distance_spearman,
    neighbour_recall,
    neighbourhood,
    trustworthiness,
)
from sphere_ebm.quality.points import unit_embeddings
from sphere_ebm.quality.report import measure_quality


def ranks(distance: np.ndarray) -> np.ndarray:
    """(N, N) rank from 1 of every other point; the point itself comes last, at N."""
    distance = distance.copy()
    np.fill_diagonal(distance, np.inf)
    return np.argsort(np.argsort(distance, axis=1), axis=1) + 1


def brute_force_recall(embeddings: np.ndarray, direction: np.ndarray, k: int) -> float:
    cosine = unit(embeddings.astype(np.float64))
    inside = ranks(-cosine @ cosine.T)
    on_map = ranks(-direction.astype(np.float64) @ direction.T)
    return float(((inside <= k) & (on_map <= k)).sum() / (k * len(direction)))


@pytest.mark.parametrize("k", [1, 7, 15])
def test_recall_is_what_brute_force_finds(k):
    embeddings, direction = noisy_map(203)
    assert neighbour_recall(embeddings, direction, k) == pytest.approx(
        brute_force_recall(embeddings, direction, k)
    )


@pytest.mark.parametrize("k", [1, 7, 15])
def test_trustworthiness_and_continuity_are_those_of_scikit_learn(k):
    embeddings, direction = noisy_map(203)
    cosine = unit(embeddings)
    # Chord length orders unit vectors as their cosine and their angle do.
    trust = manifold.trustworthiness(cosine, direction, n_neighbors=k)
    back = manifold.trustworthiness(direction, cosine, n_neighbors=k)
    assert trustworthiness(embeddings, direction, k) == pytest.approx(trust, abs=1e-6)
    assert continuity(embeddings, direction, k) == pytest.approx(back, abs=1e-6)
    assert abs(trust - back) > 1e-3


def test_sizes_beyond_half_the_points_are_scored_against_their_own_worst_case():
    embeddings, direction = noisy_map(20)
    k = 13
    n = 20
    cosine = unit(embeddings.astype(np.float64))
    inside = ranks(-cosine @ cosine.T)
    on_map = ranks(-direction.astype(np.float64) @ direction.T)
    penalty = ((inside - k) * ((inside > k) & (on_map <= k)))[~np.eye(n, dtype=bool)].sum()
    expected = 1 - 2 * penalty / (n * (n - k) * (n - k - 1))
    assert 0 < expected < 1
    assert trustworthiness(embeddings, direction, k) == pytest.approx(expected)


def test_a_random_map_is_at_chance():
    points = 1500
    k = 15
    embeddings = np.random.default_rng(2).standard_normal((points, 12)).astype(np.float32)
    direction = directions_at_random(points, 3)
    found = neighbourhood(embeddings, direction, (k,))
    # Overlaps are hypergeometric; queries are close to independent.
    chance = k / (points - 1)
    deviation = math.sqrt(chance / (k * points))
    assert abs(found.recall[k] - chance) < 4 * deviation
    assert found.trustworthiness[k] == pytest.approx(0.5, abs=0.02)
    assert found.continuity[k] == pytest.approx(0.5, abs=0.02)
    assert abs(distance_spearman(embeddings, direction)) < 0.02


def test_the_size_of_blocks_matters_to_rounding_only(monkeypatch):
    # BLAS may round the product of a few rows otherwise than that of many, and near ties then
    # change places.
    embeddings, direction = noisy_map(331)
    whole = neighbourhood(embeddings, direction)
    monkeypatch.setattr(neighbours, "_BLOCK_CELLS", 331 * 50)
    small = neighbourhood(embeddings, direction)
    for measure in ("recall", "trustworthiness", "continuity"):
        assert getattr(small, measure) == pytest.approx(getattr(whole, measure), rel=1e-5)
    assert (small.queries, small.left_out) == (whole.queries, whole.left_out)


@pytest.mark.parametrize(("held", "piece"), [(1, 1), (331 * 120, 331 * 7), (2**24, 331)])
def test_what_is_held_and_worked_on_at_a_time_changes_no_bit(monkeypatch, held, piece):
    embeddings, direction = noisy_map(331)
    embeddings[40:60] = embeddings[10]
    monkeypatch.setattr(neighbours, "_BLOCK_CELLS", 331 * 50)
    whole = neighbourhood(embeddings, direction)
    monkeypatch.setattr(neighbours, "_HELD_CELLS", held)
    monkeypatch.setattr(neighbours, "_PIECE_CELLS", piece)
    assert neighbourhood(embeddings, direction) == whole


def test_several_sizes_in_one_pass_are_those_of_single_passes():
    embeddings, direction = noisy_map(120)
    found = neighbourhood(embeddings, direction, (3, 11))
    for k in (3, 11):
        assert found.recall[k] == neighbour_recall(embeddings, direction, k)
        assert found.trustworthiness[k] == trustworthiness(embeddings, direction, k)
        assert found.continuity[k] == continuity(embeddings, direction, k)


def test_the_order_of_the_points_changes_nothing():
    embeddings, direction = noisy_map(250)
    prominence = np.linalg.norm(embeddings, axis=1)
    shells = make_shells(6)
    given = {
        "radius": ideal_radii(prominence, shells),
        "prominence": prominence,
        "labels": np.arange(250) // 90,
    }
    order = np.random.default_rng(4).permutation(250)
    straight = measure_quality(embeddings, direction, shells=shells, **given)
    permuted = measure_quality(
        embeddings[order],
        direction[order],
        shells=shells,
        **{name: of[order] for name, of in given.items()},
    )
    for name, value in straight.to_dict().items():
        assert permuted.to_dict()[name] == pytest.approx(value, abs=1e-6), name


def test_a_sample_of_queries_estimates_the_whole_and_depends_on_its_seed_alone():
    embeddings, direction = noisy_map(900)
    exact = neighbourhood(embeddings, direction, (15,), queries=None)
    sampled = [
        neighbourhood(embeddings, direction, (15,), queries=150, seed=seed) for seed in range(40)
    ]
    mean = np.mean([one.recall[15] for one in sampled])
    error = np.std([one.recall[15] for one in sampled]) / math.sqrt(40)
    assert abs(mean - exact.recall[15]) < 4 * error
    assert {one.queries for one in sampled} == {150}
    assert sampled[0] == neighbourhood(embeddings, direction, (15,), queries=150, seed=0)
    assert sampled[0] != sampled[1]


def test_points_without_an_embedding_neither_ask_nor_answer():
    embeddings, direction = noisy_map(200)
    more = np.insert(embeddings, [0, 50, 200], 0.0, axis=0)
    where = np.insert(direction, [0, 50, 200], direction[7], axis=0)
    without, found = (
        neighbourhood(*pair, (5,)) for pair in ((embeddings, direction), (more, where))
    )
    assert found.left_out == 3
    assert found.queries == 200
    assert (found.recall, found.trustworthiness) == (without.recall, without.trustworthiness)
    assert distance_spearman(more, where) == pytest.approx(
        distance_spearman(embeddings, direction), abs=1e-9
    )


def test_copies_of_one_embedding_in_one_place_are_perfect_neighbours():
    base = directions_at_random(40, 5)
    copies = np.repeat(base, 30, axis=0)
    # Multiples of an embedding are the same direction in the input.
    scale = np.tile(np.array([1.0, 2.0, 0.5], dtype=np.float32), 400)[:, None]
    found = neighbourhood(copies * scale, copies, (10,))
    assert (found.recall[10], found.trustworthiness[10], found.continuity[10]) == (1.0, 1.0, 1.0)
    apart = neighbourhood(copies, directions_at_random(1200, 6), (10,))
    assert apart.recall[10] < 0.05


def test_copies_are_equally_near_whatever_the_matrix_product_rounds():
    rng = np.random.default_rng(15)
    # BLAS rounds a product of one row differently for different columns, and 0.0 and -0.0 are
    # different bytes.
    base = np.concatenate([rng.standard_normal((40, 49)), np.zeros((40, 1))], axis=1).astype(
        np.float32
    )
    which = np.arange(1203) % 40
    embeddings = base[which]
    embeddings[::3, -1] = -0.0
    assert not np.signbit(unit_embeddings(embeddings, np.zeros((1203, 3)))[0][:, -1]).any()
    direction = directions_at_random(40, 16)[which]
    for seed in range(20):
        assert neighbour_recall(embeddings, direction, 20, queries=1, seed=seed) == 1.0


def test_a_collapsed_map_is_at_chance():
    embeddings, _ = noisy_map(600)
    collapsed = np.tile(np.array([[0.0, 0.6, 0.8]], dtype=np.float32), (600, 1))
    found = [neighbourhood(embeddings, collapsed, (15,), seed=seed) for seed in range(10)]
    assert np.mean([one.recall[15] for one in found]) == pytest.approx(15 / 599, rel=0.3)
    assert np.mean([one.continuity[15] for one in found]) == pytest.approx(0.5, abs=0.1)
    labels = np.arange(600) // 60
    assert label_accuracy(collapsed, labels) < 0.25
    assert math.isnan(distance_spearman(embeddings, collapsed))


def test_neighbourhoods_larger_than_the_map_are_all_of_it():
    embeddings, direction = noisy_map(9)
    found = neighbourhood(embeddings, direction, (15, 50))
    assert found.recall == {15: 1.0, 50: 1.0}
    assert math.isnan(found.trustworthiness[15])
    assert label_accuracy(direction, np.zeros(9), k=15) == 1.0


def test_distance_spearman_over_all_pairs_is_that_of_scipy_and_a_sample_estimates_it():
    embeddings, direction = noisy_map(300)
    one, other = np.triu_indices(300, 1)
    cosine = unit(embeddings.astype(np.float64)) @ unit(embeddings.astype(np.float64)).T
    angle = np.arccos(np.clip(direction.astype(np.float64) @ direction.T, -1, 1))
    expected = spearmanr(1 - cosine[one, other], angle[one, other]).statistic
    assert distance_spearman(embeddings, direction) == pytest.approx(expected, abs=1e-5)
    assert distance_spearman(embeddings, direction, pairs=10_000) == pytest.approx(
        expected, abs=0.04
    )


def test_sampled_pairs_are_pairs_of_different_points():
    direction = directions_at_random(12, 17)
    embeddings = np.random.default_rng(18).standard_normal((12, 12))
    exact = distance_spearman(embeddings, direction, pairs=66)
    sampled = [distance_spearman(embeddings, direction, pairs=65, seed=seed) for seed in range(200)]
    assert abs(np.mean(sampled) - exact) < 4 * np.std(sampled) / math.sqrt(200)
