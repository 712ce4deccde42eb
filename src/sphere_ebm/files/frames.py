"""Columns of points as a data frame of pandas."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sphere_ebm.errors import require


def pandas_frame(columns: Mapping[str, np.ndarray | Sequence[Any]]) -> Any:
    """A row for each point; `direction` becomes `x`, `y` and `z`.

    Other columns of more than one axis are left out.

    Raises:
        MissingPackageError: pandas is not installed.
    """
    pandas = require("pandas", "pandas", "a data frame")
    made: dict[str, Any] = {}
    for name, column in columns.items():
        if name == "direction":
            made |= dict(zip("xyz", np.asarray(column).T, strict=True))
        elif not isinstance(column, np.ndarray) or column.ndim == 1:
            made[name] = column
    return pandas.DataFrame(made)
