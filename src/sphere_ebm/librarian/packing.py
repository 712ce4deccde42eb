"""Vectors in few bits: a scale for each row and integers of four or eight bits."""

import numpy as np
from jaxtyping import Float32, UInt8

BITS = 4
_TOP = 2 ** (BITS - 1) - 1
# the two numbers of each byte
_STEPS = np.stack([np.arange(256) & 15, np.arange(256) >> 4], axis=1).astype(np.float32) - 8
_CUT = 0.85  # the largest numbers are cut, which makes the steps of all the others finer


def packed(
    vectors: Float32[np.ndarray, "rows width"],
) -> tuple[UInt8[np.ndarray, "rows half"], Float32[np.ndarray, " rows"]]:
    """Codes, two numbers a byte, and the scale of each row.

    A number is a step of -7 to 7 times the scale. Of a row of normal numbers the error is a ninth
    of its length.
    """
    largest = np.abs(vectors).max(axis=1, initial=0)
    scale = (_CUT / _TOP * largest).astype(np.float32)
    safe = np.where(scale > 0, scale, 1)[:, None]
    steps = np.clip(np.rint(vectors / safe), -_TOP, _TOP).astype(np.int8) + 8
    even = np.pad(steps, ((0, 0), (0, steps.shape[1] % 2)), constant_values=8).astype(np.uint8)
    return even[:, 0::2] | (even[:, 1::2] << 4), scale


def unpacked(
    codes: UInt8[np.ndarray, "rows half"], scale: Float32[np.ndarray, " rows"], width: int
) -> Float32[np.ndarray, "rows width"]:
    """The vectors of codes that `packed` made.

    Raises:
        ValueError: codes for another width.
    """
    if codes.shape[1] != (width + 1) // 2:
        raise ValueError(f"`bag.codes` is for vectors of {2 * codes.shape[1]}, not of {width}")
    both = _STEPS[codes].reshape(len(codes), 2 * codes.shape[1])[:, :width]
    return np.multiply(both, scale[:, None], dtype=np.float32)
