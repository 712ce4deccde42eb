"""The exact answer to what water-filling approaches."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from filling_cases import eight_shells, held_by_shell, overload_of, prominences
from sphere_ebm.geometry.shells import ideal_radii, minimum_radius
from sphere_ebm.heuristics.water_filling import capacity_sort

N = 1000
SHELLS = 8


@pytest.mark.parametrize("order", ["outer", "core"])
@pytest.mark.parametrize("exponent", [0.0, 1.5, 3.0])
def test_the_capacity_sort_meets_every_capacity_and_orders_the_prominence(
    order: str, exponent: float
) -> None:
    settings = eight_shells(radius_order=order, capacity_exponent=exponent, seed=2)
    for kind, values in prominences().items():
        placed = capacity_sort(prominence=values, config=settings)
        assert np.abs(held_by_shell(placed) - N * placed.shells.capacity).max() <= 1
        assert placed.converged
        assert placed.info["deviation"] == pytest.approx(
            np.abs(overload_of(held_by_shell(placed), placed)).mean()
        )
        signed = values if order == "outer" else -values
        assert (np.diff(signed[np.argsort(placed.radius, kind="stable")]) >= 0).all()
        np.testing.assert_array_equal(
            placed.radius, ideal_radii(values, placed.shells, order, seed=2)
        )
        assert placed.method == "capacity sort"
        assert kind == "constant" or spearmanr(signed, placed.radius).statistic > 0.97


@pytest.mark.parametrize("points", [0, 1, 3])
def test_the_capacity_sort_takes_few_points(points: int) -> None:
    placed = capacity_sort(prominence=np.arange(points), config=eight_shells())
    assert len(placed) == points
    assert placed.converged


def test_the_inner_radius_follows_the_number_of_points_unless_a_radius_is_given() -> None:
    many = np.arange(100_000.0)
    for changes, inner in (
        ({}, minimum_radius(100_000, SHELLS)),
        ({"inner_radius": 5.0}, 5.0),
        ({"outer_radius": 99.0}, 16.0),
    ):
        placed = capacity_sort(prominence=many, config=eight_shells(**changes))
        assert placed.shells.radius[0] == inner
        assert placed.radius.max() == pytest.approx(placed.shells.edges[-1], abs=1e-2)
    assert minimum_radius(100_000, SHELLS) == 32
