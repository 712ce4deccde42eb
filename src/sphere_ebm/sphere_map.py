"""`SphereMap`: `place` as an estimator with scikit-learn's conventions, without needing scikit-learn."""

import dataclasses
import inspect
from collections.abc import Iterable
from typing import Any, final

import numpy as np
from jaxtyping import Float32
from numpy.typing import ArrayLike

from sphere_ebm.config import PlacementConfig
from sphere_ebm.fit import place


@final
class SphereMap:
    """`place` as an estimator with scikit-learn's conventions.

    Keyword arguments are the fields of `PlacementConfig`, refused at once when unknown or out of range.

    Attributes:
        config: the configuration.
        placement_: the `Placement` (after `fit`).
        n_features_in_: width of the embeddings (after `fit`).
    """

    def __init__(self, **parameters: Any) -> None:
        unknown = _unknown(parameters)
        if unknown:
            raise TypeError(unknown)
        self.config = PlacementConfig(**parameters)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters by name."""
        return {name: getattr(self.config, name) for name in _NAMES}

    def set_params(self, **parameters: Any) -> "SphereMap":
        """Change parameters by name; raises ValueError for one that does not exist or is out of range."""
        unknown = _unknown(parameters)
        if unknown:
            raise ValueError(unknown)
        self.config = dataclasses.replace(self.config, **parameters)
        return self

    def fit(self, X: ArrayLike, y: Any = None, *, prominence: ArrayLike | None = None) -> "SphereMap":
        """Place the rows of `X`; see `place`. `y` is ignored."""
        self.placement_ = place(X, prominence, self.config)
        self.n_features_in_ = int(np.shape(X)[1])
        return self

    def fit_transform(
        self, X: ArrayLike, y: Any = None, *, prominence: ArrayLike | None = None
    ) -> Float32[np.ndarray, "points 3"]:
        """Place the rows of `X` and return their directions, (N, 3) unit vectors. `y` is ignored."""
        return self.fit(X, y, prominence=prominence).placement_.direction

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "placement_")

    def __sklearn_tags__(self) -> Any:
        # scikit-learn (1.6 and later) calls this: where it is not installed, nobody does
        from sklearn.utils import Tags, TargetTags, TransformerTags

        return Tags(estimator_type=None, target_tags=TargetTags(required=False), transformer_tags=TransformerTags())

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
    return f"SphereMap has no parameter {', '.join(map(repr, unknown))}; it has {', '.join(_NAMES)}."


# shows the parameters to `help` and to editors
SphereMap.__init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        *inspect.signature(PlacementConfig).parameters.values(),
    ]
)
