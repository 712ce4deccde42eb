"""What water-filling takes, and what it refuses with the name, the rule and what was received."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from filling_cases import eight_shells, prominences, same_bits
from sphere_ebm.filling.presets import PRESETS
from sphere_ebm.heuristics.water_filling import capacity_sort, water_filling
from sphere_ebm.maps.starts import pca_directions, random_directions

N = 1000


@pytest.mark.parametrize("name", ["prominence", "production", "hybrid"])
def test_norms_and_variances_alone_suffice(
    name: str, embeddings: np.ndarray, unit_variance: np.ndarray
) -> None:
    norm = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    start = pca_directions(embeddings, 0)
    whole = water_filling(embeddings, config=eight_shells(), preset=name)
    scalars = water_filling(
        prominence=norm, variance=unit_variance, config=eight_shells(), preset=name, start=start
    )
    np.testing.assert_allclose(scalars.direction, whole.direction, atol=1e-6)
    # one part in 10^15 of the variance may carry a point over an edge
    assert np.mean(scalars.shell == whole.shell) > 0.99
    assert scalars.info["start_deviation"] == pytest.approx(whole.info["start_deviation"], rel=1e-3)
    without = water_filling(prominence=norm, config=eight_shells(), preset=name)
    assert without.info["start_deviation"] != pytest.approx(whole.info["start_deviation"], rel=1e-3)
    assert scalars.embeddings is None
    np.testing.assert_array_equal(whole.embeddings, embeddings)


def test_a_given_variance_replaces_that_of_the_embeddings(embeddings: np.ndarray) -> None:
    plain = water_filling(
        embeddings, config=eight_shells(), preset="production", variance=np.zeros(N)
    )
    norm = water_filling(
        embeddings,
        config=eight_shells(),
        preset=dataclasses.replace(PRESETS["production"], start="norm"),
    )
    np.testing.assert_array_equal(plain.radius, norm.radius)


def test_zero_vectors_and_vectors_without_width_are_placed() -> None:
    rows = np.random.default_rng(6).standard_normal((N, 5)).astype(np.float32)
    rows[:50] = 0
    for given in (rows, np.zeros((N, 0), np.float32), np.zeros((N, 3), np.float32)):
        placed = water_filling(given, config=eight_shells(), preset="hybrid")
        assert np.isfinite(placed.radius).all()
        np.testing.assert_allclose(np.linalg.norm(placed.direction, axis=1), 1, atol=1e-6)
        assert placed.info["deviation"] <= placed.info["start_deviation"]


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
        placed = water_filling(embeddings, config=eight_shells(**changes), preset="v1", **arguments)
        np.testing.assert_array_equal(placed.direction, direction)
        sort = capacity_sort(embeddings, config=eight_shells(**changes), **arguments)
        np.testing.assert_array_equal(sort.direction, direction)


def test_embeddings_of_one_length_are_noted() -> None:
    rows = np.random.default_rng(10).standard_normal((50, 4))
    placed = capacity_sort(rows / np.linalg.norm(rows, axis=1)[:, None], config=eight_shells())
    assert "their norms order nothing" in placed.notes[0]
    assert capacity_sort(rows, config=eight_shells()).notes == ()


def test_the_input_is_not_touched_and_may_be_lists(embeddings: np.ndarray) -> None:
    prominence = prominences()["gamma"]
    variance = np.linspace(0, 1, N)
    start = random_directions(N, 1).astype(np.float64)
    given = {"prominence": prominence, "variance": variance, "start": start}
    copies = {name: values.copy() for name, values in given.items()}
    arrays = water_filling(embeddings, config=eight_shells(), preset="hybrid", **given)
    for name, values in given.items():
        np.testing.assert_array_equal(values, copies[name])
    lists = {name: values.tolist() for name, values in given.items()}
    assert same_bits(
        water_filling(embeddings.tolist(), config=eight_shells(), preset="hybrid", **lists), arrays
    )


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"^`embeddings` or `prominence` must be given; got neither\.$"),
        ({"prominence": [1.0, np.nan]}, r"`prominence` must be finite"),
        ({"prominence": [[1.0, 2.0]]}, r"`prominence` must have shape"),
        ({"prominence": 3.0}, r"`prominence` must have shape"),
        (
            {"embeddings": np.ones((4, 2)), "prominence": [1.0]},
            r"`prominence` must have shape \(4,\); got \(1,\)",
        ),
        ({"embeddings": np.ones(4)}, r"`embeddings` must have shape \(points, width\); got \(4,\)"),
        ({"embeddings": [[1.0, np.inf]]}, r"`embeddings` must be finite"),
        (
            {"prominence": [1.0, 2.0], "start": np.ones((3, 3))},
            r"`start` must have shape \(2, 3\); got \(3, 3\)",
        ),
        ({"prominence": [1.0, 2.0], "start": np.zeros((2, 3))}, r"`start` must have no zero rows"),
        (
            {"prominence": [1.0, 2.0], "config": {"shells": 3}},
            r"`config` must be a PlacementConfig",
        ),
        ({"prominence": ["a", "b"]}, r"`prominence` must hold real numbers"),
    ],
)
def test_a_wrong_input_is_refused_with_its_name(arguments: dict[str, Any], message: str) -> None:
    for method in (water_filling, capacity_sort):
        with pytest.raises(ValueError, match=message):
            method(**arguments)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"preset": "v9"},
            r"^`preset` must be one of v1, prominence, .+, lateral_jit, or a Preset; got 'v9'\.$",
        ),
        ({"preset": None}, r"^`preset` must be one of .+; got None\.$"),
        ({"variance": [1.0]}, r"`variance` must have shape \(2,\); got \(1,\)"),
        ({"variance": [1.0, np.inf]}, r"`variance` must be finite"),
        ({"variance": [1j, 1.0]}, r"`variance` must hold real numbers"),
    ],
)
def test_a_wrong_preset_or_variance_is_refused_with_its_name(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        water_filling(prominence=[1.0, 2.0], **arguments)
