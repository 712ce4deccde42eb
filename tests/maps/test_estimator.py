"""`SphereMap`: the estimator does what `place` does, and scikit-learn's tools work with it."""

import inspect
import pickle
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks, get_tags
from sklearn.utils.validation import check_is_fitted

from builders import cloud
from sphere_ebm import FrozenMap, PlacementConfig, SphereMap, place
from sphere_ebm.files.atomic import sha256_of

PARAMETERS: dict[str, Any] = {"neighbours": 4, "shells": 3, "steps": 10, "average": 5}
PARAMETERS |= {"replicas": 1}
CONFIG = PlacementConfig(**PARAMETERS)
# What compiles fastest, since the checks fit maps of a dozen shapes.
LEAST: dict[str, Any] = {
    "neighbours": 2,
    "shells": 2,
    "steps": 0,
    "average": 2,
    "osmotic_strength": 0.0,
    "start": "random",
    "replicas": 0,
}
NEWCOMERS = "a fitted point and a newcomer with its embedding lie beside each other, not together"
EXCEPTIONS = {
    "check_transformer_general": NEWCOMERS,
    "check_transformer_data_not_an_array": NEWCOMERS,
    "check_dtype_object": "what is no number raises ValueError, everywhere in this package",
}
# Those that scikit-learn runs on its own estimators only.
NAMES_AND_OUTPUT = (
    estimator_checks.check_dataframe_column_names_consistency,
    estimator_checks.check_get_feature_names_out_error,
    estimator_checks.check_transformer_get_feature_names_out,
    estimator_checks.check_transformer_get_feature_names_out_pandas,
    estimator_checks.check_set_output_transform,
    estimator_checks.check_set_output_transform_pandas,
    estimator_checks.check_global_output_transform_pandas,
    estimator_checks.check_set_output_transform_polars,
    estimator_checks.check_global_set_output_transform_polars,
)


def pipeline(**parameters: Any) -> Pipeline:
    return make_pipeline(StandardScaler(), SphereMap(**(PARAMETERS | parameters)))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("ignore:Estimator SphereMap does not inherit from")
def test_scikit_learn_finds_what_it_expects_but_for_the_exceptions() -> None:
    results = estimator_checks.check_estimator(
        SphereMap(**LEAST), expected_failed_checks=EXCEPTIONS, on_skip=None, on_fail=None
    )
    failed = {each["check_name"]: each["exception"] for each in results if each["exception"]}
    skipped = {each["check_name"] for each in results if each["status"] == "skipped"}
    assert {name: failed[name] for name in failed if name not in skipped | set(EXCEPTIONS)} == {}
    assert set(EXCEPTIONS) <= set(failed)
    assert len(results) > 40


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("check", NAMES_AND_OUTPUT)
def test_names_and_output_are_those_of_a_transformer(check: Callable[[str, Any], None]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        check("SphereMap", SphereMap(**LEAST))


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
    with pytest.raises(ValueError, match="call `fit` first, or") as caught:
        SphereMap().transform(cloud(3))
    assert type(caught.value) is ValueError


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


def test_parameters_are_attributes_that_can_be_read_and_set() -> None:
    given = np.int64(3)
    estimator = SphereMap(seed=given)
    assert estimator.get_params()["seed"] is given
    assert vars(estimator)["seed"] is given
    assert sorted(estimator.get_params()) == sorted(inspect.signature(PlacementConfig).parameters)
    assert estimator.set_params(seed=4, shells=2) is estimator
    assert (estimator.config.seed, estimator.config.shells) == (4, 2)


def test_parameters_that_do_not_exist_are_refused_with_those_that_do() -> None:
    with pytest.raises(
        TypeError,
        match=r"no parameter 'n_neighbors'; for 'n_neighbors' try 'neighbours'; it has",
    ):
        SphereMap(n_neighbors=3)
    with pytest.raises(
        ValueError, match=r"SphereMap has no parameter 'beta', 'n_neighbors'; for .* it has seed, "
    ):
        SphereMap().set_params(n_neighbors=3, beta=2)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("random_state", "seed"),
        ("min_dist", "interaction_length"),
        ("early_exaggeration", "coupling_start"),
        ("init", "start"),
        ("lateral_strenght", "lateral_strength"),
    ],
)
def test_a_slip_and_the_name_of_another_library_suggest_the_right_one(given, meant) -> None:
    with pytest.raises(TypeError, match=f"for '{given}' try '{meant}';"):
        SphereMap(**{given: 1})
    assert meant in SphereMap().get_params()


def test_parameters_are_checked_by_fit_and_not_before() -> None:
    bad = SphereMap(**PARAMETERS).fit(cloud(12)).set_params(shells=0)
    held = bad.placement_
    for refused in (bad, SphereMap(shells=0)):
        with pytest.raises(ValueError, match=r"`shells` must be an integer in .*; got 0\."):
            refused.fit(cloud(12))
        with pytest.raises(ValueError, match="`shells`"):
            refused.config  # noqa: B018
    assert bad.placement_ is held


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
    with pytest.raises(NotFittedError, match="call `fit` first, or"):
        SphereMap().transform(cloud(3))
    with pytest.raises(NotFittedError, match="no map to save: call `fit` first"):
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


def test_names_of_columns_are_kept_by_pickles_and_updates_and_forgotten_by_fits() -> None:
    frame = pandas.DataFrame(cloud(12), columns=list("abcd"))
    estimator = SphereMap(**LEAST).fit(frame)
    for kept in (estimator, pickle.loads(pickle.dumps(estimator))):
        assert list(kept.feature_names_in_) == list("abcd")
        with pytest.raises(ValueError, match="must be in the same order as they were in fit"):
            kept.transform(frame[list("badc")])
    with pytest.raises(ValueError, match=r"unseen at fit time:\n- e\n(.|\n)*missing:\n- a\n"):
        estimator.update(frame.rename(columns={"a": "e"}))
    assert list(estimator.update(frame).feature_names_in_) == list("abcd")
    with pytest.warns(UserWarning, match="X does not have valid feature names, but SphereMap"):
        estimator.transform(cloud(3))
    with pytest.raises(AttributeError, match="none were fitted"):
        estimator.fit(cloud(12)).feature_names_in_  # noqa: B018


def test_names_must_all_be_strings_or_none_of_them() -> None:
    frame = pandas.DataFrame(cloud(12))
    assert not hasattr(SphereMap(**LEAST).fit(frame), "feature_names_in_")
    with pytest.raises(TypeError, match=r"all be strings, or none of them; got 0\. Convert"):
        SphereMap(**LEAST).fit(frame.rename(columns={1: "b"}))


def test_one_column_of_vectors_has_no_names_for_their_numbers() -> None:
    points = cloud(12)
    estimator = SphereMap(**LEAST).fit(pandas.DataFrame({"embedding": list(points)}))
    assert estimator.n_features_in_ == 4
    assert not hasattr(estimator, "feature_names_in_")
    other = pandas.DataFrame({"vector": list(points)})
    np.testing.assert_array_equal(estimator.transform(other), estimator.transform(points))


def test_frames_come_out_with_the_index_of_what_went_in() -> None:
    frame = pandas.DataFrame(cloud(12), index=np.arange(12) + 30)
    found = clone(SphereMap(**LEAST).set_output(transform="pandas")).fit_transform(frame)
    assert list(found.index) == list(range(30, 42))
    assert list(found.columns) == ["spheremap0", "spheremap1", "spheremap2"]
    with pytest.raises(ValueError, match="`transform` must be one of default, pandas, polars; got"):
        SphereMap().set_output(transform="arrow")
