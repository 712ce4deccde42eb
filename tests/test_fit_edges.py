"""The corners of `place`: tiny, degenerate and wrong inputs; and `SphereMap`, its scikit-learn face."""

import inspect
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from sphere_ebm import PlacementConfig, SphereMap, place

CONFIG = PlacementConfig(neighbours=4, shells=3, steps=10, average=5)
PARAMETERS: dict[str, Any] = {"neighbours": 4, "shells": 3, "steps": 10, "average": 5}


def cloud(points: int, width: int = 4) -> np.ndarray:
    return np.random.default_rng(points).standard_normal((points, width)).astype(np.float32)


INPUTS = {
    "no points": cloud(0),
    "one point": cloud(1),
    "two points": cloud(2),
    "three points": cloud(3),
    "as many as neighbours": cloud(4),
    "one of two zero": np.array([[0, 0], [1, 2]], np.float32),
    "all zero": np.zeros((12, 4), np.float32),
    "no dimension": cloud(12, 0),
    "all the same": np.ones((12, 4), np.float32),
    "some zero": np.concatenate([cloud(9), np.zeros((3, 4), np.float32)]),
    "one dimension": cloud(12, 1),
    "tiny": cloud(12) * np.float32(1e-30),
    "large": cloud(12) * np.float32(1e30),
    "float64": cloud(12).astype(np.float64),
    "integers": (1000 * cloud(12)).astype(np.int64),
    "not contiguous": np.asfortranarray(cloud(12))[:, ::-1],
}


@pytest.mark.parametrize("start", ["pca", "spectral"])
@pytest.mark.parametrize("kind", INPUTS)
def test_every_input_gets_a_map(kind: str, start: str) -> None:
    points = INPUTS[kind]
    found = place(points, config=PlacementConfig(**PARAMETERS, start=start))
    assert found.direction.shape == (len(points), 3)
    np.testing.assert_allclose(np.linalg.norm(found.direction, axis=1), 1, atol=1e-5)
    assert np.isfinite(found.radius).all()
    assert found.quality().points == len(points)
    zeros = int((~points.any(axis=1)).sum())
    assert [note for note in found.notes if "zero vector" in note] == [
        f"{zeros} of {len(points)} embeddings are zero vectors: no direction, no lateral edges"
    ] * (zeros > 0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (
            {"embeddings": np.full((3, 2), np.nan, np.float32)},
            r"`embeddings` must be finite.*got nan at index \(0, 0\)",
        ),
        ({"embeddings": np.array([[1, 2], [3, np.inf]])}, r"`embeddings` must be finite.*got inf at index \(1, 1\)"),
        ({"embeddings": np.array([[1, 2], [1e300, 3]])}, r"`embeddings` must be finite in float32.*at index \(1, 0\)"),
        ({"embeddings": np.full((2, 2), 3e38)}, r"`prominence` must be finite in float32.*at index \(0\)"),
        ({"embeddings": np.ones(3)}, r"`embeddings` must have shape \(points, width\); got \(3,\)"),
        ({"prominence": np.ones(4)}, r"`prominence` must have shape \(5,\); got \(4,\)"),
        ({"prominence": np.array([1, 2, np.nan, 4, 5])}, r"`prominence` must be finite.*index \(2\)"),
        ({"start": np.ones((5, 2))}, r"`start` must have shape \(5, 3\); got \(5, 2\)"),
        ({"start": np.zeros((5, 3))}, r"`start` must have no zero rows; row 0"),
        ({"start": np.full((5, 3), np.inf)}, r"`start` must be finite.*index \(0, 0\)"),
        ({"extra_edges": (np.array([0]), np.array([5]), np.array([1.0]))}, r"two different points of 0 \.\. 4"),
    ],
)
def test_a_wrong_input_is_refused_with_its_place(arguments: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        place(**({"embeddings": cloud(5), "config": CONFIG} | arguments))


def test_the_input_is_not_touched() -> None:
    points, prominence = cloud(12), np.arange(12.0)
    copies = points.copy(), prominence.copy()
    place(points, prominence, CONFIG)
    np.testing.assert_array_equal(points, copies[0])
    np.testing.assert_array_equal(prominence, copies[1])


def test_an_estimator_places_as_the_function_does() -> None:
    points, prominence = cloud(12), np.arange(12.0)
    estimator = SphereMap(**PARAMETERS)
    direction = estimator.fit_transform(points, prominence=prominence)
    expected = place(points, prominence, CONFIG)
    np.testing.assert_array_equal(direction, expected.direction)
    np.testing.assert_array_equal(estimator.placement_.radius, expected.radius)
    assert estimator.n_features_in_ == 4
    assert estimator.fit(points) is estimator
    assert (estimator.placement_.prominence != expected.prominence).any()


def test_an_estimator_can_be_cloned() -> None:
    estimator = SphereMap(seed=3, kernel="gaussian", interaction_length=0.2)
    copy = clone(estimator)
    assert copy is not estimator
    assert copy.get_params() == estimator.get_params()
    assert copy.config == estimator.config


def test_parameters_can_be_read_and_set() -> None:
    estimator = SphereMap(seed=3)
    assert estimator.get_params()["seed"] == 3
    assert sorted(estimator.get_params()) == sorted(inspect.signature(PlacementConfig).parameters)
    assert estimator.set_params(seed=4, shells=2) is estimator
    assert (estimator.config.seed, estimator.config.shells) == (4, 2)


def test_parameters_that_do_not_exist_are_refused() -> None:
    with pytest.raises(TypeError, match="n_neighbors"):
        SphereMap(n_neighbors=3)
    with pytest.raises(ValueError, match="unknown parameters n_neighbors"):
        SphereMap().set_params(n_neighbors=3)


def test_a_bad_value_leaves_the_estimator_as_it_was() -> None:
    estimator = SphereMap(seed=3)
    with pytest.raises(ValueError, match="`shells`"):
        estimator.set_params(seed=4, shells=0)
    assert estimator.config.seed == 3
    with pytest.raises(ValueError, match="`shells`"):
        SphereMap(shells=0)


def test_the_repr_names_what_was_changed() -> None:
    assert repr(SphereMap()) == "SphereMap()"
    assert repr(SphereMap(seed=3, kernel="gaussian")) == "SphereMap(seed=3, kernel='gaussian')"


def test_the_signature_shows_every_parameter() -> None:
    assert inspect.signature(SphereMap) == inspect.signature(PlacementConfig).replace(
        return_annotation=inspect.Signature.empty
    )
