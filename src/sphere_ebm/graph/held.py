"""Directions as they are held: in float32, or in 16 bits where all of them would take too much."""

import numpy as np
from jaxtyping import Float32, Int16

Held = Float32[np.ndarray, "points width"] | Int16[np.ndarray, "points width"]
"""Unit vectors in float32, or their components in steps of 2^-15."""

MOST_BYTES = 4 * 2**30
"""What directions in float32 may take on a disk; more of them are held in 16 bits."""

STEP = np.float32(2.0**-15)
"""What one step of 16 bits is worth."""

_ONE = 2**15 - 1


def held_type(points: int, width: int) -> np.dtype:
    """What so many directions are held in: a matter of their number alone."""
    return np.dtype(np.float32 if 4 * points * width <= MOST_BYTES else np.int16)


def shortened(unit: Float32[np.ndarray, "points width"], dtype: np.dtype) -> Held:
    """Directions as a `held_type` holds them.

    In 16 bits a component is off by 2^-16 at most, which is 1.5e-5, as much as float16 is where a
    component is .03 to .06. A component of 1 becomes 1 - 2^-15.
    """
    if dtype == np.float32:
        return unit
    return np.minimum(np.rint(unit / STEP), _ONE).astype(np.int16)


def lengthened(held: Held) -> Float32[np.ndarray, "points width"]:
    """The directions again, in float32. What is in float32 already is not copied."""
    if held.dtype == np.float32:
        return held
    rows = held.astype(np.float32)
    rows *= STEP
    return rows
