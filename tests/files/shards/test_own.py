"""Columns of the user's own: what they are taken for, and how files are joined."""

import math
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from sphere_ebm import ShardError
from sphere_ebm.files.container import read_container
from sphere_ebm.files.shards.own import (
    OwnColumns,
    TableColumns,
    column_of,
    column_of_cells,
    joined_columns,
    natural_words,
    words_of,
)
from sphere_ebm.files.tensors import write_tensors

HERE = Path("x.csv")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 3], np.int64),
        ([1, None, 3], np.float64),
        ([1, 2.5], np.float64),
        ([2**70, 1], np.float64),
        ([True, False], object),
        (["a", None], object),
        ([None, None], object),
        ([date(2000, 1, 2), None], object),
    ],
)
def test_values_are_numbers_where_all_are(values: list[object], kind: type) -> None:
    column = column_of(HERE, "c", values)
    assert column.dtype == kind
    for value, stored in zip(values, column.tolist(), strict=True):
        if value is None:
            assert stored == "" if kind is object else math.isnan(stored)
        elif kind is object:
            assert stored in ("true", "false", "a", "2000-01-02")
        else:
            assert stored == value


def test_cells_are_numbers_only_where_none_would_change(tmp_path: Path) -> None:
    assert column_of_cells(HERE, "c", ["1", " 2", "-3"]).tolist() == [1, 2, -3]
    np.testing.assert_array_equal(
        column_of_cells(HERE, "c", ["1.5", "NA", "2e3"]), [1.5, math.nan, 2000]
    )
    for cells in (["007", "1"], ["1", "x"], ["", ""], ["1_000"], ["e5", "."]):
        assert column_of_cells(HERE, "c", cells).tolist() == cells
    with pytest.raises(ShardError, match="`c` at index 1: is inf"):
        column_of(HERE, "c", [1.0, math.inf])


def test_columns_come_back_from_a_file_as_they_were(tmp_path: Path) -> None:
    values = {
        "year": np.array([2**60 + 1, -5], np.int64),
        "share": np.array([0.1, math.nan]),
        "a/b.c \u00e9": words_of(["\u05d0\n", ""]),
    }
    own = OwnColumns(values, "a/b.c \u00e9", by_row=True)
    write_tensors(tmp_path / "x.safetensors", own.tensors(), own.metadata())
    container = read_container(tmp_path / "x.safetensors")
    found = OwnColumns.of_file(container, 2)
    assert list(found.values) == list(values)
    for name, column in values.items():
        assert found.values[name].dtype == column.dtype
        np.testing.assert_array_equal(found.values[name], column)
    assert (found.id, found.by_row) == (own.id, True)
    with pytest.raises(ShardError, match="has 2 rows and not 3"):
        OwnColumns.of_file(container, 3)
    del container.tensors["own.year"]
    with pytest.raises(ShardError, match="cannot be read"):
        OwnColumns.of_file(container, 2)
    assert OwnColumns().metadata() == {}


def test_files_are_joined_in_order_and_words_win() -> None:
    one = {"year": np.array([1, 2]), "kind": words_of(["x", "y"])}
    two = {"year": np.array([0.5]), "kind": np.array([7])}
    joined = joined_columns([one, {}, two], [2, 1, 1])
    np.testing.assert_array_equal(joined["year"], [1, 2, math.nan, 0.5])
    assert joined["kind"].tolist() == ["x", "y", "", "7"]


def test_what_is_asked_for_is_written_down_and_read_back() -> None:
    asked = TableColumns("v", "t", "i", ("a", "b"))
    assert TableColumns.from_dict(asked.to_dict()) == asked
    assert TableColumns().to_dict() == {}
    assert asked.kept == ("i", "a", "b")
    assert asked.wanted == ("t", "i", "a", "b")
    assert asked.colouring("a") == asked
    assert asked.colouring("c").keep == ("a", "b", "c")


def test_words_are_sorted_by_the_numbers_in_them() -> None:
    words = ["part 10", "part 2", "Part 3", "part", "2"]
    assert sorted(words, key=natural_words) == ["2", "Part 3", "part", "part 2", "part 10"]
