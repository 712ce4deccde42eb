"""`SphereMap`: the estimator does what `place` does, and scikit-learn's tools work with it."""

import inspect
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from builders import cloud
from sphere_ebm import FrozenMap, PlacementConfig, SphereMap, place
from sphere_ebm.files.atomic import sha256_of

PARAMETERS: dict[str, Any] = {"neighbours": 4, "shells": 3, "steps": 10, "average": 5}
CONFIG = PlacementConfig(**PARAMETERS)


def pipeline(**parameters: Any) -> Pipeline:
    return make_pipeline(StandardScaler(), SphereMap(**(PARAMETERS | parameters)))


def test_an_estimator_places_as_the_function_does() -> None:
    points = cloud(12)
    prominence = np.arange(12.0)
    estimator = SphereMap(**PARAMETERS)
    direction = estimator.fit_transform(points, prominence=prominence)
    expected = place(points, prominence, CONFIG)
    np.testing.assert_array_equal(direction, expected.direction)
    np.testing.assert_array_equal(estimator.placement_.radius, expected.radius)
    assert estimator.n_features_in_ == 4
    assert estimator.fit(points) is estimator
    assert (estimator.placement_.prominence != expected.prominence).any()


def test_lists_and_targets_are_taken_as_scikit_learn_takes_them() -> None:
    points = cloud(12)
    expected = SphereMap(**PARAMETERS).fit_transform(points)
    np.testing.assert_array_equal(
        SphereMap(**PARAMETERS).fit_transform(points.tolist(), np.arange(12)), expected
    )


def test_an_estimator_is_fitted_after_fit_and_not_before() -> None:
    estimator = SphereMap(**PARAMETERS)
    with pytest.raises(NotFittedError, match="SphereMap"):
        check_is_fitted(estimator)
    check_is_fitted(estimator.fit(cloud(12)))


def test_a_pipeline_draws_itself() -> None:
    assert "SphereMap" in pipeline()._repr_html_()


def test_the_tags_say_what_the_estimator_takes() -> None:
    tags = get_tags(SphereMap())
    assert tags.transformer_tags is not None
    assert not tags.target_tags.required
    assert not tags.input_tags.sparse
    assert not tags.input_tags.allow_nan


def test_the_package_does_not_import_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert SphereMap(**PARAMETERS).fit_transform(cloud(5)).shape == (5, 3)


def test_a_pipeline_places_what_its_steps_hand_on() -> None:
    points = cloud(12)
    prominence = np.arange(12.0)
    found = pipeline().fit_transform(points, spheremap__prominence=prominence)
    expected = place(StandardScaler().fit_transform(points), prominence, CONFIG).direction
    np.testing.assert_array_equal(found, expected)


def test_a_pipeline_can_be_cloned_with_its_parameters() -> None:
    original = pipeline(seed=3, kernel="gaussian", interaction_length=0.2).fit(cloud(12))
    copy = clone(original)
    assert copy[-1] is not original[-1]
    assert copy[-1].config == original[-1].config
    with pytest.raises(NotFittedError):
        check_is_fitted(copy[-1])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "kernels", [["cauchy", "gaussian"], np.array(["cauchy", "gaussian"])], ids=["list", "array"]
)
def test_a_grid_of_numpy_values_sets_parameters(kernels: Any) -> None:
    values = {
        "spheremap__neighbours": np.arange(3, 5),
        "spheremap__friction": np.linspace(0.5, 1, 2, dtype=np.float32),
        "spheremap__kernel": kernels,
    }
    seen = [clone(pipeline()).set_params(**chosen)[-1].config for chosen in ParameterGrid(values)]
    assert {(c.neighbours, c.friction, c.kernel) for c in seen} == {
        (k, f, kernel) for k in (3, 4) for f in (0.5, 1.0) for kernel in ("cauchy", "gaussian")
    }
    assert {(type(c.neighbours), type(c.friction), type(c.kernel)) for c in seen} == {
        (int, float, str)
    }
    for config in seen:
        assert clone(SphereMap(**vars(config))).config == config


def test_parameters_can_be_read_and_set() -> None:
    estimator = SphereMap(seed=3)
    assert estimator.get_params()["seed"] == 3
    assert sorted(estimator.get_params()) == sorted(inspect.signature(PlacementConfig).parameters)
    assert estimator.set_params(seed=4, shells=2) is estimator
    assert (estimator.config.seed, estimator.config.shells) == (4, 2)


def test_parameters_that_do_not_exist_are_refused_with_those_that_do() -> None:
    with pytest.raises(
        TypeError, match=r"SphereMap has no parameter 'n_neighbors'; it has seed, neighbours, "
    ):
        SphereMap(n_neighbors=3)
    with pytest.raises(
        ValueError, match=r"SphereMap has no parameter 'alpha', 'n_neighbors'; it has seed, "
    ):
        SphereMap().set_params(n_neighbors=3, alpha=2)


def test_a_bad_value_leaves_the_estimator_as_it_was() -> None:
    estimator = SphereMap(seed=3)
    with pytest.raises(ValueError, match="`shells`"):
        estimator.set_params(seed=4, shells=0)
    assert estimator.config.seed == 3
    with pytest.raises(ValueError, match="`shells`"):
        SphereMap(shells=0)


def test_a_fitted_estimator_can_be_pickled() -> None:
    estimator = SphereMap(**PARAMETERS).fit(cloud(12))
    found = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(found.placement_.direction, estimator.placement_.direction)
    assert found.config == estimator.config


def test_the_repr_names_what_was_changed() -> None:
    assert repr(SphereMap()) == "SphereMap()"
    assert repr(SphereMap(seed=3, kernel="gaussian")) == "SphereMap(seed=3, kernel='gaussian')"


def test_the_signature_shows_every_parameter() -> None:
    assert inspect.signature(SphereMap) == inspect.signature(PlacementConfig).replace(
        return_annotation=inspect.Signature.empty
    )


def test_new_points_join_a_fitted_map_and_a_saved_one_alike(tmp_path: Path) -> None:
    estimator = SphereMap(**PARAMETERS).fit(cloud(40))
    new = cloud(7)
    direction = estimator.transform(new)
    assert direction.shape == (7, 3)
    np.testing.assert_array_equal(direction, FrozenMap(estimator.placement_).place(new).direction)
    for pickled in (False, True):
        kept = pickle.loads(pickle.dumps(estimator)) if pickled else estimator
        digest = kept.save(tmp_path / "map.safetensors")
        assert digest == sha256_of(tmp_path / "map.safetensors")
        loaded = SphereMap.load(tmp_path / "map.safetensors")
        assert (loaded.config, loaded.n_features_in_) == (estimator.config, 4)
        np.testing.assert_array_equal(loaded.transform(new), direction)


def test_a_second_fit_forgets_the_first(tmp_path: Path) -> None:
    estimator = SphereMap(**PARAMETERS).fit(cloud(40))
    first = estimator.transform(cloud(5))
    assert (estimator.fit(cloud(41)).transform(cloud(5)) != first).any()


def test_what_has_no_map_transforms_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="call `fit` first, or"):
        SphereMap().transform(cloud(3))
    with pytest.raises(ValueError, match="no map to save: call `fit` first"):
        SphereMap().save(tmp_path / "map.safetensors")
    place(cloud(12), config=CONFIG).save(tmp_path / "map.safetensors")
    with pytest.raises(ValueError, match=r"without embeddings; write it with `SphereMap\.save`"):
        SphereMap.load(tmp_path / "map.safetensors")


def test_before_a_fit_there_is_no_placement_and_no_width() -> None:
    estimator = SphereMap(**PARAMETERS)
    for name in ("placement_", "n_features_in_"):
        with pytest.raises(AttributeError, match="call `fit` first"):
            getattr(estimator, name)
    assert estimator.fit(cloud(12, 5)).n_features_in_ == 5
