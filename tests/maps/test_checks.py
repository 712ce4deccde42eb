"""What is refused, and what becomes of what is not, where a function takes one number for every
point.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from sphere_ebm.maps.checks import checked_neighbours, checked_numbers, checked_prominence


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1.0, 2.0], r"^`variance` must have shape \(3,\); got \(2,\)\.$"),
        (1.0, r"^`variance` must have shape \(3,\); got \(\)\.$"),
        (np.ones((3, 1)), r"^`variance` must have shape \(3,\); got \(3, 1\)\.$"),
        ([1.0, np.nan, 2.0], r"^`variance` must be finite.*; got nan at index \(1\)"),
        ([1.0, 2.0, -np.inf], r"^`variance` must be finite.*; got -inf at index \(2\)"),
        (["a", "b", "c"], r"^`variance` must hold real numbers"),
        ([1j, 1, 1], r"^`variance` must hold real numbers"),
        (
            [[1], [1, 2], [3]],
            r"^`variance` must be an array of real numbers; got rows of different length",
        ),
        (np.ma.masked_equal([1, 2, 3], 2), r"^`variance` must have no masked entries; got 1"),
    ],
)
def test_what_is_not_one_finite_number_a_point_is_refused_by_name(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_numbers("variance", given, 3)


@pytest.mark.parametrize(
    "given", [[1, 0, 2], np.array([1, 0, 2], np.uint8), jnp.asarray([1, 0, 2], jnp.bfloat16)]
)
def test_numbers_of_any_type_become_float64(given: Any) -> None:
    found = checked_numbers("variance", given, 3)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [1, 0, 2])
    assert checked_numbers("variance", [], 0).shape == (0,)


@pytest.mark.parametrize(
    ("prominence", "tied"),
    [
        ([1, 1, 2, 3, 4], 0),
        ([1, 1, 2, 2, 4], 4),
        ([3, 1, 3, 2, 3], 3),
        ([5, 5, 5, 5, 5], 5),
        ([4, 1, 3, 2, 5], 0),
        ([7], 0),
        ([], 0),
        ([0.0, -0.0, 1], 2),
    ],
)
def test_ties_are_counted_when_they_are_more_than_half(prominence: list[float], tied: int) -> None:
    _, notes = checked_prominence(prominence, np.zeros((len(prominence), 0), np.float32))
    assert [note.split()[0] for note in notes] == ([str(tied)] if tied else [])


def test_neighbours_that_are_no_pair_are_refused_with_the_cure() -> None:
    with pytest.raises(ValueError, match=r"tuple of index and similarity; got ndarray\. Make one"):
        checked_neighbours(np.array([[1], [0]]), np.ones((2, 3), np.float32))
