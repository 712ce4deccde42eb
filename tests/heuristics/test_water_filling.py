"""Whole runs of water-filling.

Nearer to capacity than they start, honest about it, and the same for the same seed.
"""

import dataclasses
import sys
from typing import Any

import equinox as eqx
import numpy as np
import pytest
from scipy.stats import spearmanr

from filling_cases import eight_shells, held_by_shell, overload_of, prominences, same_bits
from sphere_ebm import Placement
from sphere_ebm.filling.engine import fill
from sphere_ebm.filling.presets import PRESETS, Preset
from sphere_ebm.heuristics.water_filling import water_filling
from sphere_ebm.maps.starts import pca_directions, random_directions

N = 1000
SHELLS = 8
ORDERS = ("outer", "core")
EXPONENTS = (0.0, 1.5, 3.0)
LATERAL = [name for name, preset in PRESETS.items() if preset.lateral]
OSMOTIC = [name for name, preset in PRESETS.items() if preset.osmotic_rate > 0]
Key = tuple[str, str, str, float]


@pytest.fixture(scope="module")
def runs() -> dict[Key, Placement]:
    """Every preset on every data set, with both orders and three capacity laws."""
    return {
        (name, kind, order, exponent): water_filling(
            prominence=values,
            config=eight_shells(radius_order=order, capacity_exponent=exponent),
            preset=name,
        )
        for name in PRESETS
        for kind, values in prominences().items()
        for order in ORDERS
        for exponent in EXPONENTS
    }


def test_no_run_ends_further_from_capacity_than_it_starts(runs: dict[Key, Placement]) -> None:
    worse = [
        key
        for key, placed in runs.items()
        if placed.info["deviation"] > placed.info["start_deviation"]
    ]
    assert worse == []
    for name in PRESETS:
        better = [
            k
            for k, placed in runs.items()
            if placed.info["deviation"] < 0.9 * placed.info["start_deviation"]
        ]
        assert [key for key in better if key[0] == name], "some runs gain"


def test_a_run_is_converged_when_every_shell_is_within_five_per_cent_or_one_point(
    runs: dict[Key, Placement],
) -> None:
    outcomes = []
    for placed in runs.values():
        wanted = N * placed.shells.capacity
        off = np.abs(held_by_shell(placed) - wanted)
        assert placed.converged == bool(((off <= 1) | (off <= 0.05 * wanted)).all())
        outcomes.append(placed.converged)
    assert 0.2 < np.mean(outcomes) < 0.9


def test_osmotic_presets_converge_whatever_the_data(runs: dict[Key, Placement]) -> None:
    assert OSMOTIC == ["osmotic", "hybrid", "lateral_jit"]
    assert [key for key, placed in runs.items() if key[0] in OSMOTIC and not placed.converged] == []


def test_the_info_tells_what_the_radii_show(runs: dict[Key, Placement]) -> None:
    for placed in runs.values():
        load = overload_of(held_by_shell(placed), placed)
        assert placed.info["deviation"] == pytest.approx(np.abs(load).mean(), rel=1e-12)
        over = load[load > 0]
        assert placed.info["overload_mean"] == pytest.approx(
            over.mean() if over.size else 0, rel=1e-12
        )
        assert placed.info["overload_max"] == pytest.approx(max(load.max(), 0), rel=1e-12)
        np.testing.assert_array_equal(
            placed.shell, np.searchsorted(placed.shells.radius, placed.radius)
        )
        assert held_by_shell(placed).sum() == N


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", prominences())
def test_the_start_is_linear_in_the_prominence_or_in_its_rank(
    runs: dict[Key, Placement], kind: str, order: str
) -> None:
    signed = prominences()[kind] * (1 if order == "outer" else -1)
    reach = np.ptp(signed)
    share = {
        "norm": (signed - signed.min()) / reach if reach else np.full(N, 0.5),
        "rank": np.arange(N) / (N - 1),
    }
    for name, preset in PRESETS.items():
        # shells have unit gaps, and share 0 lies in the first; without variances the information
        # score is the norm
        first = (
            np.ceil(share["rank" if preset.start == "rank" else "norm"] * SHELLS).astype(int) - 1
        )
        held = np.bincount(np.maximum(first, 0), minlength=SHELLS)
        for exponent in EXPONENTS:
            placed = runs[name, kind, order, exponent]
            expected = np.abs(overload_of(held, placed)).mean()
            assert placed.info["start_deviation"] == pytest.approx(expected, rel=1e-12)


def test_the_information_start_weighs_the_norm_with_the_variance(embeddings, unit_variance) -> None:
    norm = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    score = norm * (1 + unit_variance)
    for values, variance in ((score, unit_variance), (norm, np.zeros(N))):
        placed = water_filling(
            prominence=norm, variance=variance, config=eight_shells(), preset="production"
        )
        share = (values - values.min()) / np.ptp(values)
        held = np.bincount(np.maximum(np.ceil(share * SHELLS).astype(int) - 1, 0), minlength=SHELLS)
        assert placed.info["start_deviation"] == pytest.approx(
            np.abs(overload_of(held, placed)).mean(), rel=1e-12
        )


def test_counters_agree_with_each_other_and_with_the_rules(runs: dict[Key, Placement]) -> None:
    for (name, *_), placed in runs.items():
        info = placed.info
        preset = PRESETS[name]
        assert 0 <= info["passes"] <= preset.passes
        tried = info["lateral_moves"] + info["promotions"]
        assert info["lateral_share"] == (info["lateral_moves"] / tried if tried else 0)
        assert preset.lateral or info["lateral_moves"] == 0
        assert preset.osmotic_rate > 0 or info["osmotic_moves"] == 0
        assert placed.method == f"water-filling: {name}"
        # The order is in the bytes of a saved placement.
        assert " ".join(info) == (
            "passes promotions lateral_moves lateral_share osmotic_moves start_deviation deviation"
            " overload_mean overload_max"
        )
    assert {name for (name, *_), placed in runs.items() if placed.info["lateral_moves"]} == set(
        LATERAL
    )
    assert {name for (name, *_), placed in runs.items() if placed.info["osmotic_moves"]} == set(
        OSMOTIC
    )
    assert {name for (name, *_), placed in runs.items() if placed.info["promotions"]} == set(
        PRESETS
    ) - {"osmotic"}


@pytest.mark.parametrize("order", ORDERS)
def test_osmotic_flow_keeps_the_order_of_the_prominence(
    runs: dict[Key, Placement], order: str
) -> None:
    sign = 1 if order == "outer" else -1
    # where outliers stretch the bins (`heavy`), chance orders what shares one
    for kind in ("gamma", "normal"):
        placed = runs["osmotic", kind, order, 1.5]
        assert placed.info["deviation"] < 0.05 * placed.info["start_deviation"]
        assert sign * spearmanr(prominences()[kind], placed.shell).statistic > 0.97


def test_directions_are_unit_and_only_a_lateral_search_turns_them(
    runs: dict[Key, Placement],
) -> None:
    start = random_directions(N, 0)
    for (name, *_), placed in runs.items():
        np.testing.assert_allclose(np.linalg.norm(placed.direction, axis=1), 1, atol=2e-6)
        turned = int((placed.direction != start).any(axis=1).sum())
        assert turned <= placed.info["lateral_moves"]
        assert (turned > 0) <= (name in LATERAL)
    assert (runs["lateral_jit", "gamma", "outer", 1.5].direction != start).any()


def test_a_threshold_of_093_of_the_mean_promotes_nobody_by_ordinary_norms(
    runs: dict[Key, Placement],
) -> None:
    ordinary = np.linalg.norm(np.random.default_rng(2).standard_normal((N, 64)), axis=1)
    placed = water_filling(prominence=ordinary, config=eight_shells(), preset="lateral")
    for still in (placed, runs["lateral", "gamma", "outer", 1.5]):
        assert still.info["promotions"] == still.info["lateral_moves"] == 0
        assert still.info["deviation"] == still.info["start_deviation"] > 0.3
    assert runs["lateral", "heavy", "outer", 1.5].info["promotions"] > 100


@pytest.mark.parametrize(
    ("points", "shells", "names"),
    [
        (1, 1, ["lateral_jit"]),
        (2, 8, ["v1", "prominence", "production"]),
        (5, 8, ["v1", "prominence", "production", "lateral_jit"]),
        (20, 1, ["production"]),
    ],
)
def test_few_points_and_a_single_shell_are_filled_too(
    points: int, shells: int, names: list[str]
) -> None:
    prominence = np.random.default_rng(3).gamma(2, 1, points)
    for name in names:
        placed = water_filling(
            prominence=prominence, config=eight_shells(shells=shells), preset=name
        )
        assert len(placed) == points == held_by_shell(placed).sum()
        np.testing.assert_allclose(np.linalg.norm(placed.direction, axis=1), 1, atol=1e-6)
        assert placed.info["deviation"] <= placed.info["start_deviation"]
        off = np.abs(held_by_shell(placed) - points * placed.shells.capacity)
        assert placed.converged == bool((off <= 1).all())


@pytest.mark.parametrize("name", PRESETS)
def test_no_points_make_an_empty_map(name: str) -> None:
    for arguments in (
        {"prominence": []},
        {"embeddings": np.zeros((0, 4))},
        {"embeddings": np.zeros((0, 0))},
    ):
        placed = water_filling(**arguments, config=eight_shells(), preset=name)
        assert len(placed) == 0
        assert placed.direction.shape == (0, 3)
        assert placed.info == {}
        assert placed.converged


@pytest.mark.parametrize("name", ["production", "lateral_jit"])
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(name: str) -> None:
    prominence = prominences()["gamma"]
    start = random_directions(N, 4)
    one, again, other = (
        water_filling(
            prominence=prominence, config=eight_shells(seed=seed), preset=name, start=start
        )
        for seed in (5, 5, 2**32 - 1)
    )
    assert same_bits(one, again)
    assert one.info == again.info
    assert (one.shell != other.shell).any()


def test_calls_of_one_shape_compile_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = eqx.filter_jit(eqx.debug.assert_max_traces(fill.__wrapped__, max_traces=1))
    monkeypatch.setattr(sys.modules["sphere_ebm.filling.pour"], "fill", counted)
    for seed, (kind, values) in enumerate(prominences().items()):
        name = ("v1", "production", "prominence")[seed % 3]
        changes: dict[str, Any] = {
            "seed": seed,
            "capacity_exponent": 0.5 * seed,
            "radius_order": ORDERS[seed % 2],
        }
        spacing = {"shell_spacing": "golden"} if kind == "gamma" else {"inner_radius": 3.0 + seed}
        water_filling(prominence=values, config=eight_shells(**changes, **spacing), preset=name)
    own = Preset(
        start="norm",
        threshold=0.1,
        relative_to="mean",
        overload_limit=0.3,
        push=4.0,
        excess_gain=1.0,
        passes=3,
    )
    water_filling(prominence=prominences()["gamma"], config=eight_shells(), preset=own)
    with pytest.raises(RuntimeError, match="traced"):
        water_filling(
            prominence=prominences()["gamma"], config=eight_shells(shells=SHELLS + 1), preset="v1"
        )


def near(direction: np.ndarray, kind: np.ndarray) -> float:
    """Share of the points whose nearest direction is of their own kind."""
    cosine = direction @ direction.T
    np.fill_diagonal(cosine, -2)
    return float((kind == kind[cosine.argmax(axis=1)]).mean())


def test_a_lateral_search_brings_points_of_one_cluster_together(embeddings: np.ndarray) -> None:
    kind = np.repeat(np.arange(10), N // 10)
    start = random_directions(N, 7)
    rules = Preset(
        start="norm",
        threshold=0.0,
        overload_limit=0.0,
        lateral=True,
        lateral_threshold=0.0,
        passes=40,
    )
    placed = water_filling(embeddings, config=eight_shells(), preset=rules, start=start)
    assert placed.info["lateral_moves"] > N / 2
    shuffled = water_filling(
        np.random.default_rng(8).permutation(embeddings),
        config=eight_shells(),
        preset=rules,
        start=start,
    )
    assert near(start, kind) < 0.15
    assert near(shuffled.direction, kind) < 0.16
    assert near(placed.direction, kind) > 0.2


def test_own_rules_are_a_preset_and_no_pass_leaves_the_start() -> None:
    still = dataclasses.replace(PRESETS["hybrid"], passes=0)
    placed = water_filling(prominence=prominences()["gamma"], config=eight_shells(), preset=still)
    assert placed.method == "water-filling: own rules"
    assert placed.info.get("promotions", 0) == placed.info.get("osmotic_moves", 0) == 0
    edges = placed.shells.edges
    values = prominences()["gamma"]
    share = (values - values.min()) / np.ptp(values)
    np.testing.assert_allclose(placed.radius, edges[0] + (edges[-1] - edges[0]) * share, rtol=1e-6)


def test_the_last_pass_is_that_of_the_preset(runs: dict[Key, Placement]) -> None:
    once = dataclasses.replace(PRESETS["v1"], passes=1)
    placed = water_filling(prominence=prominences()["gamma"], config=eight_shells(), preset=once)
    whole = runs["v1", "gamma", "outer", 1.5]
    assert placed.info["passes"] == 1 < whole.info["passes"]
    assert whole.info["deviation"] < placed.info["deviation"]


def test_a_map_by_water_filling_can_be_saved_and_measured(
    embeddings: np.ndarray, tmp_path: Any
) -> None:
    norm = np.linalg.norm(embeddings, axis=1)
    placed = water_filling(
        prominence=norm, config=eight_shells(), start=pca_directions(embeddings, 0)
    )
    placed.save(tmp_path / "map")
    found = Placement.load(tmp_path / "map")
    assert same_bits(found, placed)
    assert (found.method, found.info) == ("water-filling: lateral_jit", placed.info)
    assert found.config == placed.config
    report = found.quality(embeddings, queries=50)
    assert report.prominence_spearman is not None
    assert report.prominence_spearman > 0.9
