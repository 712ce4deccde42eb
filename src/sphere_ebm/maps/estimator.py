"""`SphereMap`: `place` as an estimator that scikit-learn's pipelines and grids can use.

scikit-learn itself is not needed.
"""

import dataclasses
import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float32
from numpy.typing import ArrayLike

from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.maps.frozen_map import FrozenMap
from sphere_ebm.maps.place import place
from sphere_ebm.maps.placement import Placement


@final
class SphereMap:
    """`place` as an estimator: what scikit-learn's pipelines, grids, `clone` and tags ask for.

    That is `fit`, `fit_transform`, `transform`, `get_params`, `set_params` and fitted attributes
    that end in an underscore. Unlike an estimator of scikit-learn's own it derives from none of its
    classes, keeps its parameters in one `config`, and checks them when it is built. Keyword
    arguments are the fields of `PlacementConfig`, refused at once when unknown or out of range.

    Attributes:
        config: the configuration.
        placement_: the `Placement` (after `fit`).
        n_features_in_: width of the embeddings (after `fit`).
        frozen_: the `FrozenMap` that `transform` uses (made when it is first asked for).
    """

    def __init__(self, **parameters: Any) -> None:
        unknown = _unknown(parameters)
        if unknown:
            raise TypeError(unknown)
        self.config = PlacementConfig(**parameters)
        self._frozen: FrozenMap | None = None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters by name."""
        return {name: getattr(self.config, name) for name in _NAMES}

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

    @property
    def frozen_(self) -> FrozenMap:
        """The fitted map for others to join. Raises ValueError before `fit`."""
        if not hasattr(self, "placement_"):
            raise ValueError(
                "this SphereMap has no map yet: call `fit` first, or `SphereMap.load` a saved one."
            )
        if self._frozen is None:
            self._frozen = FrozenMap(self.placement_)
        return self._frozen

    def save(self, path: Path | str) -> str:
        """Write the fitted map with its embeddings to one safetensors file, atomically.

        Returns its SHA-256.
        """
        if not hasattr(self, "placement_"):
            raise ValueError("this SphereMap has no map to save: call `fit` first.")
        return self.placement_.save(path, embeddings=True)

    @classmethod
    def load(cls, path: Path | str) -> "SphereMap":
        """A fitted map from what `save` wrote, or `label` for landmarks.

        Raises:
            ShardError: the file is not a placement, or damaged.
            ValueError: it was written without embeddings.
        """
        placement = Placement.load(path)
        if placement.embeddings is None:
            raise ValueError(
                f"{path} holds a placement without embeddings; write it with `SphereMap.save`."
            )
        loaded = cls(**dataclasses.asdict(placement.config))
        loaded._take(placement)
        return loaded

    def _take(self, placement: Placement) -> None:
        self.placement_ = placement
        self._frozen = None
        self.n_features_in_ = (
            0 if placement.embeddings is None else int(placement.embeddings.shape[1])
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "placement_")

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
        default = PlacementConfig()
        changed = {k: v for k, v in self.get_params().items() if v != getattr(default, k)}
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
