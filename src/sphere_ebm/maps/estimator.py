"""`SphereMap`: `place` as an estimator for scikit-learn's pipelines, which itself is not needed."""

import dataclasses
import difflib
import inspect
import warnings
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Float32, Shaped
from numpy.typing import ArrayLike

from sphere_ebm.files.formats import FROZEN
from sphere_ebm.maps.anchors import STRENGTH
from sphere_ebm.maps.checks import checked_embeddings
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.maps.frames import OUTPUTS, column_names, framed, refuse_other_names, wanted_output
from sphere_ebm.maps.frozen_map import FrozenMap
from sphere_ebm.maps.growth import grow, growing
from sphere_ebm.maps.kept import kept_frozen_map
from sphere_ebm.maps.loading import load_stored
from sphere_ebm.maps.place import place
from sphere_ebm.maps.placement import Placement
from sphere_ebm.rules import checked_choice


@final
class SphereMap:
    """`place` as an estimator of scikit-learn, which passes its `check_estimator` but for a few.

    It has what pipelines, `clone`, `ColumnTransformer` and searches over parameters call:
    `get_params`, `set_params`, `fit`, `transform`, `fit_transform`, `get_feature_names_out`,
    `set_output` and tags. Keyword arguments are the fields of `PlacementConfig`. They are kept
    as given, as attributes of the same name, and checked by `fit`.

    It departs from the conventions in two ways, for which tests/maps/test_estimator.py lists the
    checks: `fit_transform(X)` does not give what `fit(X).transform(X)` gives, and what is no number
    raises `ValueError`, not `TypeError`.
    """

    def __init__(self, **parameters: Any) -> None:
        unknown = _unknown(parameters)
        if unknown:
            raise TypeError(unknown)
        vars(self).update(_DEFAULTS | parameters)
        self._fitted: _Fitted | None = None
        # `sklearn.base.clone` takes this over under this name.
        self._sklearn_output_config: dict[str, str] = {}

    @property
    def config(self) -> PlacementConfig:
        """The parameters as they are now. Raises ValueError for one that is out of range."""
        return PlacementConfig(**self.get_params())

    @property
    def placement_(self) -> Placement:
        """The fitted `Placement`. Raises AttributeError before `fit`, as if it were not there."""
        if self._fitted is None:
            raise AttributeError("this SphereMap has no `placement_` yet: call `fit` first.")
        return self._fitted.placement

    @property
    def n_features_in_(self) -> int:
        """Width of the fitted embeddings. Raises AttributeError before `fit`."""
        held = self.placement_.embeddings
        return 0 if held is None else int(held.shape[1])

    @property
    def feature_names_in_(self) -> Shaped[np.ndarray, " columns"]:
        """Names of the columns of the DataFrame that was fitted, of type object.

        Raises AttributeError before `fit`, and where that got no DataFrame with such names: one
        column of vectors has none, nor has a map that was loaded.
        """
        if self._fitted is None or self._fitted.names is None:
            raise AttributeError("this SphereMap has no `feature_names_in_`: none were fitted.")
        return self._fitted.names

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters by name; no parameter is an estimator, so `deep` changes nothing."""
        return {name: vars(self)[name] for name in _DEFAULTS}

    def set_params(self, **parameters: Any) -> "SphereMap":
        """Change parameters by name. Raises ValueError for one that does not exist."""
        unknown = _unknown(parameters)
        if unknown:
            raise ValueError(unknown)
        vars(self).update(parameters)
        return self

    def get_feature_names_out(
        self, input_features: Sequence[str] | Shaped[np.ndarray, " columns"] | None = None
    ) -> Shaped[np.ndarray, "3"]:
        """Names of the three coordinates of a direction, of type object.

        Args:
            input_features: names of what goes in, which change nothing but must fit.

        Raises:
            ValueError: before `fit`; names that are not those of the fitted columns, or are more or
                fewer.
        """
        if self._fitted is None:
            raise _unfitted("this SphereMap names no features yet: call `fit` first.")
        if input_features is not None:
            names = self._fitted.names
            if names is not None and list(names) != list(input_features):
                raise ValueError("input_features is not equal to feature_names_in_")
            if len(input_features) != self.n_features_in_:
                raise ValueError(
                    "input_features should have length equal to number of features"
                    f" ({self.n_features_in_}), got {len(input_features)}"
                )
        return np.array([f"spheremap{i}" for i in range(3)], object)

    def set_output(self, *, transform: str | None = None) -> "SphereMap":
        """Choose what `transform` and `fit_transform` return.

        Args:
            transform: `"default"` (an array), `"pandas"` or `"polars"`; None changes nothing.

        Raises ValueError for anything else.
        """
        if transform is not None:
            chosen = checked_choice("transform", transform, OUTPUTS)
            self._sklearn_output_config = {"transform": chosen}
        return self

    def fit(
        self, X: ArrayLike, y: Any = None, *, prominence: ArrayLike | None = None
    ) -> "SphereMap":
        """Place the rows of `X`; see `place`. `y` is ignored.

        Raises:
            ValueError: a parameter that is out of range, what `place` refuses, no rows or columns.
            TypeError: a DataFrame of which only some columns are named by strings.
        """
        config = self.config
        embeddings = checked_embeddings(X)
        names = column_names(X)
        if not embeddings.size:
            what = "feature" if len(embeddings) else "sample"
            raise ValueError(
                "`X` must have at least one row and one column; found an array with 0"
                f" {what}(s) (shape={embeddings.shape}) while a minimum of 1 is required."
            )
        self._fitted = _Fitted(place(embeddings, prominence, config), names)
        return self

    def fit_transform(
        self, X: ArrayLike, y: Any = None, *, prominence: ArrayLike | None = None
    ) -> Any:
        """Place the rows of `X` and return their directions, (N, 3) unit vectors. `y` is ignored.

        `transform(X)` gives other ones: it places each row as a newcomer beside its own fitted
        twin. An array in float32, or what `set_output` chose.
        """
        return self._output(self.fit(X, y, prominence=prominence).placement_.direction, X)

    def transform(self, X: ArrayLike) -> Any:
        """Directions of new points on the fitted map, (M, 3) unit vectors; see `FrozenMap`.

        The map does not move, and neither the order of the rows nor how many come together matters.
        For radii and uncertainties: `frozen_.place(X, prominence)`. An array in float32, or what
        `set_output` chose.

        Raises:
            ValueError: there is no fitted map (`NotFittedError` where scikit-learn is installed),
                other columns than were fitted, or `X` is refused by `FrozenMap.place`.
        """
        frozen = self.frozen_
        return self._output(frozen.place(self._vectors_like_fitted(X)).direction, X)

    def update(
        self,
        X: ArrayLike,
        y: Any = None,
        *,
        prominence: ArrayLike | None = None,
        strength: float | ArrayLike = STRENGTH,
    ) -> "SphereMap":
        """Add the rows of `X` to the map and fit all together; `y` is ignored.

        The points that are there are anchored at their places with `strength`, see
        `sphere_ebm.maps.growth.grow`, and come first in the new `placement_`. The greater the
        strength, the less they move and the less room they make.

        Raises ValueError where there is no fitted map, for other columns than were fitted, and what
        `grow` raises.
        """
        fitted = self._need()
        embeddings = self._vectors_like_fitted(X)
        grown = grow(
            fitted.placement,
            embeddings,
            prominence,
            config=growing(self.config),
            strength=strength,
        )
        self._fitted = _Fitted(grown, fitted.names)
        return self

    @property
    def frozen_(self) -> FrozenMap:
        """The fitted map for others to join, made when it is first asked for.

        Raises ValueError before `fit` (`NotFittedError` where scikit-learn is installed).
        """
        return self._need().frozen

    def show(self, **options: Any) -> Any:
        """The fitted map to explore in a notebook, by the options of `Placement.show`.

        Raises AttributeError before `fit`.
        """
        return self.placement_.show(**options)

    def save(self, path: Path | str) -> str:
        """Write the fitted map with its embeddings to one safetensors file, atomically.

        Returns its SHA-256. Raises ValueError before `fit`.
        """
        if self._fitted is None:
            raise _unfitted("this SphereMap has no map to save: call `fit` first.")
        return self._fitted.placement.save(path, embeddings=True)

    @classmethod
    def load(cls, path: Path | str) -> "SphereMap":
        """A fitted map from what `save` wrote, `label` for landmarks, or the folder of a map.

        Raises:
            LabelError: a folder that holds no finished map.
            ShardError: the file is not a placement, or damaged, as may be one of the folder's.
            ValueError: it was written without embeddings.
        """
        stored = load_stored(Path(path)) if Path(path).is_dir() else None
        placement = Placement.load(path) if stored is None else stored.placement
        if placement.embeddings is None:
            raise ValueError(
                f"{path} holds a placement without embeddings; write it with `SphereMap.save`, or"
                " load the folder of the map."
            )
        loaded = cls(**dataclasses.asdict(placement.config))
        kept = None if stored is None else _Kept(Path(path) / FROZEN, stored.digest)
        loaded._take(placement, kept)
        return loaded

    def _take(self, placement: Placement, kept: "_Kept | None" = None) -> None:
        self._fitted = _Fitted(placement, None, kept)

    def _need(self) -> "_Fitted":
        """What was fitted. Raises ValueError before `fit`."""
        if self._fitted is None:
            raise _unfitted(
                "this SphereMap has no map yet: call `fit` first, or `SphereMap.load` a saved one."
            )
        return self._fitted

    def _vectors_like_fitted(self, X: ArrayLike) -> Float32[np.ndarray, "new width"]:
        """Rows of `X` as vectors. Raises ValueError for other columns than were fitted."""
        fitted = self._need().names
        names = column_names(X)
        if fitted is not None and names is not None:
            refuse_other_names(fitted, names)
        elif fitted is not None:
            warnings.warn(
                "X does not have valid feature names, but SphereMap was fitted with feature names",
                UserWarning,
                stacklevel=3,
            )
        embeddings = checked_embeddings(X)
        width = self.n_features_in_
        if embeddings.shape[1] != width:
            raise ValueError(
                f"X has {embeddings.shape[1]} features, but SphereMap is expecting {width} features"
                " as input: the width of the map's embeddings."
            )
        return embeddings

    def _output(self, direction: Float32[np.ndarray, "points 3"], X: Any) -> Any:
        output = wanted_output(self._sklearn_output_config.get("transform"))
        return framed(direction, X, self.get_feature_names_out(), output)

    def __sklearn_is_fitted__(self) -> bool:
        return self._fitted is not None

    def __sklearn_tags__(self) -> Any:
        # scikit-learn (1.6 and later) calls this: where it is not installed, nobody does
        from sklearn.utils import Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=["float32"]),
        )

    def __repr__(self) -> str:
        # compared as they are written, since a parameter may still be anything, an array too
        written = {name: repr(value) for name, value in self.get_params().items()}
        changed = {name: text for name, text in written.items() if text != repr(_DEFAULTS[name])}
        return f"SphereMap({', '.join(f'{name}={text}' for name, text in changed.items())})"


class _Kept(NamedTuple):
    """Where the folder of a map keeps it frozen, and the digest of what it is made of."""

    path: Path
    digest: str


@final
class _Fitted:
    """A fitted map.

    `names` are those of the columns that it was fitted to, where they have any; `kept` is there
    where it was loaded from a folder.
    """

    kept: _Kept | None = None

    def __init__(
        self,
        placement: Placement,
        names: Shaped[np.ndarray, " columns"] | None,
        kept: _Kept | None = None,
    ) -> None:
        self.placement = placement
        self.names = names
        self.kept = kept

    @cached_property
    def frozen(self) -> FrozenMap:
        """The map for others to join."""
        if self.kept is None:
            return FrozenMap(self.placement)
        return kept_frozen_map(self.placement, *self.kept)

    def __getstate__(self) -> dict[str, Any]:
        # the frozen map is made again when it is needed: its program and its index do not pickle
        return {"placement": self.placement, "names": self.names}


_DEFAULTS: dict[str, Any] = {
    field.name: field.default for field in dataclasses.fields(PlacementConfig)
}


def _unknown(names: Iterable[str]) -> str | None:
    """What to tell about names that are no parameters; None when all are."""
    unknown = sorted(set(names) - set(_DEFAULTS))
    if not unknown:
        return None
    known = ", ".join(_DEFAULTS)
    meant = "".join(_meant(name) for name in unknown)
    return f"SphereMap has no parameter {', '.join(map(repr, unknown))};{meant} it has {known}."


_ELSEWHERE = {
    **dict.fromkeys(("n_neighbors", "n_neighbours", "k", "knn"), "neighbours"),
    **dict.fromkeys(("random_state", "random_seed"), "seed"),
    **dict.fromkeys(("n_iter", "max_iter", "n_epochs", "n_iterations", "iterations"), "steps"),
    **dict.fromkeys(("min_dist", "spread", "scale"), "interaction_length"),
    **dict.fromkeys(("learning_rate", "lr", "alpha"), "step_size"),
    **dict.fromkeys(("early_exaggeration", "exaggeration"), "coupling_start"),
    **dict.fromkeys(("repulsion_strength", "negative_sample_rate", "gamma"), "osmotic_strength"),
    **dict.fromkeys(("attraction_strength", "set_op_mix_ratio"), "lateral_strength"),
    "init": "start",
    "method": "scheme",
    "temperature": "temperature_end",
}
"""Names of UMAP, t-SNE and others, and what comes nearest to them here."""


def _meant(name: str) -> str:
    """What a wrong name was probably meant to be: a slip, or the name of another library."""
    close = difflib.get_close_matches(name, _DEFAULTS, 1, 0.75)
    found = _ELSEWHERE.get(name) or next(iter(close), None)
    return "" if found is None else f" for {name!r} try {found!r};"


def _unfitted(problem: str) -> ValueError:
    """The error of an estimator before `fit`: scikit-learn's where that is installed."""
    try:
        from sklearn.exceptions import NotFittedError
    except ImportError:
        return ValueError(problem)
    error: ValueError = NotFittedError(problem)
    return error


# shows the parameters to `help`, to editors and to scikit-learn
SphereMap.__init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        *inspect.signature(PlacementConfig).parameters.values(),
    ]
)
