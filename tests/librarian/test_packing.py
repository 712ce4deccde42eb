import numpy as np
import pytest

from sphere_ebm.librarian.packing import packed, unpacked


def test_four_bits_keep_a_row_to_an_eighth_of_its_length():
    rows = np.random.default_rng(0).standard_normal((200, 33)).astype(np.float32)
    rows[3] = 0
    codes, scale = packed(rows)
    assert codes.shape == (200, 17)
    back = unpacked(codes, scale, 33)
    assert not back[3].any()
    error = np.linalg.norm(back - rows, axis=1) / np.maximum(np.linalg.norm(rows, axis=1), 1)
    assert error.mean() < 0.125


def test_codes_for_another_width_are_refused():
    codes, scale = packed(np.ones((2, 8), np.float32))
    with pytest.raises(ValueError, match="vectors of 8, not of 9"):
        unpacked(codes, scale, 9)
