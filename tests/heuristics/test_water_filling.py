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

from sphere_ebm import Placement, PlacementConfig
from sphere_ebm.filling.engine import fill
from sphere_ebm.filling.presets import PRESETS, Preset
from sphere_ebm.geometry.shells import ideal_radii, minimum_radius
from sphere_ebm.heuristics.water_filling import capacity_sort, water_filling
from sphere_ebm.maps.starts import pca_directions, random_directions

N = 1000
SHELLS = 8
ORDERS = ("outer", "core")
EXPONENTS = (0.0, 1.5, 3.0)
LATERAL = [name for name, preset in PRESETS.items() if preset.lateral]
OSMOTIC = [name for name, preset in PRESETS.items() if preset.osmotic_rate > 0]
Key = tuple[str, str, str, float]


def config(**changes: Any) -> PlacementConfig:
    return PlacementConfig(**({"shells": SHELLS} | changes))


def data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    heavy = rng.standard_t(2, N)
    heavy[:3] = [1e6, -1e5, 1e9]
    return {
        "gamma": rng.gamma(2, 1, N),
        "normal": rng.standard_normal(N),
        "constant": np.full(N, 0.1),
        "heavy": heavy,
        "ties": rng.integers(0, 5, N).astype(np.float64),
    }


@pytest.fixture(scope="module")
def runs() -> dict[Key, Placement]:
    """Every preset on every data set, with both orders and three capacity laws."""
    return {
        (name, kind, order, exponent): water_filling(
            prominence=values,
            config=config(radius_order=order, capacity_exponent=exponent),
            preset=name,
        )
        for name in PRESETS
        for kind, values in data().items()
        for order in ORDERS
        for exponent in EXPONENTS
    }


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    """Clusters in 12 dimensions, with lengths that differ and variances that differ too."""
    rng = np.random.default_rng(1)
    rows = np.repeat(3 * rng.standard_normal((10, 12)), N // 10, axis=0) + rng.standard_normal(
        (N, 12)
    )
    rows += rng.gamma(0.7, 3, (N, 1))
    return (rows * rng.gamma(2, 1, (N, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def unit_variance(embeddings: np.ndarray) -> np.ndarray:
    rows = embeddings.astype(np.float64)
    return (rows / np.linalg.norm(rows, axis=1)[:, None]).var(axis=1)


def counts(placed: Placement) -> np.ndarray:
    """Points between the edges of every shell, from the radii alone."""
    return np.diff([(placed.radius <= edge).sum() for edge in placed.shells.edges])


def overload(held: np.ndarray, placed: Placement) -> np.ndarray:
    return held / (len(placed) * placed.shells.capacity) - 1


def same_bits(one: Placement, other: Placement) -> bool:
    return all(
        getattr(one, name).tobytes() == getattr(other, name).tobytes()
        for name in ("direction", "radius")
    )


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
        off = np.abs(counts(placed) - wanted)
        assert placed.converged == bool(((off <= 1) | (off <= 0.05 * wanted)).all())
        outcomes.append(placed.converged)
    assert 0.2 < np.mean(outcomes) < 0.9


def test_osmotic_presets_converge_whatever_the_data(runs: dict[Key, Placement]) -> None:
    assert OSMOTIC == ["osmotic", "hybrid", "lateral_jit"]
    assert [key for key, placed in runs.items() if key[0] in OSMOTIC and not placed.converged] == []


def test_the_info_tells_what_the_radii_show(runs: dict[Key, Placement]) -> None:
    for placed in runs.values():
        load = overload(counts(placed), placed)
        assert placed.info["deviation"] == pytest.approx(np.abs(load).mean(), rel=1e-12)
        over = load[load > 0]
        assert placed.info["overload_mean"] == pytest.approx(
            over.mean() if over.size else 0, rel=1e-12
        )
        assert placed.info["overload_max"] == pytest.approx(max(load.max(), 0), rel=1e-12)
        np.testing.assert_array_equal(
            placed.shell, np.searchsorted(placed.shells.radius, placed.radius)
        )
        assert counts(placed).sum() == N


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", data())
def test_the_start_is_linear_in_the_prominence_or_in_its_rank(
    runs: dict[Key, Placement], kind: str, order: str
) -> None:
    signed = data()[kind] * (1 if order == "outer" else -1)
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
            expected = np.abs(overload(held, placed)).mean()
            assert placed.info["start_deviation"] == pytest.approx(expected, rel=1e-12)


def test_the_information_start_weighs_the_norm_with_the_variance(embeddings, unit_variance) -> None:
    norm = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    score = norm * (1 + unit_variance)
    for values, variance in ((score, unit_variance), (norm, np.zeros(N))):
        placed = water_filling(
            prominence=norm, variance=variance, config=config(), preset="production"
        )
        share = (values - values.min()) / np.ptp(values)
        held = np.bincount(np.maximum(np.ceil(share * SHELLS).astype(int) - 1, 0), minlength=SHELLS)
        assert placed.info["start_deviation"] == pytest.approx(
            np.abs(overload(held, placed)).mean(), rel=1e-12
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
        assert sign * spearmanr(data()[kind], placed.shell).statistic > 0.97


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
    placed = water_filling(prominence=ordinary, config=config(), preset="lateral")
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
        placed = water_filling(prominence=prominence, config=config(shells=shells), preset=name)
        assert len(placed) == points == counts(placed).sum()
        np.testing.assert_allclose(np.linalg.norm(placed.direction, axis=1), 1, atol=1e-6)
        assert placed.info["deviation"] <= placed.info["start_deviation"]
        off = np.abs(counts(placed) - points * placed.shells.capacity)
        assert placed.converged == bool((off <= 1).all())


@pytest.mark.parametrize("name", PRESETS)
def test_no_points_make_an_empty_map(name: str) -> None:
    for arguments in (
        {"prominence": []},
        {"embeddings": np.zeros((0, 4))},
        {"embeddings": np.zeros((0, 0))},
    ):
        placed = water_filling(**arguments, config=config(), preset=name)
        assert len(placed) == 0
        assert placed.direction.shape == (0, 3)
        assert placed.info == {}
        assert placed.converged


@pytest.mark.parametrize("name", ["production", "lateral_jit"])
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(name: str) -> None:
    prominence = data()["gamma"]
    start = random_directions(N, 4)
    one, again, other = (
        water_filling(prominence=prominence, config=config(seed=seed), preset=name, start=start)
        for seed in (5, 5, 2**32 - 1)
    )
    assert same_bits(one, again)
    assert one.info == again.info
    assert (one.shell != other.shell).any()


def test_calls_of_one_shape_compile_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = eqx.filter_jit(eqx.debug.assert_max_traces(fill.__wrapped__, max_traces=1))
    monkeypatch.setattr(sys.modules["sphere_ebm.filling.pour"], "fill", counted)
    for seed, (kind, values) in enumerate(data().items()):
        name = ("v1", "production", "prominence")[seed % 3]
        changes: dict[str, Any] = {
            "seed": seed,
            "capacity_exponent": 0.5 * seed,
            "radius_order": ORDERS[seed % 2],
        }
        spacing = {"shell_spacing": "golden"} if kind == "gamma" else {"inner_radius": 3.0 + seed}
        water_filling(prominence=values, config=config(**changes, **spacing), preset=name)
    own = Preset(
        start="norm",
        threshold=0.1,
        relative_to="mean",
        overload_limit=0.3,
        push=4.0,
        excess_gain=1.0,
        passes=3,
    )
    water_filling(prominence=data()["gamma"], config=config(), preset=own)
    with pytest.raises(RuntimeError, match="traced"):
        water_filling(prominence=data()["gamma"], config=config(shells=SHELLS + 1), preset="v1")


@pytest.mark.parametrize("name", ["prominence", "production", "hybrid"])
def test_norms_and_variances_alone_suffice(
    name: str, embeddings: np.ndarray, unit_variance: np.ndarray
) -> None:
    norm = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    start = pca_directions(embeddings, 0)
    whole = water_filling(embeddings, config=config(), preset=name)
    scalars = water_filling(
        prominence=norm, variance=unit_variance, config=config(), preset=name, start=start
    )
    np.testing.assert_allclose(scalars.direction, whole.direction, atol=1e-6)
    # one part in 10^15 of the variance may carry a point over an edge
    assert np.mean(scalars.shell == whole.shell) > 0.99
    assert scalars.info["start_deviation"] == pytest.approx(whole.info["start_deviation"], rel=1e-3)
    without = water_filling(prominence=norm, config=config(), preset=name)
    assert without.info["start_deviation"] != pytest.approx(whole.info["start_deviation"], rel=1e-3)
    assert scalars.embeddings is None
    np.testing.assert_array_equal(whole.embeddings, embeddings)


def test_a_given_variance_replaces_that_of_the_embeddings(embeddings: np.ndarray) -> None:
    plain = water_filling(embeddings, config=config(), preset="production", variance=np.zeros(N))
    norm = water_filling(
        embeddings, config=config(), preset=dataclasses.replace(PRESETS["production"], start="norm")
    )
    np.testing.assert_array_equal(plain.radius, norm.radius)


def test_zero_vectors_and_vectors_without_width_are_placed() -> None:
    rows = np.random.default_rng(6).standard_normal((N, 5)).astype(np.float32)
    rows[:50] = 0
    for given in (rows, np.zeros((N, 0), np.float32), np.zeros((N, 3), np.float32)):
        placed = water_filling(given, config=config(), preset="hybrid")
        assert np.isfinite(placed.radius).all()
        np.testing.assert_allclose(np.linalg.norm(placed.direction, axis=1), 1, atol=1e-6)
        assert placed.info["deviation"] <= placed.info["start_deviation"]


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
    placed = water_filling(embeddings, config=config(), preset=rules, start=start)
    assert placed.info["lateral_moves"] > N / 2
    shuffled = water_filling(
        np.random.default_rng(8).permutation(embeddings), config=config(), preset=rules, start=start
    )
    assert near(start, kind) < 0.15
    assert near(shuffled.direction, kind) < 0.16
    assert near(placed.direction, kind) > 0.2


def test_the_start_is_given_or_of_the_configuration(embeddings: np.ndarray) -> None:
    given = 5 * np.random.default_rng(9).standard_normal((N, 3))
    unit = (given / np.linalg.norm(given, axis=1)[:, None]).astype(np.float32)
    expected = [
        ({"start": given}, {}, unit),
        ({}, {"start": "random", "seed": 3}, random_directions(N, 3)),
        ({}, {"start": "pca"}, pca_directions(embeddings, 0)),
        ({}, {"start": "water-filling"}, pca_directions(embeddings, 0)),
    ]
    for arguments, changes, direction in expected:
        placed = water_filling(embeddings, config=config(**changes), preset="v1", **arguments)
        np.testing.assert_array_equal(placed.direction, direction)
        sort = capacity_sort(embeddings, config=config(**changes), **arguments)
        np.testing.assert_array_equal(sort.direction, direction)


def test_own_rules_are_a_preset_and_no_pass_leaves_the_start() -> None:
    still = dataclasses.replace(PRESETS["hybrid"], passes=0)
    placed = water_filling(prominence=data()["gamma"], config=config(), preset=still)
    assert placed.method == "water-filling: own rules"
    assert placed.info.get("promotions", 0) == placed.info.get("osmotic_moves", 0) == 0
    edges = placed.shells.edges
    values = data()["gamma"]
    share = (values - values.min()) / np.ptp(values)
    np.testing.assert_allclose(placed.radius, edges[0] + (edges[-1] - edges[0]) * share, rtol=1e-6)


def test_the_last_pass_is_that_of_the_preset(runs: dict[Key, Placement]) -> None:
    once = dataclasses.replace(PRESETS["v1"], passes=1)
    placed = water_filling(prominence=data()["gamma"], config=config(), preset=once)
    whole = runs["v1", "gamma", "outer", 1.5]
    assert placed.info["passes"] == 1 < whole.info["passes"]
    assert whole.info["deviation"] < placed.info["deviation"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_the_capacity_sort_meets_every_capacity_and_orders_the_prominence(
    order: str, exponent: float
) -> None:
    settings = config(radius_order=order, capacity_exponent=exponent, seed=2)
    for kind, values in data().items():
        placed = capacity_sort(prominence=values, config=settings)
        assert np.abs(counts(placed) - N * placed.shells.capacity).max() <= 1
        assert placed.converged
        assert placed.info["deviation"] == pytest.approx(
            np.abs(overload(counts(placed), placed)).mean()
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
    placed = capacity_sort(prominence=np.arange(points), config=config())
    assert len(placed) == points
    assert placed.converged


def test_the_inner_radius_follows_the_number_of_points_unless_a_radius_is_given() -> None:
    many = np.arange(100_000.0)
    for changes, inner in (
        ({}, minimum_radius(100_000, SHELLS)),
        ({"inner_radius": 5.0}, 5.0),
        ({"outer_radius": 99.0}, 16.0),
    ):
        placed = capacity_sort(prominence=many, config=config(**changes))
        assert placed.shells.radius[0] == inner
        assert placed.radius.max() == pytest.approx(placed.shells.edges[-1], abs=1e-2)
    assert minimum_radius(100_000, SHELLS) == 32


def test_a_map_by_water_filling_can_be_saved_and_measured(
    embeddings: np.ndarray, tmp_path: Any
) -> None:
    norm = np.linalg.norm(embeddings, axis=1)
    placed = water_filling(prominence=norm, config=config(), start=pca_directions(embeddings, 0))
    placed.save(tmp_path / "map")
    found = Placement.load(tmp_path / "map")
    assert same_bits(found, placed)
    assert (found.method, found.info) == ("water-filling: lateral_jit", placed.info)
    assert found.config == placed.config
    report = found.quality(embeddings, queries=50)
    assert report.prominence_spearman is not None
    assert report.prominence_spearman > 0.9


def test_embeddings_of_one_length_are_noted() -> None:
    rows = np.random.default_rng(10).standard_normal((50, 4))
    placed = capacity_sort(rows / np.linalg.norm(rows, axis=1)[:, None], config=config())
    assert "their norms order nothing" in placed.notes[0]
    assert capacity_sort(rows, config=config()).notes == ()


def test_the_input_is_not_touched_and_may_be_lists(embeddings: np.ndarray) -> None:
    prominence = data()["gamma"]
    variance = np.linspace(0, 1, N)
    start = random_directions(N, 1).astype(np.float64)
    given = {"prominence": prominence, "variance": variance, "start": start}
    copies = {name: values.copy() for name, values in given.items()}
    arrays = water_filling(embeddings, config=config(), preset="hybrid", **given)
    for name, values in given.items():
        np.testing.assert_array_equal(values, copies[name])
    lists = {name: values.tolist() for name, values in given.items()}
    assert same_bits(
        water_filling(embeddings.tolist(), config=config(), preset="hybrid", **lists), arrays
    )
