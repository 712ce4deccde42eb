"""Numbers in whatever users hold them become arrays of real numbers, or are refused with a cure."""

from typing import Any

import ml_dtypes
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sphere_ebm.geometry.arrays import matrix, real_array

ROWS = np.array([[1.5, -2.0], [0.0, 3.0], [4.0, 5.0]], np.float32)
FRAME = pd.DataFrame(ROWS, columns=["a", "b"])
HOLDERS = {
    "lists": ROWS.tolist(),
    "float64": ROWS.astype(np.float64),
    "float16": ROWS.astype(np.float16),
    "bfloat16": ROWS.astype(ml_dtypes.bfloat16),
    "frame": FRAME,
    "nullable": FRAME.astype("Float32"),
    "arrow": FRAME.astype("float32[pyarrow]"),
    "objects": FRAME.astype(object),
    "column of arrays": pd.Series(list(ROWS)),
    "column of lists": pd.Series(ROWS.tolist()),
    "frame of one such column": pd.DataFrame({"vector": list(ROWS)}),
    "column of arrow lists": pd.Series(ROWS.tolist(), dtype=pd.ArrowDtype(pa.list_(pa.float32()))),
    "arrow array": pa.array(ROWS.tolist()),
}


@pytest.mark.parametrize("held", HOLDERS)
def test_vectors_are_taken_from_whatever_holds_them(held: str) -> None:
    found = matrix("x", HOLDERS[held])
    assert found.dtype in (np.float32, np.float64)
    np.testing.assert_array_equal(found, ROWS)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64, np.uint8, bool])
def test_integers_of_any_size_become_float32(dtype: type) -> None:
    least = False if dtype is bool else np.iinfo(dtype).min
    found = matrix("x", np.array([[least, 1]], dtype))
    assert found.dtype == np.float32
    assert found[0].tolist() == [float(least), 1.0]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            pd.DataFrame({"a": [1.0, 2.0], "b": [None, 1.0]}).astype("Float64"),
            r"`x` must hold real numbers; got <NA> at index \(0, 1\): fill or drop missing values",
        ),
        (pd.Series([1, None], dtype=object), r"got None at index \(1\): fill or drop missing"),
        (
            pd.DataFrame({"text": ["a", "b"], "v": [1.0, 2.0]}),
            r"got 'a' at index \(0, 0\): .*hand over the columns of numbers",
        ),
        (
            pd.DataFrame({"n": [1, 2], "v": [[1.0], [2.0]]}),
            r"got \[1.0\] at index \(0, 1\): hand over the column of vectors alone",
        ),
        (
            pd.Series([[1.0, 2.0], [1.0]]),
            r"rows of different length: row 1 has shape \(1,\), the first \(2,\)",
        ),
        (pd.Series([[1.0], ["a"]]), r"`x` must hold real numbers; got dtype <U1"),
    ],
)
def test_what_holds_no_numbers_is_refused_with_the_place_and_a_cure(given: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        real_array("x", given)


def test_a_matrix_has_two_axes() -> None:
    with pytest.raises(ValueError, match=r"`x` must have shape \(points, width\); got \(3,\)"):
        matrix("x", [1.0, 2.0, 3.0])
