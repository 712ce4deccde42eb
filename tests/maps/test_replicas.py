"""What replicas say about labels: error bars that are right where the truth is known."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from sphere_ebm.geometry.frames import angles_between
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.maps.replicas import (
    Neighbourhoods,
    Replicated,
    in_frame,
    n_replicas,
    replica_seed,
    uncertainty,
    uncertainty_of_newcomers,
)

POINTS = 400


def sphere(n: int = POINTS, seed: int = 0) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).standard_normal((n, 3))).astype(np.float32)


def moved(direction: np.ndarray, angle: np.ndarray, seed: int) -> np.ndarray:
    """Each direction turned by about its angle (a Rayleigh variate's scale), some way or other."""
    rng = np.random.default_rng(seed)
    step = rng.standard_normal(direction.shape) * (angle / np.sqrt(2))[:, None]
    step -= np.einsum("nc,nc->n", step, direction)[:, None] * direction
    return unit_rows(direction + step).astype(np.float32)


def still(n: int) -> np.ndarray:
    return np.zeros(n, np.float32)


@pytest.mark.parametrize(
    ("asked", "points", "number"),
    [
        *((None, 2, 15), (None, 2_501, 7), (None, 5_001, 3), (None, 20_001, 1)),
        *((0, 9, 0), (4, 9, 4), (4, 1, 0), (None, 0, 0)),
    ],
)
def test_as_many_replicas_as_were_asked_for_or_are_affordable(
    asked: int | None, points: int, number: int
) -> None:
    assert n_replicas(asked, points) == number


def test_seeds_of_replicas_are_their_own() -> None:
    seeds = {replica_seed(seed, number) for seed in range(20) for number in range(1, 20)}
    assert len(seeds) == 20 * 19
    assert not seeds & set(range(100))


def test_a_replica_that_was_turned_and_reflected_comes_back() -> None:
    direction = sphere()
    wandered = direction.copy()
    wandered[:40] = sphere(40, seed=1)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((3, 3)))[0] * [1, 1, -1]
    found = in_frame(direction, (wandered @ turn).astype(np.float32))
    assert angles_between(found[40:], direction[40:]).max() < 1e-3


@pytest.mark.parametrize("replicas", [1, 3, 15])
def test_spreads_that_differ_from_region_to_region_are_found_again(replicas: int) -> None:
    """A map whose points move by angles that depend on where they lie, tested on further runs."""
    direction = sphere(2_000)
    truth = np.radians(5 + 5 * (direction[:, 2] + 1) ** 2)
    runs = np.stack([moved(direction, truth, 50 + seed) for seed in range(replicas)])
    stated = uncertainty(direction, runs, still(2_000)).angle_std.astype(np.float64)
    tests = [angles_between(direction, moved(direction, truth, 100 + i)) ** 2 for i in range(20)]
    found = np.sqrt(np.mean(tests, axis=0))
    assert spearmanr(stated, found).statistic > (0.6 if replicas == 1 else 0.8)
    tenths = np.array_split(np.argsort(stated), 10)
    ratios = [np.sqrt(np.mean(found[t] ** 2) / np.mean(stated[t] ** 2)) for t in tenths]
    bounds = (0.55, 1.25) if replicas == 1 else (0.7, 1.15)
    assert bounds[0] < min(ratios)
    assert max(ratios) < bounds[1]
    assert np.sqrt(np.mean(found**2) / np.mean(stated**2)) == pytest.approx(1, abs=0.1)


def test_the_thermal_spread_is_a_lower_bound() -> None:
    direction = sphere()
    thermal = np.linspace(0.01, 1, POINTS).astype(np.float32)
    found = uncertainty(direction, np.stack([direction] * 3), thermal)
    np.testing.assert_array_equal(found.angle_std, thermal)


def test_without_replicas_nothing_but_the_thermal_spread_is_known() -> None:
    thermal = np.full(POINTS, 0.1, np.float32)
    found = uncertainty(sphere(), np.zeros((0, POINTS, 3), np.float32), thermal)
    np.testing.assert_array_equal(found.angle_std, thermal)
    assert found.modes is None
    assert found.mode_weight is None


def test_points_that_gather_in_two_places_have_two_modes() -> None:
    direction = sphere()
    there = unit_rows(np.cross(direction, [0.3, -0.5, 0.8])).astype(np.float32)
    runs = np.stack([moved(direction, np.full(POINTS, 0.02), seed) for seed in range(7)])
    runs[:3, :100] = there[:100]  # three of seven replicas put the first hundred elsewhere
    runs[0, 100:200] = there[100:200]  # one alone is no gathering
    found = uncertainty(direction, runs, still(POINTS))
    assert found.modes is not None
    assert found.mode_weight is not None
    np.testing.assert_array_equal(found.modes[:, 0], direction)
    assert angles_between(found.modes[:100, 1], there[:100]).max() < 1e-3
    np.testing.assert_array_equal(found.modes[100:, 1], direction[100:])
    np.testing.assert_allclose(found.mode_weight[:100], [[4.25 / 8, 2.25 / 8]] * 100)
    np.testing.assert_allclose(found.mode_weight[100:200], [[6.25 / 8, 0]] * 100)
    np.testing.assert_allclose(found.mode_weight[200:], [[7.25 / 8, 0]] * 200)


def test_weights_of_modes_are_no_promise_that_further_runs_break() -> None:
    """Points that choose one of two places, each with its own probability."""
    rng = np.random.default_rng(5)
    direction = sphere(3_000)
    there = unit_rows(np.cross(direction, [0.3, -0.5, 0.8])).astype(np.float32)
    leaves = rng.random(3_000)

    def run() -> np.ndarray:
        chosen = np.where((rng.random(3_000) < leaves)[:, None], there, direction)
        wild = rng.random(3_000) < 0.2
        chosen[wild] = sphere(3_000, seed=int(rng.integers(1 << 30)))[wild]
        return moved(chosen.astype(np.float32), np.full(3_000, 0.02), int(rng.integers(1 << 30)))

    found = uncertainty(direction, np.stack([run() for _ in range(7)]), still(3_000))
    assert found.modes is not None
    assert found.mode_weight is not None
    two = found.mode_weight[:, 1] > 0
    assert 0.4 < two.mean() < 1
    near = np.zeros(int(two.sum()))
    for _ in range(10):
        place = run()[two]
        apart = [angles_between(found.modes[two, mode], place) for mode in (0, 1)]
        near += (np.minimum(*apart) < np.radians(10)) / 10
    stated = found.mode_weight[two].sum(axis=1)
    assert stated.mean() <= near.mean() <= stated.mean() + 0.2
    assert spearmanr(found.mode_weight[two, 1], leaves[two]).statistic > 0.6


def neighbourhoods(new: np.ndarray, fitted: np.ndarray, k: int = 6) -> Neighbourhoods:
    index = np.argsort(-new @ fitted.T, axis=1)[:, :k]
    return Neighbourhoods(index, np.full(index.shape, 2 / k))


@pytest.mark.parametrize("kernel", ["cauchy", "gaussian", "harmonic"])
def test_newcomers_move_with_their_neighbours(kernel: str) -> None:
    fitted = sphere(1_500)
    new = sphere(200, seed=9)
    axis = np.array([0.0, 0.0, 1.0])
    north = fitted[:, 2] > 0.4
    turn = np.radians(40)
    c = np.cos(turn)
    s = np.sin(turn)
    turned = fitted @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T
    runs = np.stack([np.where(north[:, None], turned, fitted)] * 3).astype(np.float32)
    own = uncertainty(fitted, runs, still(1_500))
    found = uncertainty_of_newcomers(
        new,
        still(200),
        neighbourhoods(new, fitted),
        Replicated(fitted, runs, own.angle_std),
        6.0,
        kernel,
    )
    inside = new @ axis > 0.6
    outside = new @ axis < 0.1
    truth = angles_between(new, new @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T)
    ratio = found.angle_std[inside] / truth[inside]
    assert np.median(ratio) == pytest.approx(1, abs=0.12)
    assert np.median(found.angle_std[outside]) < 0.6 * np.median(found.angle_std[inside])
    assert found.modes is not None
    assert found.mode_weight is not None
    far = inside & (truth > np.radians(25))
    assert (found.mode_weight[far, 1] > 0).mean() > 0.9


def test_newcomers_without_neighbours_are_as_unsure_as_the_map_in_the_mean() -> None:
    fitted = sphere(50)
    spread = np.full(50, 0.3, np.float32)
    nobody = Neighbourhoods(np.full((2, 3), -1), np.zeros((2, 3)))
    runs = Replicated(fitted, np.stack([fitted] * 3), spread)
    found = uncertainty_of_newcomers(sphere(2), still(2), nobody, runs, 5.0, "cauchy")
    np.testing.assert_allclose(found.angle_std, 0.3, rtol=1e-6)
    assert found.mode_weight is not None
    np.testing.assert_allclose(found.mode_weight, [[0.0625, 0]] * 2)
    alone = uncertainty_of_newcomers(
        sphere(2), still(2), nobody, Replicated(fitted, None, spread), 5.0, "cauchy"
    )
    np.testing.assert_allclose(alone.angle_std, 0.3, rtol=1e-6)
    assert alone.modes is None


def test_neither_order_nor_company_of_newcomers_changes_a_bit() -> None:
    fitted = sphere(100)
    new = sphere(30, seed=4)
    runs = np.stack([moved(fitted, np.full(100, 0.3), seed) for seed in range(3)])
    state = Replicated(fitted, runs, np.full(100, 0.2, np.float32))
    drawn = neighbourhoods(new, fitted)

    def found(rows: slice) -> np.ndarray:
        part = Neighbourhoods(drawn.nearest[rows], drawn.weight[rows])
        return uncertainty_of_newcomers(
            new[rows], still(len(new[rows])), part, state, 4.0, "cauchy"
        ).angle_std

    assert found(slice(None)).tobytes() == found(slice(None, None, -1))[::-1].tobytes()
    assert found(slice(None))[:7].tobytes() == found(slice(7)).tobytes()
