"""The columns that placements and label files share: one row for every point.

A new column is a line in `COLUMNS`, a field of `Placement` and a field of `Labels`; whoever writes,
reads, checks or carries columns goes by this table.
"""

from typing import Any, NamedTuple

import numpy as np


class Column(NamedTuple):
    """What a column holds, and whether files and placements may be without it."""

    dtype: Any = np.float32
    row: tuple[int, ...] = ()
    """Shape of one point's entry."""
    optional: bool = False

    def shape(self, points: int) -> tuple[int, ...]:
        """The shape of the whole column."""
        return (points, *self.row)


COLUMNS: dict[str, Column] = {
    "direction": Column(row=(3,)),
    "radius": Column(),
    "shell": Column(np.int32),
    "radius_std": Column(),
    "angle_std": Column(),
    "thermal_std": Column(optional=True),
    "modes": Column(row=(2, 3), optional=True),
    "mode_weight": Column(row=(2,), optional=True),
    "point_energy": Column(optional=True),
    "kept": Column(optional=True),
    "kept_p_value": Column(optional=True),
    "copies": Column(np.int32, optional=True),
}

Columns = dict[str, np.ndarray]
"""Arrays by the names of `COLUMNS`, all of one length; optional ones may be missing."""


def spliced(points: int, *parts: tuple[np.ndarray, Columns]) -> Columns:
    """Columns of `points` rows, of which each part has those at its positions.

    A column that any part lacks is left out.
    """
    shared = [name for name in COLUMNS if all(name in columns for _, columns in parts)]
    whole = {name: np.empty(COLUMNS[name].shape(points), COLUMNS[name].dtype) for name in shared}
    for rows, columns in parts:
        for name in shared:
            whole[name][rows] = columns[name]
    return whole
