"""Langevin placements are better maps than every heuristic, by one Hamiltonian and one report of
quality.
"""

import dataclasses

import numpy as np
import pytest

from builders import cloud
from sphere_ebm import PlacementConfig, place
from sphere_ebm.filling.presets import PRESETS
from sphere_ebm.heuristics.compare import METHODS, Compared, compare

LANGEVIN = ("langevin-random", "langevin-pca", "langevin-water")
HEURISTICS = tuple(name for name in METHODS if name not in LANGEVIN)


QUICK = PlacementConfig(steps=20, average=10, neighbours=5, shells=4)


def test_every_method_is_there_in_order(compared: dict[str, Compared]) -> None:
    assert tuple(compared) == tuple(METHODS)
    assert set(PRESETS) < set(METHODS)


def test_replicas_are_run_only_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int | None] = []
    pca = METHODS["pca"]
    monkeypatch.setitem(METHODS, "pca", lambda e, p, c: asked.append(c.replicas) or pca(e, p, c))
    rows = np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32)
    for replicas in (None, 0, 2):
        compare(rows, config=dataclasses.replace(QUICK, replicas=replicas), methods=["pca"])
    assert asked == [0, 0, 2]


@pytest.mark.parametrize("langevin", LANGEVIN)
@pytest.mark.parametrize("heuristic", HEURISTICS)
def test_langevin_ends_lower_in_energy_than_every_heuristic(
    compared: dict[str, Compared], langevin: str, heuristic: str
) -> None:
    assert compared[langevin].total_energy < compared[heuristic].total_energy


@pytest.mark.parametrize("langevin", LANGEVIN)
@pytest.mark.parametrize("heuristic", HEURISTICS)
def test_langevin_keeps_more_neighbours_than_every_heuristic(
    compared: dict[str, Compared], langevin: str, heuristic: str
) -> None:
    assert compared[langevin].quality.recall[15] > 2 * compared[heuristic].quality.recall[15]
    assert (
        compared[langevin].quality.trustworthiness[15]
        > compared[heuristic].quality.trustworthiness[15]
    )


@pytest.mark.parametrize("start", ["langevin-pca", "langevin-water"])
def test_a_heuristic_start_does_not_end_worse_than_a_random_one(
    compared: dict[str, Compared], start: str
) -> None:
    # .02: the spread of H / N over seeds of one start, on this document
    assert compared[start].total_energy < compared["langevin-random"].total_energy + 0.02
    assert (
        compared[start].quality.recall[15] > compared["langevin-random"].quality.recall[15] - 0.02
    )


def test_the_exact_sort_meets_the_capacities_and_orders_prominence(
    compared: dict[str, Compared],
) -> None:
    report = compared["capacity-sort"].quality
    assert report.shell_deviation is not None
    assert report.shell_deviation.max_points < 1
    assert report.prominence_spearman == pytest.approx(1, abs=1e-6)
    assert compared["capacity-sort"].energy["gravity"] < 1e-6


def test_no_heuristic_ends_further_from_the_capacities_than_its_start(
    compared: dict[str, Compared],
) -> None:
    for name in PRESETS:
        info = compared[name].placement.info
        assert info["deviation"] <= info["start_deviation"] * (1 + 1e-6)


def test_random_placements_know_nothing(compared: dict[str, Compared]) -> None:
    one = compared["random"]
    assert one.quality.recall[15] == pytest.approx(15 / (len(one.placement) - 1), abs=0.01)
    assert abs(one.quality.prominence_spearman or 1) < 0.15
    assert one.placement.method == "random"


def test_all_methods_share_one_set_of_shells(compared: dict[str, Compared]) -> None:
    edges = {one.placement.shells.edges.tobytes() for one in compared.values()}
    assert len(edges) == 1


def test_the_energy_of_a_langevin_placement_is_the_one_it_reports() -> None:
    cold = dataclasses.replace(
        QUICK, temperature_start=0.0, temperature_end=0.0, step_size=0.05, friction=5.0
    )
    (one,) = compare(cloud(80, 6), config=cold, methods=["langevin-pca"])
    # of one configuration, not of a mean: nothing moves any more within the average when steps are
    # this small
    reported = sum(values[-1] for values in one.placement.energy.values()) / len(one.placement)
    assert one.total_energy == pytest.approx(reported, abs=0.05)


def test_a_langevin_row_is_the_placement_that_place_makes() -> None:
    data = cloud(80, 6)
    (one,) = compare(data, config=QUICK, methods=["langevin-pca"])
    alone = place(data, config=dataclasses.replace(QUICK, inner_radius=16.0))
    np.testing.assert_array_equal(one.placement.direction, alone.direction)
    np.testing.assert_array_equal(one.placement.radius, alone.radius)


def test_methods_run_alone_and_tell_of_their_progress() -> None:
    told: list[tuple[str, int, int]] = []
    found = compare(
        cloud(80, 6), config=QUICK, methods=["pca", "random"], progress=lambda *at: told.append(at)
    )
    assert [one.method for one in found] == ["pca", "random"]
    assert told == [("placing", 0, 2), ("placing", 1, 2), ("placing", 2, 2)]
    assert all(one.seconds > 0 for one in found)


def test_a_row_holds_every_measure_that_is_defined() -> None:
    (one,) = compare(cloud(2, 6), config=QUICK, methods=["capacity-sort"])
    row = one.row()
    assert "recall@15" not in row, "two points have no neighbours to compare"
    assert {"energy", "energy gravity", "shell deviation", "seconds"} <= set(row)


def test_unknown_methods_and_single_points_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`methods` must be of random, pca, .*; got 'umap'"):
        compare(cloud(80, 6), methods=["pca", "umap"])
    with pytest.raises(ValueError, match=r"at least 2 points .* got 1"):
        compare(cloud(1, 6))
