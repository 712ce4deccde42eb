"""A whole run of the engine, and its osmotic flow, against NumPy."""

import dataclasses
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from filling_cases import SHELLS, N, counts, crowd, deviation, draw, law, layout
from sphere_ebm.filling.engine import (
    Filling,
    Points,
    Tally,
    _look_up,
    _osmotic_flow,
    fill,
)
from sphere_ebm.filling.pour import _points
from sphere_ebm.filling.presets import PRESETS, Preset, law_of
from sphere_ebm.geometry.shells import make_shells
from sphere_ebm.maps.starts import random_directions

flow = eqx.filter_jit(_osmotic_flow)
look_up = eqx.filter_jit(_look_up)


def reference_flow(
    count: np.ndarray, capacity: np.ndarray, gap: np.ndarray, rate: float
) -> np.ndarray:
    """The documented flow, wall by wall."""
    count = count.astype(float).copy()
    wall = (gap[1:] + gap[:-1]) / 2
    for _ in range(64 * len(count)):
        density = count / capacity
        mean = density.mean()
        out = np.append(density[1:], density[-1])
        into = np.append(density[0], density[:-1])
        pressure = (density - mean) / mean - (out - into) / (4 * mean)
        change = np.zeros(len(count))
        for s, thick in enumerate(wall):
            amount = rate * math.exp(-thick / wall.mean()) * (capacity[s] + capacity[s + 1]) / 2
            amount *= pressure[s] - pressure[s + 1]
            even = (density[s] - density[s + 1]) / (1 / capacity[s] + 1 / capacity[s + 1]) / 2
            amount = min(max(amount, 0), even) if even > 0 else max(min(amount, 0), even)
            change[s] -= amount
            change[s + 1] += amount
        count += change
    return count


@pytest.mark.parametrize("rate", [0.003, 0.3, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_counts_flow_as_documented_and_every_point_is_somewhere(rate, seed):
    shells = make_shells(SHELLS, spacing="golden", inner_radius=4.0)
    capacity = N * shells.capacity
    gap = np.diff(shells.edges)
    points, shell = crowd(seed)
    arrays = (jnp.asarray(capacity, jnp.float32), jnp.asarray(gap, jnp.float32))
    after = np.asarray(
        flow(points, jnp.asarray(shell), *arrays, law(osmotic_rate=rate), draw(seed))
    )
    expected = reference_flow(counts(shell), capacity, gap, rate)
    assert expected.sum() == pytest.approx(N)
    assert after.min() >= 0
    assert counts(after).sum() == N
    # points are looked up by bins: chance decides within a bin, and the table has 64 entries per
    # shell
    np.testing.assert_allclose(counts(after), expected, atol=15)
    assert np.abs(expected - counts(shell)).max() > 50


def test_the_flow_keeps_the_order_that_it_finds():
    _, capacity = layout()
    rng = np.random.default_rng(7)
    x = np.sort(rng.gamma(2, 1, N))
    shell = np.minimum(SHELLS * (x - x[0]) / (x[-1] - x[0]), SHELLS - 1).astype(np.int32)
    arrays = (_points(x, None), jnp.asarray(shell), capacity, jnp.ones(SHELLS))
    after = np.asarray(flow(*arrays, law(osmotic_rate=1.0), draw(0)))
    assert deviation(after, capacity) < 0.05 * deviation(shell, capacity)
    assert stats.spearmanr(x, after).statistic > 0.99 * stats.spearmanr(x, np.sort(after)).statistic
    # nobody passes one that was further out, but for a bin
    wrong = np.maximum.accumulate(after) > after
    assert wrong.mean() < 0.1
    assert (np.maximum.accumulate(after) - after).max() <= 1


def test_shells_at_capacity_keep_their_points():
    _, capacity = layout()
    whole = np.round(np.asarray(capacity)).astype(int)
    whole[-1] += N - whole.sum()
    shell = np.repeat(np.arange(SHELLS), whole).astype(np.int32)
    points = _points(np.sort(np.random.default_rng(8).standard_normal(N)), None)
    after = flow(
        points,
        jnp.asarray(shell),
        jnp.asarray(whole, jnp.float32),
        jnp.ones(SHELLS),
        law(osmotic_rate=1.0),
        draw(0),
    )
    assert np.mean(np.asarray(after) != shell) < 0.02


@pytest.mark.parametrize(("seed", "index"), [(0, 0), (0, 1), (7, 3), (2**32 - 1, 39)])
def test_chances_are_uniform_and_unlike_those_of_other_seeds_and_passes(seed, index):
    here = np.asarray(draw(seed, index))
    assert here.min() >= 0
    assert here.max() < 1
    assert stats.kstest(here, "uniform").pvalue > 1e-3
    for other in (draw(seed ^ 1, index), draw(seed, index + 1), draw(seed, index + 2)):
        assert stats.spearmanr(here, np.asarray(other)).pvalue > 1e-3
    assert stats.spearmanr(here[1:], here[:-1]).pvalue > 1e-3


def test_places_are_looked_up_to_within_the_table():
    number = np.array([3.0, 0, 500, 20, 0, 900, 77, 0])
    place = np.random.default_rng(13).uniform(0, 1500, N).astype(np.float32)
    found = np.asarray(look_up(jnp.asarray(np.cumsum(number), jnp.float32), jnp.asarray(place)))
    np.testing.assert_allclose(
        np.bincount(found, minlength=8) / N * 1500, counts_expected(number, place), atol=3
    )
    assert not np.isin(found, [1, 4, 7]).any()


def counts_expected(number: np.ndarray, place: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(np.cumsum(number), place), minlength=8) / N * 1500


def run(
    rules: Preset, shell: np.ndarray, points: Points, capacity: jnp.ndarray, seed: int = 0
) -> tuple[Filling, Tally]:
    start = Filling(jnp.asarray(shell), jnp.asarray(random_directions(N, 0).T))
    return fill(points, start, capacity, jnp.ones(SHELLS), law_of(rules, seed), None, True)


def test_the_best_pass_is_returned_and_more_passes_never_reach_less():
    _, capacity = layout()
    rules = dataclasses.replace(PRESETS["hybrid"], osmotic_rate=0.001, threshold=0.5)
    points, shell = crowd(14)
    reached = [deviation(shell, capacity)]
    for passes in range(7):
        filling, tally = run(dataclasses.replace(rules, passes=passes), shell, points, capacity)
        assert int(tally.passes) <= passes
        assert float(tally.deviation) == pytest.approx(
            deviation(np.asarray(filling.shell), capacity), rel=1e-5
        )
        reached.append(float(tally.deviation))
    assert reached[1] == pytest.approx(reached[0], rel=1e-6)
    assert (np.diff(reached) <= 1e-6).all()
    assert reached[-1] < 0.7 * reached[0]


def test_a_run_that_makes_matters_worse_returns_its_start():
    # the first shell is crowded, but only because its capacity is tiny: what leaves it spoils the
    # small one outside
    capacity = jnp.asarray([1900, 1, 1, 1, 1, 1, 1, 94], jnp.float32)
    shell = np.repeat([0, 7], [1960, 40]).astype(np.int32)
    points = _points(np.sort(np.random.default_rng(15).standard_normal(N)), None)
    rules = Preset(
        start="norm", threshold=0.0, overload_limit=0.0, push=1.0, osmotic_rate=1e-9, passes=1
    )
    filling, tally = run(rules, shell, points, capacity)
    assert int(tally.promotions) > 30
    np.testing.assert_array_equal(filling.shell, shell)
    assert float(tally.deviation) == pytest.approx(deviation(shell, capacity), rel=1e-5)


def test_a_run_ends_as_soon_as_every_shell_is_within_five_per_cent_or_one_point():
    _, capacity = layout()
    whole = np.round(np.asarray(capacity)).astype(int)
    whole[-1] += N - whole.sum()
    points, _ = crowd(16)
    shell = np.repeat(np.arange(SHELLS), whole).astype(np.int32)
    assert int(run(PRESETS["hybrid"], shell, points, capacity)[1].passes) == 0
    moved = shell.copy()
    moved[:20] = SHELLS - 1
    assert np.abs(counts(moved) / np.asarray(capacity) - 1).max() > 0.05
    assert int(run(PRESETS["hybrid"], moved, points, capacity)[1].passes) > 0
