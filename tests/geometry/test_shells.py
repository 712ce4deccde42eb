"""What the shells promise.

Capacities met to within one point, the right density law, and clear refusals.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from sphere_ebm.geometry.shells import (
    SPACINGS,
    Shells,
    assign_shells,
    ideal_radii,
    make_shells,
    minimum_radius,
    occupancy,
    radii_at_ranks,
)


def counts_of(shells: Shells, points: int, order: str = "outer") -> np.ndarray:
    prominence = np.random.default_rng(points).standard_normal(points)
    return occupancy(assign_shells(ideal_radii(prominence, shells, order), shells), shells)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_radii_run_from_the_inner_to_the_outer_radius(spacing):
    shells = make_shells(9, spacing=spacing, inner_radius=4.0, outer_radius=64.0)
    assert shells.radius[0] == 4.0
    assert shells.radius[-1] == 64.0
    assert shells.count == 9
    assert (np.diff(shells.edges) > 0).all()
    assert shells.edges[0] > 0


@pytest.mark.parametrize(
    ("spacing", "middle"), [("linear", 34.0), ("sqrt", 4 + 60 * 0.5**0.5), ("geometric", 16.0)]
)
def test_each_spacing_has_its_own_middle_radius(spacing, middle):
    shells = make_shells(9, spacing=spacing, inner_radius=4.0, outer_radius=64.0)
    assert shells.radius[4] == pytest.approx(middle, rel=1e-6)


GOLDEN = (1 + math.sqrt(5)) / 2
FORMULAS = {
    "golden": [(GOLDEN ** (s / 8) - 1) / (GOLDEN - 1) for s in range(9)],
    "prime-like": [
        (n * math.log(1 + n) - math.log(2)) / (9 * math.log(10) - math.log(2)) for n in range(1, 10)
    ],
    "quadratic": [(s / 8) ** 2 for s in range(9)],
    "logarithmic": [math.log(1 + (math.e - 1) * s / 8) for s in range(9)],
}


@pytest.mark.parametrize("spacing", FORMULAS)
def test_the_other_spacings_follow_their_formulas(spacing):
    shells = make_shells(9, spacing=spacing, inner_radius=4.0, outer_radius=64.0)
    np.testing.assert_allclose(shells.radius, 4 + 60 * np.array(FORMULAS[spacing]), rtol=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_gaps_stay_equal_widen_or_narrow_outwards(spacing):
    gap = np.diff(make_shells(60, spacing=spacing, inner_radius=20.0, outer_radius=200.0).radius)
    bend = {"linear": 0, "sqrt": -1, "logarithmic": -1}.get(spacing, 1)
    assert (np.sign(np.diff(gap)) == bend).all() if bend else np.ptp(gap) < 1e-4
    ratio = {"geometric": 10 ** (58 / 59), "golden": GOLDEN ** (58 / 59)}.get(spacing)
    if ratio:
        assert gap[-1] / gap[0] == pytest.approx(ratio, rel=1e-4)


def test_prime_like_gaps_grow_like_the_logarithm():
    gap = np.diff(
        make_shells(1000, spacing="prime-like", inner_radius=1.0, outer_radius=10_000.0).radius
    )
    middle = np.arange(1, 1000) + 0.5
    np.testing.assert_allclose(
        gap / gap[0], (np.log1p(middle) + middle / (1 + middle)) / gap_at(1.5), rtol=1e-2
    )


def gap_at(n: float) -> float:
    """Derivative of n log(1 + n)."""
    return math.log1p(n) + n / (1 + n)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_shells_are_made_in_every_spacing(spacing, count):
    shells = make_shells(
        count, spacing=spacing, inner_radius=10.0, outer_radius=10.0 if count == 1 else 30.0
    )
    assert shells.radius[0] == 10.0
    assert shells.radius[-1] == (10.0 if count == 1 else 30.0)


@pytest.mark.parametrize(
    ("points", "shells", "radius"),
    [
        (0, 512, 16.0),
        (99_999, 10_000, 25.0),
        (10**5, 512, 32.0),
        (10**7 - 1, 10_000, 50.0),
        (10**7, 512, 64.0),
        (10**9 - 1, 1000, 100.0),
        (10**9, 512, 128.0),
        (10**12, 2000, 250.0),
    ],
)
def test_the_inner_radius_for_data_grows_with_points_and_shells(points, shells, radius):
    assert minimum_radius(points, shells) == radius


def test_defaults_give_unit_gaps_above_the_data_scale():
    shells = make_shells(32)
    np.testing.assert_array_equal(shells.edges, np.arange(15.0, 48.0))
    assert make_shells(10_000).radius[0] == 25.0


def test_capacity_is_a_power_of_the_radius():
    shells = make_shells(20, capacity_exponent=1.5)
    np.testing.assert_allclose(
        shells.capacity / shells.capacity[0], (shells.radius / shells.radius[0]) ** 1.5
    )
    np.testing.assert_allclose(make_shells(20, capacity_exponent=0.0).capacity, 1 / 20)


@given(
    points=st.integers(0, 3000),
    count=st.integers(1, 200),
    spacing=st.sampled_from(sorted(SPACINGS)),
    order=st.sampled_from(["outer", "core"]),
    exponent=st.floats(-3, 4),
)
@settings(max_examples=150, deadline=None)
def test_every_shell_holds_its_capacity_to_within_one_point(
    points, count, spacing, order, exponent
):
    shells = make_shells(count, spacing=spacing, capacity_exponent=exponent)
    counts = counts_of(shells, points, order)
    assert counts.sum() == points
    assert np.abs(counts - points * shells.capacity).max() <= 1 + 1e-9


def test_capacities_hold_where_float32_is_coarser_than_the_points_are_dense():
    shells = make_shells(400, inner_radius=5000.0, outer_radius=5002.0)
    counts = counts_of(shells, 300_000)
    assert np.abs(counts - 300_000 * shells.capacity).max() <= 1 + 1e-9


@pytest.mark.parametrize("spacing", SPACINGS)
def test_counts_are_within_one_point_of_capacity_on_many_shells(spacing):
    shells = make_shells(512, spacing=spacing, inner_radius=16.0, outer_radius=1600.0)
    counts = counts_of(shells, 200_000)
    assert np.abs(counts - 200_000 * shells.capacity).max() <= 1 + 1e-9


def test_density_along_the_radius_goes_like_its_power_and_the_count_within_does_not():
    shells = make_shells(500, inner_radius=1.0, outer_radius=500.0)
    radius = np.sort(ideal_radii(np.arange(1_000_000.0), shells)).astype(np.float64)
    at = np.geomspace(50, 450, 30)
    within = np.searchsorted(radius, at)
    density = np.searchsorted(radius, at + 2) - np.searchsorted(radius, at - 2)
    assert np.polyfit(np.log(at), np.log(density), 1)[0] == pytest.approx(1.5, abs=0.02)
    assert np.polyfit(np.log(at), np.log(within), 1)[0] == pytest.approx(2.5, abs=0.02)


def test_high_prominence_lies_outside_or_in_the_core():
    shells = make_shells(4)
    prominence = np.array([3.0, 1.0, 2.0, 5.0])
    np.testing.assert_array_equal(np.argsort(ideal_radii(prominence, shells)), [1, 2, 0, 3])
    np.testing.assert_array_equal(np.argsort(ideal_radii(prominence, shells, "core")), [3, 0, 2, 1])


@pytest.mark.parametrize("order", ["outer", "core"])
def test_equal_prominence_is_ranked_by_the_seed_and_not_by_index(order):
    prominence = np.arange(1000.0) % 7
    shells = make_shells(8)
    radius = ideal_radii(prominence, shells, order, seed=3)
    np.testing.assert_array_equal(radius, ideal_radii(prominence, shells, order, seed=3))
    assert (radius != ideal_radii(prominence, shells, order, seed=4)).any()
    sign = 1 if order == "outer" else -1
    assert (np.diff(prominence[np.argsort(radius)]) * sign >= 0).all()
    for value in range(7):
        tied = radius[prominence == value]
        # a rank correlation with the index has standard deviation 1 / sqrt(142) = 0.084
        assert abs(spearmanr(tied, np.arange(tied.size)).statistic) < 0.35


def test_a_prominence_without_ties_does_not_depend_on_the_seed():
    prominence = np.random.default_rng(0).standard_normal(500)
    one, other = (ideal_radii(prominence, make_shells(8), seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(one, other)


def test_a_tie_is_broken_by_the_seed_whatever_else_is_tied():
    shells = make_shells(8)
    one = np.append(np.zeros(50), 1 + np.arange(50.0))
    other = np.append(np.zeros(50), 1 + np.arange(50.0) // 2)
    first, second = (ideal_radii(values, shells, seed=6)[:50] for values in (one, other))
    np.testing.assert_array_equal(first, second)
    assert (first != np.sort(first)).any()
    assert (first != ideal_radii(one, shells, seed=7)[:50]).any()


def test_ties_do_not_favour_a_point_over_seeds():
    shells = make_shells(8)
    mean = np.mean([ideal_radii(np.ones(40), shells, seed=seed) for seed in range(400)], axis=0)
    spread = ideal_radii(np.arange(40.0), shells).std()
    assert np.abs(mean - mean.mean()).max() < 4.5 * spread / 20


def test_a_radius_reaches_its_share_of_the_cumulative_capacity():
    shells = Shells(edges=np.array([1.0, 2.0, 4.0]), capacity=np.array([0.25, 0.75]))
    radius = ideal_radii(np.arange(4.0), shells)
    np.testing.assert_allclose(
        radius, [1.5, 2 + 2 * (1 / 6), 2 + 2 * (3 / 6), 2 + 2 * (5 / 6)], rtol=1e-6
    )


def test_no_points_and_one_point_are_placed():
    shells = make_shells(5)
    assert ideal_radii(np.zeros(0), shells).shape == (0,)
    assert occupancy(assign_shells(np.zeros(0), shells), shells).sum() == 0
    lone = ideal_radii(np.zeros(1), shells)
    assert lone.dtype == np.float32
    assert shells.edges[0] < lone[0] <= shells.edges[-1]


def test_a_shell_includes_its_outer_edge_and_not_its_inner_one():
    shells = make_shells(3)
    edge = shells.edges[1]
    radius = np.array([0.0, edge, np.nextafter(np.float32(edge), np.float32(100)), 1e6])
    shell = assign_shells(radius, shells)
    np.testing.assert_array_equal(shell, [0, 0, 1, 2])
    assert shell.dtype == np.int32


def test_a_single_shell_takes_everything():
    shells = make_shells(1)
    np.testing.assert_array_equal(shells.capacity, [1.0])
    np.testing.assert_array_equal(counts_of(shells, 7), [7])


def test_the_first_shell_never_reaches_the_centre():
    assert make_shells(10_000, spacing="sqrt").edges[0] == 12.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "`count` must satisfy count >= 1; got 0"),
        (
            {"spacing": "silver"},
            "`spacing` must be one of linear, sqrt, geometric, golden, .*; got 'silver'",
        ),
        ({"inner_radius": 0.0}, "0 < inner_radius < outer_radius"),
        ({"inner_radius": float("nan")}, "0 < inner_radius < outer_radius"),
        ({"inner_radius": 20.0, "outer_radius": 20.0}, "got 20.0 and 20.0"),
        ({"outer_radius": float("inf")}, "0 < inner_radius < outer_radius"),
        ({"count": 1, "outer_radius": 99.0}, "one shell"),
        (
            {"count": 1000, "inner_radius": 1000.0, "outer_radius": 1000.01},
            "closer than float32 resolves",
        ),
        ({"capacity_exponent": float("nan")}, "`capacity_exponent` must be finite"),
        (
            {"spacing": "geometric", "inner_radius": 1e-3, "capacity_exponent": 500.0},
            "without capacity",
        ),
    ],
)
def test_bad_shells_are_refused_with_the_rule(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_shells(**arguments)


@pytest.mark.parametrize(
    ("edges", "capacity", "message"),
    [
        ([1.0, 2.0], [0.5, 0.5], "one longer"),
        ([2.0, 1.0], [1.0], "strictly increasing"),
        ([0.0, 1.0], [1.0], "positive"),
        ([0.1, 1.0], [1.0], "float32 values"),
        ([1.0, 2.0], [0.9], "sum to 1"),
    ],
)
def test_inconsistent_arrays_do_not_make_shells(edges, capacity, message):
    with pytest.raises(ValueError, match=message):
        Shells(edges=np.array(edges), capacity=np.array(capacity))


def test_values_without_a_place_are_refused():
    shells = make_shells(4)
    with pytest.raises(ValueError, match="`prominence` must be finite"):
        ideal_radii(np.array([1.0, np.nan]), shells)
    with pytest.raises(ValueError, match="`radius` must be finite"):
        assign_shells(np.array([np.nan]), shells)
    with pytest.raises(ValueError, match=r"`shell` must lie in \[0, 3\]; got 0 to 4"):
        occupancy(np.array([0, 4]), shells)


def test_the_radius_at_a_rank_is_the_ideal_one():
    shells = make_shells(5, spacing="quadratic")
    prominence = np.random.default_rng(0).permutation(200)
    np.testing.assert_allclose(
        radii_at_ranks((prominence + 0.5) / 200, shells), ideal_radii(prominence, shells), rtol=1e-6
    )
    np.testing.assert_array_equal(
        radii_at_ranks(np.array([0.0, 1.0]), shells), shells.edges[[0, -1]]
    )
