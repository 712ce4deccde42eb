"""The lateral search against NumPy: who turns, whereto, and what it is good for."""

import math
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from sphere_ebm.filling.lateral_search import (
    LateralPlan,
    _cell,
    _harmonic_gradients,
    _step,
    _turn,
    lateral_search,
)
from sphere_ebm.maps.starts import random_directions

N = 2000
SHELLS = 8
WIDE = LateralPlan(shells=SHELLS, groups=2, rows=3, searching=N)
CELLS = 2 * WIDE.rows**2
ARC = math.sqrt(4 * math.pi / CELLS)

search = eqx.filter_jit(lateral_search)
turn = eqx.filter_jit(_turn)


class Crowd(NamedTuple):
    """Four kinds of points all over the sphere, one row each."""

    kind: np.ndarray
    feature: np.ndarray
    shell: np.ndarray
    direction: np.ndarray

    def search(
        self, wanted: np.ndarray, threshold: float = 0.1, plan: LateralPlan = WIDE
    ) -> "Found":
        arrays = [jnp.asarray(x) for x in (self.feature.T, self.shell, self.direction.T, wanted)]
        leaves, direction, turned = search(*arrays, jnp.asarray(threshold, jnp.float32), plan)
        return Found(wanted, np.asarray(leaves), np.asarray(direction).T, int(turned))


class Found(NamedTuple):
    wanted: np.ndarray
    leaves: np.ndarray
    direction: np.ndarray
    turned: int


@pytest.fixture(scope="module")
def crowd() -> Crowd:
    rng = np.random.default_rng(9)
    kind = rng.integers(0, 4, N)
    angle = kind * np.pi / 2 + 0.3 * rng.standard_normal(N)
    feature = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    return Crowd(
        kind, feature, rng.integers(0, SHELLS, N).astype(np.int32), random_directions(N, 9)
    )


@pytest.fixture(scope="module")
def found(crowd: Crowd) -> Found:
    return crowd.search(np.random.default_rng(10).random(N) < 0.5)


def azimuth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.arctan2(y, x) / (2 * np.pi)) % 1.0


def cells_of(direction: np.ndarray) -> np.ndarray:
    """Equal bands of height, each cut into 2 `rows` equal angles."""
    band = np.minimum((direction[:, 2] + 1) / 2 * WIDE.rows, WIDE.rows - 1).astype(int)
    part = np.minimum(
        azimuth(direction[:, 0], direction[:, 1]) * 2 * WIDE.rows, 2 * WIDE.rows - 1
    ).astype(int)
    return band * 2 * WIDE.rows + part


GRADIENTS = [
    lambda u: np.stack([u[:, 1], u[:, 0], 0 * u[:, 0]], 1),
    lambda u: np.stack([0 * u[:, 0], u[:, 2], u[:, 1]], 1),
    lambda u: np.stack([u[:, 2], 0 * u[:, 0], u[:, 0]], 1),
    lambda u: u * [2, -2, 0],
    lambda u: u * [-2, -2, 4],
    *(lambda u, a=a: np.broadcast_to(np.eye(3)[a], u.shape) for a in range(3)),
]
"""Of xy, yz, xz, x² - y², 2 z² - x² - y², x, y and z."""


def walk(direction: np.ndarray, gradient: np.ndarray, length: float) -> np.ndarray:
    tangent = gradient - (gradient * direction).sum(1, keepdims=True) * direction
    tangent = tangent / np.linalg.norm(tangent, axis=1, keepdims=True)
    return np.cos(length) * direction + np.sin(length) * tangent


def scores(crowd: Crowd, there: np.ndarray, *, at_home: bool = False) -> np.ndarray:
    """Mean similarity of each point to the others in the cell of `there`, less half of that cell's
    density.
    """
    group = np.where(crowd.shell < SHELLS // 2, 0, CELLS)
    cell = group + cells_of(crowd.direction)
    count = np.bincount(cell, minlength=2 * CELLS).astype(float)
    feature = crowd.feature.astype(np.float64)
    total = np.stack([np.bincount(cell, column, 2 * CELLS) for column in feature.T], axis=1)
    usual = np.where(group == 0, count[:CELLS].mean(), count[CELLS:].mean())
    key = group + cells_of(there)
    others = count[key] - at_home
    near = (feature * (total[key] - at_home * feature)).sum(1)
    return near / np.maximum(others, 1) - 0.5 * others / usual


def test_who_finds_a_better_direction_stays_and_the_others_leave(
    crowd: Crowd, found: Found
) -> None:
    changed = (found.direction != crowd.direction).any(axis=1)
    assert 0.1 * found.wanted.sum() < found.turned < 0.9 * found.wanted.sum()
    assert changed.sum() == found.turned
    np.testing.assert_array_equal(found.wanted & ~found.leaves, changed)
    assert not (found.leaves & ~found.wanted).any()


def test_directions_stay_unit(found: Found) -> None:
    np.testing.assert_allclose(np.linalg.norm(found.direction, axis=1), 1, atol=1e-6)


def test_directions_stay_unit_where_a_gradient_almost_vanishes() -> None:
    tilt = np.geomspace(1e-8, 1e-2, 400).astype(np.float32)
    poles = jnp.asarray(
        np.stack([tilt, tilt * np.float32(0.7), np.sqrt(1 - tilt**2 * np.float32(1.49))])
    )
    for form in _harmonic_gradients():
        stepped = np.asarray(_step(poles, form, ARC), np.float64)
        np.testing.assert_allclose(np.linalg.norm(stepped, axis=0), 1, atol=1e-6)


def test_a_point_turns_to_the_best_of_sixteen_directions_and_only_for_a_gain(
    crowd: Crowd, found: Found
) -> None:
    old = crowd.direction.astype(np.float64)
    tried = [walk(old, sign * gradient(old), ARC) for gradient in GRADIENTS for sign in (1, -1)]
    home = scores(crowd, old, at_home=True)
    gain = np.stack([scores(crowd, there) for there in tried]).max(axis=0) - home
    turned = found.wanted & ~found.leaves
    # directions on the border of a cell may count to either side
    assert np.mean((gain > 0.1)[found.wanted] == turned[found.wanted]) > 0.995
    reached = (scores(crowd, found.direction) - home)[turned]
    assert np.mean(reached > 0.1) > 0.995
    np.testing.assert_allclose(np.quantile(reached - gain[turned], [0.005, 0.995]), 0, atol=1e-4)
    away = np.arccos(np.clip((found.direction[turned] * old[turned]).sum(1), -1, 1))
    np.testing.assert_allclose(away, ARC, atol=1e-3)


def test_a_higher_threshold_of_gain_turns_fewer_points(crowd: Crowd, found: Found) -> None:
    turned = [crowd.search(found.wanted, threshold).turned for threshold in (0.0, 0.1, 0.5, 9.0)]
    assert turned[0] > turned[1] > turned[2] > turned[3] == 0


def test_those_with_the_lowest_index_search_and_the_others_wait(crowd: Crowd, found: Found) -> None:
    few = crowd.search(found.wanted, plan=WIDE._replace(searching=300))
    allowed = found.wanted & (np.cumsum(found.wanted) <= 300)
    changed = (few.direction != crowd.direction).any(axis=1)
    np.testing.assert_array_equal(few.leaves, found.leaves & allowed)
    np.testing.assert_array_equal(
        few.direction, np.where(allowed[:, None], found.direction, crowd.direction)
    )
    assert few.turned == changed.sum() > 30


def alike(crowd: Crowd, direction: np.ndarray) -> float:
    """Share of pairs in one cell that are of one kind."""
    table = np.zeros((CELLS, 4))
    np.add.at(table, (cells_of(direction), crowd.kind), 1)
    held = table.sum(axis=1)
    return float((table * (table - 1)).sum() / (held * (held - 1)).sum())


def test_searching_gathers_alike_points_and_random_turns_do_not(crowd: Crowd) -> None:
    now = crowd
    chosen = crowd.direction.astype(np.float64)
    rng = np.random.default_rng(11)
    for _ in range(8):
        found = now.search(np.ones(N, bool))
        now = now._replace(direction=found.direction)
        moving = rng.permutation(N)[: found.turned]
        chosen[moving] = walk(chosen[moving], rng.standard_normal((len(moving), 3)), ARC)
    # four kinds in equal parts: a quarter of the pairs
    assert alike(crowd, crowd.direction) == pytest.approx(0.25, abs=0.02)
    assert alike(crowd, chosen) == pytest.approx(0.25, abs=0.02)
    assert alike(crowd, now.direction) > 0.4


def test_the_azimuth_is_that_of_the_arc_tangent_to_two_parts_in_100_000() -> None:
    angle = np.concatenate([np.linspace(0, 2 * np.pi, 40_000), np.arange(9) * np.pi / 4])
    scale = np.resize([1e-6, 1.0, 1e6], angle.size)
    x = (scale * np.cos(angle)).astype(np.float32)
    y = (scale * np.sin(angle)).astype(np.float32)
    got = np.asarray(turn(jnp.asarray(x), jnp.asarray(y)), np.float64)
    off = np.abs(got - azimuth(x.astype(np.float64), y.astype(np.float64)))
    assert np.minimum(off, 1 - off).max() < 2e-5
    assert got.min() >= 0
    assert got.max() <= 1


@pytest.mark.parametrize(
    ("tilt", "passes"), [(0.0, True), (0.05, False)]
)  # the second is the power check
def test_cells_have_equal_areas(tilt: float, passes: bool) -> None:
    direction = random_directions(200_000, 12) + np.array([0, tilt, tilt], np.float32)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    held = np.bincount(np.asarray(_cell(jnp.asarray(direction.T), 5)))
    assert held.size == 50
    assert (stats.chisquare(held).pvalue > 1e-3) == passes


def test_poles_and_the_seam_have_cells_too() -> None:
    ends = [[0, 0, 1], [0, 0, -1], [1, 0, 0], [1, -1e-20, 0], [1, -0.0, 0], [-1, 0, 0], [0, -1, 0]]
    cell = np.asarray(_cell(jnp.asarray(ends, jnp.float32).T, 3))
    np.testing.assert_array_equal(cell // 6, [2, 0, 1, 1, 1, 1, 1])
    assert cell.max() < 18


def test_the_plan_bounds_its_tables_by_the_number_of_points() -> None:
    for n in (1, 100, 10**4, 10**6, 10**9):
        plan = LateralPlan.of(n, 512)
        assert 1 <= plan.groups <= plan.shells == 512
        assert plan.groups == 1 or plan.groups * 2 * plan.rows**2 * 16 <= n
        assert 1 <= plan.searching <= n
