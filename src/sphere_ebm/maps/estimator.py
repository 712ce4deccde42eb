"""`SphereMap`: `place` as an estimator for scikit-learn's pipelines, which itself is not needed."""

import dataclasses
import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float32
from numpy.typing import ArrayLike

from sphere_ebm.maps.anchors import STRENGTH
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.maps.frozen_map import FrozenMap
from sphere_ebm.maps.growth import grow
from sphere_ebm.maps.loading import load_placement
from sphere_ebm.maps.place import place
from sphere_ebm.maps.placement import Placement


@final
class SphereMap:
    """`place` as an estimator that works within scikit-learn.

    It has what pipelines, `clone` and searches over parameters call: `get_params`, `set_params`,
    `fit`, `transform`, `fit_transform`, tags, and `__sklearn_is_fitted__` for `check_is_fitted`.
    Keyword arguments are the fields of `PlacementConfig`.

    It departs from the conventions in five ways. Parameters are checked at once, when it is built
    and by `set_params`, not by `fit`. They are kept as fields of `config` and not as attributes of
    the estimator, integers and real numbers as `int` and `float`. `fit_transform(X)` does not give
    what `fit(X).transform(X)` gives. Before `fit`, `transform` raises `ValueError` and not
    `NotFittedError`, which is one of scikit-learn's own. There are no names of features, neither of
    those that come in nor of those that go out.

    Attributes:
        config: the configuration.
    """

    def __init__(self, **parameters: Any) -> None:
        unknown = _unknown(parameters)
        if unknown:
            raise TypeError(unknown)
        self.config = PlacementConfig(**parameters)
        self._placement: Placement | None = None
        self._frozen: FrozenMap | None = None

    @property
    def placement_(self) -> Placement:
        """The fitted `Placement`. Raises AttributeError before `fit`, as if it were not there."""
        if self._placement is None:
            raise AttributeError("this SphereMap has no `placement_` yet: call `fit` first.")
        return self._placement

    @property
    def n_features_in_(self) -> int:
        """Width of the fitted embeddings. Raises AttributeError before `fit`."""
        held = self.placement_.embeddings
        return 0 if held is None else int(held.shape[1])

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters by name; no parameter is an estimator, so `deep` changes nothing."""
        return dict(vars(self.config))

    def set_params(self, **parameters: Any) -> "SphereMap":
        """Change parameters by name.

        Raises ValueError for one that does not exist or is out of range.
        """
        unknown = _unknown(parameters)
        if unknown:
            raise ValueError(unknown)
        self.config = dataclasses.replace(self.config, **parameters)
        return self

    def fit(
        self, X: ArrayLike, y: Any = None, *, prominence: ArrayLike | None = None
    ) -> "SphereMap":
        """Place the rows of `X`; see `place`. `y` is ignored."""
        self._take(place(X, prominence, self.config))
        return self

    def fit_transform(
        self, X: ArrayLike, y: Any = None, *, prominence: ArrayLike | None = None
    ) -> Float32[np.ndarray, "points 3"]:
        """Place the rows of `X` and return their directions, (N, 3) unit vectors. `y` is ignored.

        `transform(X)` gives other ones: it places each row as a newcomer beside its own fitted
        twin.
        """
        return self.fit(X, y, prominence=prominence).placement_.direction

    def transform(self, X: ArrayLike) -> Float32[np.ndarray, "new 3"]:
        """Directions of new points on the fitted map, (M, 3) unit vectors; see `FrozenMap`.

        The map does not move, and neither the order of the rows nor how many come together matters.
        For radii and uncertainties: `frozen_.place(X, prominence)`.

        Raises:
            ValueError: there is no fitted map, or `X` is refused by `FrozenMap.place`.
        """
        return self.frozen_.place(X).direction

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

        Raises ValueError where there is no fitted map, and what `grow` raises.
        """
        grown = grow(self.frozen_.placement, X, prominence, strength=strength)
        self._take(grown)
        return self

    @property
    def frozen_(self) -> FrozenMap:
        """The fitted map for others to join, made when it is first asked for.

        Raises ValueError before `fit`.
        """
        if self._placement is None:
            raise ValueError(
                "this SphereMap has no map yet: call `fit` first, or `SphereMap.load` a saved one."
            )
        if self._frozen is None:
            self._frozen = FrozenMap(self._placement)
        return self._frozen

    def show(self, **options: Any) -> Any:
        """The fitted map to explore in a notebook, by the options of `Placement.show`.

        Raises AttributeError before `fit`.
        """
        return self.placement_.show(**options)

    def save(self, path: Path | str) -> str:
        """Write the fitted map with its embeddings to one safetensors file, atomically.

        Returns its SHA-256. Raises ValueError before `fit`.
        """
        if self._placement is None:
            raise ValueError("this SphereMap has no map to save: call `fit` first.")
        return self._placement.save(path, embeddings=True)

    @classmethod
    def load(cls, path: Path | str) -> "SphereMap":
        """A fitted map from what `save` wrote, `label` for landmarks, or the folder of a map.

        Raises:
            LabelError: a folder that holds no finished map.
            ShardError: the file is not a placement, or damaged, as may be one of the folder's.
            ValueError: it was written without embeddings.
        """
        placement = load_placement(path) if Path(path).is_dir() else Placement.load(path)
        if placement.embeddings is None:
            raise ValueError(
                f"{path} holds a placement without embeddings; write it with `SphereMap.save`, or"
                " load the folder of the map."
            )
        loaded = cls(**dataclasses.asdict(placement.config))
        loaded._take(placement)
        return loaded

    def _take(self, placement: Placement) -> None:
        self._placement = placement
        self._frozen = None

    def __sklearn_is_fitted__(self) -> bool:
        return self._placement is not None

    def __sklearn_tags__(self) -> Any:
        # scikit-learn (1.6 and later) calls this: where it is not installed, nobody does
        from sklearn.utils import Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(),
        )

    def __getstate__(self) -> dict[str, Any]:
        # the frozen map is made again when it is needed: its program and its index do not pickle
        return self.__dict__ | {"_frozen": None}

    def __repr__(self) -> str:
        default = vars(PlacementConfig())
        changed = {name: v for name, v in self.get_params().items() if v != default[name]}
        return f"SphereMap({', '.join(f'{k}={v!r}' for k, v in changed.items())})"


_NAMES = tuple(field.name for field in dataclasses.fields(PlacementConfig))


def _unknown(names: Iterable[str]) -> str | None:
    """What to tell about names that are no parameters; None when all are."""
    unknown = sorted(set(names) - set(_NAMES))
    if not unknown:
        return None
    return (
        f"SphereMap has no parameter {', '.join(map(repr, unknown))}; it has {', '.join(_NAMES)}."
    )


# shows the parameters to `help` and to editors
SphereMap.__init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        *inspect.signature(PlacementConfig).parameters.values(),
    ]
)
