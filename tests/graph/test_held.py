"""Directions in 16 bits: how many there must be, and what is lost."""

import numpy as np
import pytest

from sphere_ebm.graph.directions import hashes
from sphere_ebm.graph.held import MOST_BYTES, held_type, lengthened, shortened


def unit(points: int, width: int) -> np.ndarray:
    rows = np.random.default_rng(3).normal(size=(points, width))
    rows[0] = np.eye(width)[0]
    rows[1] = -np.eye(width)[1]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("width", [3, 256])
def test_only_directions_that_take_too_much_are_held_in_16_bits(width):
    most = MOST_BYTES // (4 * width)
    assert held_type(0, width) == held_type(most, width) == np.float32
    assert held_type(most + 1, width) == np.int16


def test_directions_in_float32_are_not_copied():
    rows = unit(20, 5)
    assert shortened(rows, np.dtype(np.float32)) is rows
    assert lengthened(rows) is rows


def test_components_in_16_bits_are_off_by_half_a_step_but_for_a_whole_one():
    rows = unit(500, 64)
    held = shortened(rows, np.dtype(np.int16))
    assert held.dtype == np.int16
    error = np.abs(lengthened(held) - rows)
    assert error[2:].max() <= 2.0**-16
    assert error.max() == error[0, 0] == 2.0**-15
    assert lengthened(held)[1, 1] == -1


def test_what_is_lengthened_is_held_again_by_the_same_bits_and_hashes_alike():
    held = shortened(unit(300, 33), np.dtype(np.int16))
    again = lengthened(held)
    np.testing.assert_array_equal(shortened(again, held.dtype), held)
    np.testing.assert_array_equal(hashes(held), hashes(again))
