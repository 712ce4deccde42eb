"""Norms less what the length of a text explains of them: a prominence that one curve corrects."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32, Float64, Int64

from sphere_ebm.files.shards.table import PatchTable

LengthCurve = tuple[float, ...]
"""Coefficients of the square, of the logarithm of a length in bytes, and of 1."""

_FITTED = 3
_DIGITS = 6  # so that what another machine rounds otherwise is the same curve


def lengths_of(table: PatchTable) -> Int64[np.ndarray, " patches"]:
    """Bytes of each patch, or of what a row of a table says; tokens where no bytes are known."""
    if table.own.by_row and table.bytes_offset is not None:
        return np.diff(table.bytes_offset)
    return table.patch_length.astype(np.int64)


def length_curve(tables: Sequence[PatchTable]) -> LengthCurve | None:
    """What the lengths of all patches explain of their prominences, by least squares.

    None where there is nothing to explain: fewer than three lengths, or one prominence for all.
    """
    prominence = np.concatenate([table.prominence for table in tables])
    lengths = np.concatenate([lengths_of(table) for table in tables])
    if len(np.unique(lengths)) < _FITTED or not np.ptp(prominence):
        return None
    found, *_ = np.linalg.lstsq(_powers(lengths), prominence.astype(np.float64), rcond=None)
    return tuple(float(f"{number:.{_DIGITS}g}") for number in found)


def corrected(table: PatchTable, curve: LengthCurve | None) -> PatchTable:
    """The table with what the curve leaves of its prominences; without a curve as it is."""
    if curve is None:
        return table
    left = table.prominence - _powers(lengths_of(table)) @ np.array(curve)
    return replace(table, prominence=_float32(left))


def _powers(lengths: Int64[np.ndarray, " patches"]) -> Float64[np.ndarray, "patches 3"]:
    return np.vander(np.log(np.maximum(lengths, 1)), _FITTED)


def _float32(values: Float64[np.ndarray, " patches"]) -> Float32[np.ndarray, " patches"]:
    return values.astype(np.float32)
