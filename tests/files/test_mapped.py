"""Mapped arrays are sent as the name of their file, all others as they are."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from sphere_ebm.files.mapped import Mapped, portable, unmapped


@pytest.fixture
def mapped(tmp_path: Path) -> np.memmap:
    made = np.memmap(tmp_path / "rows", np.float32, "w+", shape=(5000, 8))
    made[:] = np.arange(made.size).reshape(made.shape)
    return made


def test_a_mapped_array_is_sent_as_a_name_and_mapped_again(mapped: np.memmap) -> None:
    sent = pickle.dumps(portable(mapped))
    assert len(sent) < 1000 < mapped.nbytes
    again = unmapped(pickle.loads(sent))
    np.testing.assert_array_equal(again, mapped)
    assert not again.flags.writeable


def test_the_first_rows_of_a_mapped_array_are_sent_as_a_name_too(mapped: np.memmap) -> None:
    sent = portable(mapped[:100])
    assert not isinstance(sent, np.ndarray)
    np.testing.assert_array_equal(unmapped(sent), mapped[:100])


def test_what_is_not_the_beginning_of_a_file_is_sent_itself(mapped: np.memmap) -> None:
    for array in (np.ones(3), mapped[1:], mapped[:, :2]):
        assert portable(array) is array
        assert unmapped(array) is array


def test_a_file_may_be_mapped_to_be_written_and_one_without_rows_not_at_all(
    mapped: np.memmap, tmp_path: Path
) -> None:
    held = Mapped(str(tmp_path / "rows"), "<f4", (5000, 8), 0)
    writing = unmapped(held, "r+")
    writing[7] = -1
    np.testing.assert_array_equal(mapped[7], np.full(8, -1))
    (tmp_path / "none").touch()
    assert unmapped(Mapped(str(tmp_path / "none"), "<i2", (0, 8), 0)).shape == (0, 8)
