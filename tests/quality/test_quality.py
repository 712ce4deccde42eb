"""What the measures promise, against brute force, scikit-learn, closed forms and maps whose quality
is known.
"""

import json
import math

import numpy as np
import pytest
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation
from scipy.stats import spearmanr
from sklearn import manifold
from sklearn.neighbors import KNeighborsClassifier

from sphere_ebm.geometry.shells import Shells, ideal_radii, make_shells
from sphere_ebm.quality import maps, neighbours
from sphere_ebm.quality.maps import agreement, angular_evenness, label_accuracy
from sphere_ebm.quality.neighbours import (
    continuity,
    distance_spearman,
    neighbour_recall,
    neighbourhood,
    trustworthiness,
)
from sphere_ebm.quality.points import unit_embeddings
from sphere_ebm.quality.radii import prominence_spearman, shell_deviation
from sphere_ebm.quality.report import measure_quality

DIM = 12


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def random_directions(points: int, seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((points, 3))).astype(np.float32)


def noisy_map(points: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of any norm and a map that keeps a part of their structure."""
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((points, DIM)) * np.geomspace(3.0, 0.3, DIM)
    embeddings *= rng.uniform(0.5, 5.0, (points, 1))
    direction = unit(unit(embeddings)[:, :3] + 0.1 * rng.standard_normal((points, 3)))
    return embeddings.astype(np.float32), direction.astype(np.float32)


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


def test_a_perfect_map_is_perfect_in_every_respect():
    direction = random_directions(300, 1)
    found = neighbourhood(7.0 * direction, direction, (5, 20))
    for measure in (found.recall, found.trustworthiness, found.continuity):
        assert measure == {5: 1.0, 20: 1.0}
    assert distance_spearman(direction, direction) == pytest.approx(1.0, abs=1e-6)


def test_a_random_map_is_at_chance():
    points = 1500
    k = 15
    embeddings = np.random.default_rng(2).standard_normal((points, DIM)).astype(np.float32)
    direction = random_directions(points, 3)
    found = neighbourhood(embeddings, direction, (k,))
    # Overlaps are hypergeometric; queries are close to independent.
    chance = k / (points - 1)
    deviation = math.sqrt(chance / (k * points))
    assert abs(found.recall[k] - chance) < 4 * deviation
    assert found.trustworthiness[k] == pytest.approx(0.5, abs=0.02)
    assert found.continuity[k] == pytest.approx(0.5, abs=0.02)
    assert abs(distance_spearman(embeddings, direction)) < 0.02


def test_blocks_of_any_size_give_the_same_result(monkeypatch):
    embeddings, direction = noisy_map(331)
    whole = neighbourhood(embeddings, direction)
    monkeypatch.setattr(neighbours, "_BLOCK_CELLS", 331 * 50)
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
    base = random_directions(40, 5)
    copies = np.repeat(base, 30, axis=0)
    # Multiples of an embedding are the same direction in the input.
    scale = np.tile(np.array([1.0, 2.0, 0.5], dtype=np.float32), 400)[:, None]
    found = neighbourhood(copies * scale, copies, (10,))
    assert (found.recall[10], found.trustworthiness[10], found.continuity[10]) == (1.0, 1.0, 1.0)
    apart = neighbourhood(copies, random_directions(1200, 6), (10,))
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
    direction = random_directions(40, 16)[which]
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


@pytest.mark.parametrize("reverse", [False, True])
def test_equal_angles_do_not_favour_labels_by_their_index(reverse):
    collapsed = np.tile(np.array([[0.0, 0.6, 0.8]]), (400, 1))
    labels = np.sort(np.arange(400) % 10 < 2)
    # Any fifteen at random have the frequent label in the majority, the first or the last fifteen
    # need not.
    assert label_accuracy(collapsed, labels[::-1].copy() if reverse else labels) == 0.8


@pytest.mark.parametrize("points", range(7))
def test_few_points_give_nan_and_never_an_exception(points):
    embeddings, direction = noisy_map(points) if points else (np.zeros((0, DIM)), np.zeros((0, 3)))
    shells = make_shells(3)
    prominence = np.arange(float(points))
    report = measure_quality(
        embeddings,
        direction,
        radius=ideal_radii(prominence, shells),
        prominence=prominence,
        shells=shells,
        labels=np.zeros(points, dtype=int),
    )
    assert report.points == points
    assert math.isnan(report.recall[15]) == (points <= 2)
    assert math.isnan(report.prominence_spearman) == (points <= 2)
    assert math.isnan(report.evenness.occupied) == (points <= 3)
    assert math.isnan(report.label_accuracy) == (points <= 1)
    assert math.isnan(agreement(direction, direction).mean_cosine) == (points == 0)
    json.dumps(report.to_dict(), allow_nan=False)


def test_neighbourhoods_larger_than_the_map_are_all_of_it():
    embeddings, direction = noisy_map(9)
    found = neighbourhood(embeddings, direction, (15, 50))
    assert found.recall == {15: 1.0, 50: 1.0}
    assert math.isnan(found.trustworthiness[15])
    assert label_accuracy(direction, np.zeros(9), k=15) == 1.0


def test_label_accuracy_is_that_of_a_leave_one_out_classifier():
    _, direction = noisy_map(150)
    labels = (direction[:, 0] > 0).astype(int) + 2 * (direction[:, 1] > 0.3)
    right = 0
    for point in range(150):
        others = np.arange(150) != point
        classifier = KNeighborsClassifier(1).fit(direction[others], labels[others])
        right += classifier.predict(direction[[point]])[0] == labels[point]
    assert 0.5 < right / 150 < 1
    assert label_accuracy(direction, labels, k=1) == pytest.approx(right / 150)


def test_the_majority_wins_and_a_tie_goes_to_the_nearest_voter():
    angle = np.array([0.0, 0.1, 0.25, 0.45])
    direction = np.stack([np.cos(angle), np.sin(angle), np.zeros(4)], axis=1)
    # Nearest first, point 0 sees b a a, point 1 a a a, point 2 b a a, point 3 a b a.
    labels = np.array(["a", "b", "a", "a"])
    assert label_accuracy(direction, labels, k=3) == pytest.approx(3 / 4)
    # Ties of one vote each: b for 0, a for 1 and for 3; point 2 sees b before a.
    assert label_accuracy(direction, labels, k=2) == pytest.approx(1 / 4)


def test_prominence_spearman_is_one_when_radii_are_right_for_either_order():
    prominence = np.random.default_rng(7).standard_normal(80)
    shells = make_shells(5)
    for order in ("outer", "core"):
        radius = ideal_radii(prominence, shells, order)
        assert prominence_spearman(prominence, radius, order) == pytest.approx(1.0)
    assert prominence_spearman(prominence, radius, "outer") == pytest.approx(-1.0)
    assert math.isnan(prominence_spearman(np.ones(80), radius))


def test_shell_deviation_counts_points_off_capacity():
    shells = Shells(edges=np.array([1.0, 2.0, 3.0, 4.0]), capacity=np.array([0.25, 0.25, 0.5]))
    off = shell_deviation(np.array([0, 0, 0, 1, 2, 2, 2, 2]), shells)
    assert (off.max_points, off.mean_points) == (1.0, pytest.approx(2 / 3))
    assert off.mean_relative == pytest.approx(1 / 3)


def test_uniform_random_directions_are_as_even_as_expected():
    evenness = [angular_evenness(random_directions(2000, seed)) for seed in range(30)]
    occupied, cap = (
        np.array([getattr(one, name) for one in evenness]) for name in ("occupied", "empty_cap")
    )
    assert occupied.mean() == pytest.approx(1.0, abs=0.003)
    assert abs(cap.mean() - 0.975) < 4 * cap.std() / math.sqrt(30)


@pytest.mark.parametrize(("points", "bias"), [(10, 0.93), (30, 1.0), (300, 1.025)])
def test_the_expected_empty_cap_is_that_of_simulations(points, bias):
    rng = np.random.default_rng(8)
    caps = [
        (1 + ConvexHull(unit(rng.standard_normal((points, 3)))).equations[:, 3].max()) / 2
        for _ in range(1500)
    ]
    assert maps._expected_empty_cap(points) / np.mean(caps) == pytest.approx(bias, abs=0.02)


def test_a_hole_of_known_size_is_found():
    direction = random_directions(20_000, 9)
    hole = direction[direction[:, 2] < math.cos(0.5)]
    area = angular_evenness(hole).empty_cap * maps._expected_empty_cap(len(hole))
    assert area == pytest.approx((1 - math.cos(0.5)) / 2, rel=0.02)
    # A hole of 6 % of the sphere leaves 6 % of the cells empty.
    assert angular_evenness(hole).occupied == pytest.approx(1 - area, abs=0.01)


def test_flat_maps_have_their_empty_cap_measured_too():
    azimuth = np.linspace(0, 2 * math.pi, 500, endpoint=False)
    circle = np.stack([np.cos(azimuth), np.sin(azimuth), np.zeros(500)], axis=1)
    point = np.tile(circle[:1], (500, 1))
    expected = maps._expected_empty_cap(500)
    assert angular_evenness(circle).empty_cap * expected == pytest.approx(0.5)
    assert angular_evenness(point).empty_cap * expected == pytest.approx(1.0)


def test_agreement_recovers_a_rotation_and_tells_a_mirror_image():
    direction = random_directions(400, 10)
    turned = Rotation.from_rotvec([0.3, -1.2, 2.0]).apply(direction)
    same = agreement(direction, turned)
    assert same.mean_cosine == pytest.approx(1.0, abs=1e-6)
    assert same.median_degrees < 1e-3
    assert same.neighbour_overlap == pytest.approx(1.0, abs=1e-3)
    mirrored = turned * np.array([1.0, 1.0, -1.0])
    assert agreement(direction, mirrored).mean_cosine < 0.9
    assert agreement(direction, mirrored, reflect=True).median_degrees < 1e-3
    assert agreement(direction, mirrored).neighbour_overlap == pytest.approx(1.0, abs=1e-3)


def test_agreement_measures_the_size_of_a_disturbance():
    direction = random_directions(3000, 11).astype(np.float64)
    rng = np.random.default_rng(12)
    axis = unit(np.cross(direction, rng.standard_normal((3000, 3))))
    moved = Rotation.from_rotvec(math.radians(7) * axis).apply(direction)
    found = agreement(direction, Rotation.random(rng=rng).apply(moved))
    assert found.median_degrees == pytest.approx(7.0, abs=0.2)
    assert found.mean_cosine == pytest.approx(math.cos(math.radians(7)), abs=1e-3)
    assert 0 < found.neighbour_overlap < 0.5


def test_unrelated_maps_agree_by_chance_only():
    found = agreement(random_directions(1000, 13), random_directions(1000, 14))
    assert abs(found.mean_cosine) < 0.15
    assert found.neighbour_overlap == pytest.approx(15 / 999, abs=0.01)


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
    direction = random_directions(12, 17)
    embeddings = np.random.default_rng(18).standard_normal((12, DIM))
    exact = distance_spearman(embeddings, direction, pairs=66)
    sampled = [distance_spearman(embeddings, direction, pairs=65, seed=seed) for seed in range(200)]
    assert abs(np.mean(sampled) - exact) < 4 * np.std(sampled) / math.sqrt(200)


def test_a_report_measures_what_it_is_given_and_nothing_else():
    embeddings, direction = noisy_map(60)
    report = measure_quality(embeddings, direction, ks=(4,))
    assert (report.label_accuracy, report.prominence_spearman, report.shell_deviation) == (
        None,
        None,
        None,
    )
    assert report.recall == {4: neighbour_recall(embeddings, direction, 4)}
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["recall"] == {
        "4": report.recall[4]
    }
    shells = make_shells(3)
    shell = np.zeros(60, dtype=np.int32)
    by_shell = measure_quality(
        embeddings, direction, shell=shell, shells=shells, radius=np.full(60, 99.0)
    )
    assert by_shell.shell_deviation == shell_deviation(shell, shells)


def test_half_precision_is_measured_like_the_numbers_it_holds():
    embeddings, direction = noisy_map(100)
    half = embeddings.astype(np.float16)
    assert neighbourhood(half, direction) == neighbourhood(half.astype(np.float64), direction)


@pytest.mark.parametrize("exponent", [-100, 100])
def test_the_scale_of_the_embeddings_does_not_matter(exponent):
    embeddings, direction = noisy_map(100)
    scaled = embeddings * np.float32(2.0**exponent)
    assert neighbourhood(scaled, direction) == neighbourhood(embeddings, direction)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"direction": np.ones((5, 3))}, "`direction` must hold unit vectors"),
        ({"direction": np.full((5, 3), np.nan)}, "`direction` must hold unit vectors"),
        ({"embeddings": np.full((5, DIM), np.inf)}, "`embeddings` must be finite"),
        ({"ks": (0,)}, r"`ks` must hold sizes >= 1; got \(0,\)"),
        ({"ks": ()}, "`ks` must hold sizes"),
        ({"queries": 0}, "`queries` must be at least 1"),
    ],
)
def test_bad_input_is_refused_with_the_rule(change, message):
    embeddings, direction = noisy_map(5)
    with pytest.raises(ValueError, match=message):
        neighbourhood(**{"embeddings": embeddings, "direction": direction, **change})
