"""Who is promoted and how far, rule by rule, against NumPy."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from filling_cases import SHELLS, N, counts, crowd, deviation, draw, law, layout
from sphere_ebm.filling.engine import (
    Law,
    Points,
    _promotion,
    _settling,
)
from sphere_ebm.filling.pour import _points

BIN = 12 / 256  # width of a bin of prominence, in standard deviations of the shell

promotion = eqx.filter_jit(_promotion)
settling = eqx.filter_jit(_settling)


def promote(
    points: Points, shell: np.ndarray, capacity: jnp.ndarray, rules: Law, seed: int = 0
) -> tuple:
    promoted, target = promotion(points, jnp.asarray(shell), capacity, rules, draw(seed))
    return np.asarray(promoted), np.asarray(target)


def above_the_mean(points: Points, shell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prominence less the mean of the point's shell, and the standard deviation in that shell."""
    x = np.asarray(points.prominence, np.float64)
    held = [x[shell == s] if (shell == s).any() else np.zeros(1) for s in range(SHELLS)]
    return x - np.array([h.mean() for h in held])[shell], np.array([h.std() for h in held])[shell]


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"threshold": 0.0, "push": 99.0},
        {"overload_limit": 0.1},
        {"push": 2.0, "excess_gain": 10.0},
    ],
)
def test_a_shell_loses_no_more_than_its_surplus_and_the_last_shell_nothing(rules):
    _, capacity = layout()
    wanted = np.asarray(capacity, np.float64)
    lost = 0
    allowed = 0
    for seed in range(20):
        points, shell = crowd(seed)
        promoted, _ = promote(points, shell, capacity, law(**rules), seed)
        gone = counts(shell[promoted])
        surplus = np.floor(np.maximum(counts(shell) - wanted, 0))
        surplus[-1] = 0
        # the last bin that is reached goes in part, by chance: the variance is at most a quarter of
        # what it holds
        share_of_a_bin = counts(shell) * BIN * stats.norm.pdf(0)
        assert (gone <= surplus + 4 * np.sqrt(share_of_a_bin / 4)).all()
        assert (gone[surplus == 0] == 0).all()
        lost = lost + gone.sum()
        allowed = allowed + surplus.sum()
    assert 0 < lost < 1.01 * allowed


def test_every_surplus_point_leaves_where_all_are_candidates():
    _, capacity = layout()
    points, shell = crowd(1, np.array([0.5, 0.3, 0.2, 0, 0, 0, 0, 0]))
    promoted, _ = promote(points, shell, capacity, law(threshold=0.0, overload_limit=0.0))
    surplus = counts(shell) - np.asarray(capacity)
    np.testing.assert_allclose(counts(shell[promoted])[:3], surplus[:3], atol=12)


@pytest.mark.parametrize("threshold", [0.0, 1.0, 1.5])
def test_only_points_above_the_threshold_of_their_shell_are_promoted(threshold):
    _, capacity = layout()
    for seed in range(5):
        points, shell = crowd(seed)
        above, std = above_the_mean(points, shell)
        promoted, _ = promote(points, shell, capacity, law(threshold=threshold))
        assert promoted.any()
        assert (above[promoted] > threshold * std[promoted] - 1e-5).all()


def test_a_threshold_relative_to_the_mean_counts_from_the_mean_of_the_prominence_as_given():
    _, capacity = layout()
    rng = np.random.default_rng(3)
    given = rng.gamma(0.5, 1, N)
    shell = rng.choice(3, N).astype(np.int32)
    mean = np.array([given[shell == s].mean() for s in range(3)])[shell]
    rules = law(threshold=0.93, relative_to="mean")
    promoted, _ = promote(_points(given, None), shell, capacity, rules)
    candidate = given - mean > 0.93 * mean
    assert (promoted <= (given - mean > 0.9299 * mean)).all()
    surplus = counts(shell)[:3] - np.asarray(capacity)[:3]
    going = np.minimum(counts(shell[candidate])[:3], surplus)
    np.testing.assert_allclose(counts(shell[promoted])[:3], going, atol=8)
    assert not promote(_points(given + 20, None), shell, capacity, rules)[0].any()


def test_beyond_the_overload_limit_points_below_the_threshold_may_go_too():
    _, capacity = layout()
    points, shell = crowd(2, np.array([0.24, 0.15, 0.11, 0.1, 0.1, 0.1, 0.1, 0.1]))
    load = counts(shell) / np.asarray(capacity) - 1
    limit = float(load[0] + load[1]) / 2
    assert load[0] > limit > load[1] > 0.1
    promoted, _ = promote(points, shell, capacity, law(threshold=math.inf, overload_limit=limit))
    assert set(shell[promoted]) == {0}
    assert counts(shell[promoted])[0] == pytest.approx(
        counts(shell)[0] - float(capacity[0]), abs=12
    )


def test_the_most_prominent_candidates_go_first():
    _, capacity = layout()
    points, shell = crowd(4, np.array([0.25, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05]))
    x = np.asarray(points.prominence)
    promoted, _ = promote(points, shell, capacity, law(threshold=0.0, overload_limit=0.0))
    for s in (0, 1):
        inside = shell == s
        assert 0.2 < promoted[inside].mean() < 0.9
        assert (
            x[inside & promoted].min() > x[inside & ~promoted].max() - 1.01 * BIN * x[inside].std()
        )


@pytest.mark.parametrize(
    "rules", [{}, {"push": 2.0, "excess_gain": 10.0}, {"threshold": 0.0, "push": 99.0}]
)
def test_promotion_leads_outwards_and_never_out_of_the_sphere(rules):
    _, capacity = layout()
    for seed in range(10):
        points, shell = crowd(seed)
        promoted, target = promote(points, shell, capacity, law(**rules))
        assert (target[promoted] > shell[promoted]).all()
        assert target.max() < SHELLS


def test_points_alike_in_a_crowded_shell_are_promoted_outwards_too():
    _, capacity = layout()
    shell = np.repeat([0, 2], N // 2).astype(np.int32)
    promoted, target = promote(
        _points(np.full(N, 3.0), None), shell, capacity, law(overload_limit=0.5)
    )
    assert promoted.any()
    assert (target[promoted] > shell[promoted]).all()


def test_points_alike_are_promoted_outwards_where_no_threshold_admits_any():
    _, capacity = layout()
    shell = np.repeat([0, 2], N // 2).astype(np.int32)
    rules = law(threshold=math.inf, overload_limit=0.5)
    promoted, target = promote(_points(np.full(N, 3.0), None), shell, capacity, rules)
    assert promoted.any()
    assert (target[promoted] > shell[promoted]).all()


def test_excess_above_the_threshold_reaches_further():
    # room in the last shell only: everyone wants to go there, and the reach decides
    capacity = jnp.asarray(N * np.array([0.1, *[1e-6] * 6, 0.9]), jnp.float32)
    rng = np.random.default_rng(5)
    points = _points(rng.exponential(1.0, N), None)
    shell = np.zeros(N, np.int32)
    above, std = above_the_mean(points, shell)
    for push, gain in ((1.0, 0.0), (2.0, 0.0), (1.0, 1.0), (2.0, 1.5)):
        promoted, target = promote(points, shell, capacity, law(push=push, excess_gain=gain))
        reach = np.floor(push * (1 + gain * (above / std - 1)))[promoted]
        expected = np.minimum(np.maximum(reach, 1), SHELLS - 1)
        assert np.mean(target[promoted] == expected) > 0.995
        if gain == 0:
            assert set(target[promoted]) == {push}
        else:
            assert len(np.unique(target[promoted])) >= 4
            # monotone, but for what rounding makes of the ends of a step
            order = np.argsort(above[promoted])
            assert (np.diff(target[promoted][order]) >= 0).mean() > 0.995


def test_spilled_points_settle_in_the_first_shell_with_room_the_more_prominent_further():
    capacity = jnp.asarray([800, 100, 300, 50, 250, 100, 200, 200], jnp.float32)
    rng = np.random.default_rng(6)
    start = np.array([1200, 100, 200, 250, 50, 100, 100, 0])
    shell = np.repeat(np.arange(SHELLS), start).astype(np.int32)
    points = _points(rng.standard_normal(N), None)
    promoted, target = promote(
        points, shell, capacity, law(threshold=0.0, overload_limit=0.0, push=99.0)
    )
    # 400 leave shell 0: 100 to shell 2 and 200 to shell 4, 100 to shell 6; 200 leave shell 3 after
    # them
    np.testing.assert_allclose(
        counts(target[promoted & (shell == 0)]), [0, 0, 100, 0, 200, 0, 100, 0], atol=16
    )
    np.testing.assert_allclose(
        counts(target[promoted & (shell == 3)]), [0, 0, 0, 0, 0, 0, 0, 200], atol=16
    )
    x = np.asarray(points.prominence)
    near, far = (x[promoted & (shell == 0) & (target == s)] for s in (2, 6))
    assert np.median(far) > np.quantile(near, 0.98)


def test_pouring_fills_rooms_in_order_and_the_last_shell_takes_the_rest():
    settled = settling(jnp.asarray([5.0, 0, 3, 0, 0]), jnp.asarray([9.0, 2, 0, 4, 1]))
    np.testing.assert_array_equal(settled, [0, 2, 0, 4, 2])
    np.testing.assert_array_equal(
        settling(jnp.asarray([0.0, 0, 3, 0, 0]), jnp.asarray([9.0, 2, 9, 4, 1])),
        settled * 0 + jnp.asarray([0.0, 0, 0, 3, 0]),
    )


@pytest.mark.parametrize(
    "rules", [{}, {"threshold": 0.0, "push": 99.0}, {"overload_limit": 0.1, "push": 3.0}]
)
def test_promotion_does_not_raise_the_deviation_where_capacities_grow_outwards(rules):
    _, capacity = layout()
    gained = []
    for seed in range(30):
        points, shell = crowd(seed)
        promoted, target = promote(points, shell, capacity, law(**rules), seed)
        before = deviation(shell, capacity)
        after = deviation(np.where(promoted, target, shell), capacity)
        assert after <= before + 0.01
        gained.append(before - after)
    assert np.median(gained) > 0.02
