"""What users hand over as numbers, turned into an array of real numbers or refused by name."""

import numbers
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import ArrayLike
from scipy.sparse import issparse


def real_array(name: str, given: Any) -> Shaped[np.ndarray, "..."]:
    """`given` as an array of real numbers of its own type.

    An array, nested lists, or anything NumPy converts: a DataFrame with columns of any numeric
    type, nullable and pyarrow's too, or a column whose rows are vectors, which are stacked.

    Raises:
        ValueError: a scipy sparse array, masked or missing entries, rows of different length, or
            entries that are no real numbers.
    """
    if issparse(given):
        raise ValueError(
            f"`{name}` must be a dense array; got a scipy sparse one: call .toarray()."
        )
    if np.ma.is_masked(given):
        raise ValueError(
            f"`{name}` must have no masked entries; got {np.ma.count_masked(given)}: fill or drop"
            " them."
        )
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be an array of real numbers; got rows of different length."
        ) from error
    if array.dtype == object:
        array = _unboxed(name, array)
    if array.dtype.kind == "c":
        raise ValueError(
            f"`{name}` must hold real numbers; got dtype {array.dtype}. Complex data not supported:"
            " hand over real and imaginary parts side by side."
        )
    # jnp, because the floating types of ml_dtypes are not NumPy's
    if not (jnp.issubdtype(array.dtype, jnp.floating) or array.dtype.kind in "biu"):
        raise ValueError(
            f"`{name}` must hold real numbers; got dtype {array.dtype}. Convert it to float32."
        )
    return array


def matrix(name: str, given: ArrayLike) -> Float[np.ndarray, "points width"]:
    """Vectors, one a row, in float32, or in float64 where they came so.

    Raises:
        ValueError: what `real_array` refuses, and anything but two axes.
    """
    array = real_array(name, given)
    if array.ndim != 2:
        raise ValueError(f"`{name}` must have shape (points, width); got {array.shape}.")
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def _unboxed(name: str, boxed: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """Numbers, or vectors of them, out of an array of Python's objects."""
    # A frame with one column gives an array with one column.
    rows = boxed[:, 0] if boxed.ndim == 2 and boxed.shape[1] == 1 else boxed
    kinds = set(map(type, rows.ravel()))
    if kinds and rows.ndim == 1 and kinds <= {np.ndarray, list, tuple}:
        vectors = [real_array(name, row) for row in rows]
        shape = vectors[0].shape
        other = next((i for i, one in enumerate(vectors) if one.shape != shape), None)
        if other is not None:
            raise ValueError(
                f"`{name}` must be an array of real numbers; got rows of different length: row"
                f" {other} has shape {vectors[other].shape}, the first {shape}."
            )
        return np.stack(vectors)
    if all(issubclass(kind, numbers.Integral) for kind in kinds):
        return boxed.astype(np.int64)
    if all(issubclass(kind, numbers.Real) for kind in kinds):
        return boxed.astype(np.float64)
    where = next(i for i, x in np.ndenumerate(boxed) if not isinstance(x, numbers.Real))
    place = ", ".join(map(str, where))
    cure = "fill or drop missing values; of a frame hand over the columns of numbers"
    if isinstance(boxed[where], (np.ndarray, list, tuple)):
        cure = "hand over the column of vectors alone"
    raise ValueError(
        f"`{name}` must hold real numbers; got {boxed[where]!r:.80} at index ({place}): {cure}."
    )
