"""What each point keeps of its neighbours, by brute force, and what chance keeps."""

import numpy as np
import pytest
from scipy import stats

from builders import directions_at_random, noisy_map
from sphere_ebm.graph.index import nearest_neighbours
from sphere_ebm.quality import trust
from sphere_ebm.quality.neighbours import neighbour_recall
from sphere_ebm.quality.trust import (
    MapNeighbours,
    better_than_chance,
    chance_share,
    chance_tail,
    kept_by_newcomers,
    kept_by_points,
)


@pytest.mark.parametrize("chunk", [50, 1000])
def test_the_mean_share_is_the_recall(monkeypatch, chunk):
    monkeypatch.setattr(trust, "_CHUNK", chunk)
    embeddings, direction = noisy_map(203)
    kept = kept_by_points(nearest_neighbours(embeddings, 7).index, direction)
    assert kept.share.mean() == pytest.approx(neighbour_recall(embeddings, direction, 7))
    counts = np.rint(kept.share * 7).astype(int)
    np.testing.assert_allclose(kept.share, counts / 7, rtol=1e-6)
    np.testing.assert_allclose(kept.p_value, stats.hypergeom.sf(counts - 1, 202, 7, 7), rtol=1e-5)


def test_the_law_is_that_of_permuted_neighbours():
    """Two sets of 4 out of 11, counted one by one: no p-value of the law can be off by a pair."""
    rng = np.random.default_rng(0)
    draws = np.stack([rng.permuted(np.tile(np.arange(11) < 4, (20_000, 1)), axis=1)[:, :4]])
    found = np.bincount(draws.sum(axis=-1).ravel(), minlength=5)
    tail = chance_tail(11, 4)
    expected = 20_000 * -np.diff(np.append(tail, 0))
    assert stats.chisquare(found, expected).pvalue > 1e-3
    # power: the law of one point more is refused
    other = 20_000 * -np.diff(np.append(chance_tail(12, 4), 0))
    assert stats.chisquare(found, other).pvalue < 1e-6


def test_p_values_of_a_map_of_noise_are_those_of_chance():
    rng = np.random.default_rng(1)
    embeddings = rng.standard_normal((600, 12)).astype(np.float32)
    kept = kept_by_points(nearest_neighbours(embeddings, 15).index, directions_at_random(600, 2))
    tail = chance_tail(599, 15)
    for x in (1, 2):
        share = np.mean(kept.p_value <= np.float32(tail[x]))
        assert stats.binomtest(int(600 * share), 600, tail[x]).pvalue > 1e-3
    assert chance_share(kept.p_value) == 1


def test_of_many_points_the_p_value_stays_above_zero():
    assert chance_tail(10**7, 15)[0] == 1
    assert 0 < chance_tail(10**7, 15)[15] < 1e-80
    line = np.linspace(0, 3, 400)
    direction = np.stack([np.cos(line), np.sin(line), 0 * line], axis=1)
    kept = kept_by_points(nearest_neighbours(direction.astype(np.float32), 60).index, direction)
    assert kept.p_value.min() == np.finfo(np.float32).tiny
    np.testing.assert_array_equal(kept.share[100:300], 1)


def test_a_zero_vector_keeps_nothing_and_is_nobodys_neighbour():
    embeddings, direction = noisy_map(60)
    embeddings[7] = 0
    direction[7] = direction[8]
    kept = kept_by_points(nearest_neighbours(embeddings, 5).index, direction)
    assert (kept.share[7], kept.p_value[7]) == (0, 1)
    others = np.arange(60) != 7
    assert kept.share[others].mean() == pytest.approx(neighbour_recall(embeddings, direction, 5))


def test_short_lists_are_compared_with_as_many_on_the_map():
    embeddings, direction = noisy_map(60)
    nearest = nearest_neighbours(embeddings, 5).index
    short = nearest.copy()
    short[:, 2:] = -1
    two = kept_by_points(nearest[:, :2], direction)
    for one, other in zip(kept_by_points(short, direction), two, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("points", "k"), [(0, 0), (1, 0), (2, 1), (3, 2)])
def test_few_points_keep_what_there_is(points, k):
    direction = directions_at_random(points, 0)
    kept = kept_by_points(nearest_neighbours(direction, 15).index, direction)
    np.testing.assert_array_equal(kept.share, np.full(points, float(k > 0)))
    np.testing.assert_array_equal(kept.p_value, np.ones(points))
    assert np.isnan(chance_share(kept.p_value)) == (points == 0)


def test_copies_of_one_place_are_listed_without_the_point_itself():
    direction = np.tile(directions_at_random(1, 0), (40, 1))
    on_map = MapNeighbours(direction)
    listed = on_map.nearest(direction, 6, np.arange(40))
    assert (listed != np.arange(40)[:, None]).all()
    assert (listed >= 0).all()
    assert all(len(set(row)) == 6 for row in listed.tolist())


def test_newcomers_ask_among_the_points_of_the_map():
    embeddings, direction = noisy_map(160)
    old = slice(0, 120)
    new = slice(120, 160)
    similar = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    nearest = np.argsort(-similar[new] @ similar[old].T, axis=1)[:, :6]
    kept = kept_by_newcomers(nearest, direction[new], MapNeighbours(direction[old]))
    on_map = np.argsort(-direction[new] @ direction[old].T, axis=1)[:, :6]
    common = [len(set(a) & set(b)) for a, b in zip(nearest.tolist(), on_map.tolist(), strict=True)]
    np.testing.assert_allclose(kept.share, np.divide(common, 6), rtol=1e-6)
    np.testing.assert_allclose(kept.p_value, chance_tail(120, 6)[common], rtol=1e-6)


def test_points_are_chosen_as_benjamini_and_hochberg_do():
    rng = np.random.default_rng(3)
    p_value = np.concatenate([rng.random(400), 1e-3 * rng.random(100)]).astype(np.float32)
    adjusted = stats.false_discovery_control(p_value.astype(np.float64), method="bh")
    np.testing.assert_array_equal(better_than_chance(p_value), adjusted <= 0.05)
    assert chance_share(p_value) == pytest.approx(np.mean(adjusted > 0.05))
    assert not better_than_chance(np.ones(3, np.float32)).any()


@pytest.mark.usefixtures("unchecked")
def test_lists_of_other_points_are_refused():
    with pytest.raises(ValueError, match=r"one row per list of `nearest` \(3\); got 2"):
        kept_by_points(np.zeros((3, 1), int), directions_at_random(2, 0))
