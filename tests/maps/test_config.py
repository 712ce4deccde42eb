"""Every choice is named, bounded, documented and survives JSON."""

import dataclasses
import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from sphere_ebm.cli.options import _field_texts
from sphere_ebm.maps.config import PlacementConfig

WHOLE = ["seed", "neighbours", "max_degree", "shells", "steps", "average", "replicas"]
WHOLE += ["reinsertions"]
# name -> values that break its rule, each by a hair or by kind
BAD: dict[str, list[Any]] = {
    "seed": [-1, 2**32],
    "neighbours": [0, -3],
    "perplexity": [0.99],
    "max_degree": [1],
    "lateral_strength": [-1e-9],
    "osmotic_strength": [-1e-9],
    "interaction_length": [0.0, -1.0, 2.01],
    "radius_stiffness": [0.0, -1.0],
    "shells": [0, 10**7],
    "inner_radius": [0.0, -2.0],
    "outer_radius": [0.0, -2.0],
    "capacity_exponent": [math.inf, -math.inf],
    "steps": [-1],
    "average": [0, 1],
    "step_size": [0.0, -0.1],
    "step_size_growth": [0.0, -1.0],
    "friction": [0.0, -0.1],
    "temperature_start": [-1e-9],
    "temperature_end": [-1e-9],
    "coupling_start": [-1e-9],
    "cooling": [-0.01, 1.01],
    "tolerance": [-1e-9],
    "replicas": [-1, 1001, 0.5],
    "reinsertions": [-1],
}
GOOD: dict[str, list[Any]] = {
    "seed": [0, 2**32 - 1],
    "neighbours": [1],
    "perplexity": [1.0],
    "max_degree": [2],
    "lateral_strength": [0.0],
    "osmotic_strength": [0],
    "interaction_length": [None, 2],
    "inner_radius": [None, 0.5],
    "outer_radius": [None, 900.0],
    "shells": [1],
    "steps": [0],
    "average": [2],
    "temperature_start": [0.0],
    "temperature_end": [0.0],
    "cooling": [0.0, 1],
    "tolerance": [0.0],
    "replicas": [0, 1000, None],
    "reinsertions": [0],
}
CHOICES = [
    "affinity",
    "neighbour_search",
    "kernel",
    "osmotic_evaluator",
    "shell_spacing",
    "radius_order",
    "scheme",
    "start",
]
NAMES = [field.name for field in dataclasses.fields(PlacementConfig)]


def build(**parameters: Any) -> PlacementConfig:
    return PlacementConfig(**parameters)


@pytest.fixture(autouse=True)
def _unchecked(unchecked: None) -> None:
    """Wrong types are what a user passes.

    The package itself has to refuse them, without the suite's type checks.
    """


def test_every_parameter_is_either_bounded_or_a_choice() -> None:
    assert sorted([*BAD, *CHOICES]) == sorted(NAMES)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_a_number_out_of_range_is_refused_with_its_name_rule_and_value(
    name: str, value: Any
) -> None:
    with pytest.raises(
        ValueError, match=rf"^`{name}` must be (an?|a positive|finite)? ?.*; got "
    ) as refusal:
        build(**{name: value})
    assert str(refusal.value).endswith(f"got {value!r}.")


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in GOOD.items() for value in values]
)
def test_the_ends_of_a_range_belong_to_it(name: str, value: Any) -> None:
    assert getattr(build(**{name: value}), name) == value


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize(
    "value", [math.nan, True, "1", np.True_, np.float32(math.nan), 1j, np.ones(1)]
)
def test_what_is_no_number_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"`{name}`"):
        build(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in WHOLE
        for value in (3.0, np.float64(3.0), None)
        if value is not None or name != "replicas"  # None: chosen by the number of points
    ],
)
def test_a_count_must_be_whole(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be an integer"):
        build(**{name: value})


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("value", ["no-such", None, ["pca"], np.array(["pca", "auto"])])
def test_a_choice_that_does_not_exist_is_refused_with_those_that_do(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^`{name}` must be one of .+, .+; got ") as refusal:
        build(**{name: value})
    assert repr(value) in str(refusal.value)
    assert getattr(PlacementConfig(), name) in str(refusal.value)


@pytest.mark.parametrize(
    "name", [name for name in BAD if name not in ("seed", "interaction_length")]
)
def test_numbers_of_numpy_become_those_of_python(name: str) -> None:
    kinds = [np.int64, np.uint8] if name in WHOLE else [np.float32, np.float64, np.int32, Fraction]
    value = 1 if name == "cooling" else 2
    for kind in kinds:
        config = build(**{"inner_radius": 1, "outer_radius": 40} | {name: kind(value)})
        assert type(getattr(config, name)) is (int if name in WHOLE else float)
        assert PlacementConfig.from_json(config.to_json()) == config


def test_a_choice_of_numpy_becomes_one_of_python() -> None:
    config = build(kernel=np.array(["gaussian"])[0])
    assert type(config.kernel) is str
    assert config == build(kernel="gaussian")


def test_an_interaction_too_short_for_the_grid_is_refused_where_the_grid_is_asked_for() -> None:
    assert (
        build(osmotic_evaluator="harmonic", interaction_length=0.01876).interaction_length
        == 0.01876
    )
    assert build(osmotic_evaluator="direct", interaction_length=0.018).interaction_length == 0.018
    with pytest.raises(
        ValueError,
        match=r"^`interaction_length` must be at least 1/53\.3 = 0\.01875 .*; got 0\.0187\. ",
    ):
        build(osmotic_evaluator="harmonic", interaction_length=0.0187)


def test_a_perplexity_above_the_neighbours_is_refused_where_it_is_used() -> None:
    assert build(neighbours=5, perplexity=6.0, affinity="uniform").perplexity == 6.0
    assert build(neighbours=6, perplexity=6.0, affinity="perplexity").perplexity == 6.0
    with pytest.raises(ValueError, match=r"^`perplexity` must be at most neighbours=5; got 6\.0"):
        build(neighbours=5, perplexity=6.0, affinity="perplexity")


@pytest.mark.parametrize(
    "radii",
    [
        {"inner_radius": 9.0, "outer_radius": 8.0},
        {"inner_radius": 1e8, "outer_radius": 1e8 + 1, "shells": 32},
        {"capacity_exponent": 1e8},
    ],
)
def test_shells_that_cannot_be_made_are_refused_at_once(radii: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"radius|shells|capacity"):
        build(**radii)


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PlacementConfig().seed = 1  # type: ignore[misc]


def test_parameters_have_names_only() -> None:
    with pytest.raises(TypeError, match="positional"):
        PlacementConfig(1)  # type: ignore[misc]
    with pytest.raises(TypeError, match="temperture"):
        build(temperture=1)


OTHER = {
    "seed": 7,
    "neighbours": 12,
    "affinity": "perplexity",
    "perplexity": 5.5,
    "max_degree": 20,
    "neighbour_search": "exact",
    "kernel": "gaussian",
    "lateral_strength": 0.1,
    "osmotic_strength": 1 / 3,
    "osmotic_evaluator": "direct",
    "interaction_length": 0.123456789012345,
    "radius_stiffness": 2.5,
    "shells": 5,
    "shell_spacing": "sqrt",
    "inner_radius": 3.5,
    "outer_radius": 21.0,
    "capacity_exponent": -0.5,
    "radius_order": "core",
    "scheme": "euler-maruyama",
    "steps": 11,
    "average": 3,
    "step_size": 1e-3,
    "step_size_growth": 1.5,
    "friction": 0.25,
    "temperature_start": 0.2,
    "temperature_end": 1e-7,
    "coupling_start": 2.5,
    "cooling": 0.55,
    "tolerance": 0.05,
    "replicas": 4,
    "reinsertions": 1,
    "start": "spectral",
}


@pytest.mark.parametrize("parameters", [{}, OTHER])
def test_json_keeps_every_parameter(parameters: dict[str, Any]) -> None:
    config = build(**parameters)
    assert PlacementConfig.from_json(config.to_json()) == config
    assert len(config.to_json().splitlines()) == 1
    assert json.loads(config.to_json()) == dataclasses.asdict(config)


def test_the_round_trip_is_tried_with_every_parameter_off_its_default() -> None:
    assert sorted(OTHER) == sorted(NAMES)
    assert not [name for name in NAMES if OTHER[name] == getattr(PlacementConfig(), name)]


def test_equal_configurations_have_equal_json() -> None:
    assert (
        build(step_size=1, temperature_end=0, inner_radius=2, shells=1, outer_radius=2).to_json()
        == build(
            step_size=1.0, temperature_end=0.0, inner_radius=2.0, shells=1, outer_radius=2.0
        ).to_json()
    )


@pytest.mark.parametrize("text", ['{"seed": 1, "sneed": 2, "alpha": 3}'])
def test_unknown_parameters_are_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="unknown parameters alpha, sneed"):
        PlacementConfig.from_json(text)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"seed": -1}', '{"seed": "x"}'])
def test_json_that_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|Expecting|enclosed|`seed`"):
        PlacementConfig.from_json(text)


def test_every_parameter_is_documented() -> None:
    sections = _field_texts(PlacementConfig.__doc__ or "")
    texts = {name: text for section in sections.values() for name, text in section.items()}
    assert sorted(texts) == sorted(NAMES)
    assert all(len(text) >= 5 for text in texts.values())


@pytest.mark.parametrize(
    ("points", "sharpness"), [(1, 3.0), (400, 3.0), (1600, 6.0), (10**6, 150.0), (10**9, 512.0)]
)
def test_the_interaction_length_shrinks_with_the_number_of_points_within_bounds(
    points: int, sharpness: float
) -> None:
    assert PlacementConfig().sharpness(points) == pytest.approx(sharpness, rel=1e-2)


def test_a_given_interaction_length_holds_for_every_number_of_points() -> None:
    assert (
        build(interaction_length=0.25).sharpness(3)
        == build(interaction_length=0.25).sharpness(10**6)
        == 4.0
    )
