"""Directions that all but coincide: what they share is taken away before they are compared.

The cosine of two unit vectors is known to about 1e-7 in float32. Where all directions lie so close
together that their cosines differ by less (a common offset of the embeddings does that), it tells
nothing. What is left after the mean direction m is taken away in float64 is small and exact: with
a = u - m and b = v - m, the cosine is 1 - |a - b|² / 2.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64

from sphere_ebm.geometry.sphere import unit_rows

_CONCENTRATED = 1e-3
_INDISTINCT = 1e-5
_ROUNDING = 1e-13  # of float32 input: what lies closer together is the same direction
_SAMPLE = 4096


class Common(NamedTuple):
    """What directions share.

    Attributes:
        direction: their mean, shorter than 1.
        indistinct: whether float32 can hardly tell their cosines apart.
    """

    direction: Float64[np.ndarray, " width"]
    indistinct: bool


def common_direction(embeddings: Float[np.ndarray, "points width"]) -> Common | None:
    """The mean direction, where directions are spread by 1 - |mean|² < 1e-3 about it; else None.

    It is that of 4 096 rows at most. Zero rows have no part in it.
    """
    rows = np.unique(np.linspace(0, max(len(embeddings) - 1, 0), _SAMPLE).astype(np.int64))
    sample = embeddings[rows[: len(embeddings)]]
    if not np.isfinite(sample).all():
        return None
    unit = directions(sample)
    unit = unit[unit.any(axis=1)]
    if len(unit) < 2:
        return None
    mean = unit.mean(axis=0)
    spread = 1 - float(mean @ mean)
    if not _ROUNDING < spread < _CONCENTRATED:
        return None
    return Common(mean, spread < _INDISTINCT)


def directions(rows: Float[np.ndarray, "rows width"]) -> Float64[np.ndarray, "rows width"]:
    """Unit vectors in float64; zero rows stay zero. No square overflows or vanishes."""
    wide = rows.astype(np.float64)
    peak = np.abs(wide).max(axis=1, initial=0, keepdims=True)
    return unit_rows(np.divide(wide, peak, out=wide, where=peak > 0))


def centred(
    rows: Float[np.ndarray, "rows width"], common: Common
) -> Float32[np.ndarray, "rows width"]:
    """What is left of every direction without the common one, u - m, in float32."""
    return (directions(rows) - common.direction).astype(np.float32)
