"""Wrong input of water-filling is refused with its name, the rule and what was received."""

from typing import Any

import numpy as np
import pytest

from sphere_ebm.heuristics.water_filling import capacity_sort, water_filling


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
