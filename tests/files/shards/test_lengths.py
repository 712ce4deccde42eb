"""Norms less what lengths explain of them."""

from pathlib import Path

import numpy as np
import pytest

from sphere_ebm.files.shards.lengths import corrected, length_curve, lengths_of
from sphere_ebm.files.shards.own import OwnColumns, TableColumns
from sphere_ebm.files.shards.reader import read_shard
from sphere_ebm.files.shards.table import PatchTable


def table_of(prominence, lengths, **more):
    rows = len(lengths)
    return PatchTable(
        **{"source": Path("x"), "layout": "F", "embeddings": np.ones((rows, 2), np.float32)}
        | {"prominence": np.asarray(prominence, np.float32), "documents": ("x",)}
        | {"document": np.zeros(rows, np.int32), "patch_start": np.arange(rows, dtype=np.int32)}
        | {"patch_length": np.asarray(lengths, np.int32)},
        **more,
    )


def test_what_lengths_explain_is_taken_out_by_one_curve_for_all_files():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 200, 500)
    own = rng.standard_normal(500)
    norm = 5 - 2 * np.log(lengths) + 0.1 * np.log(lengths) ** 2 + own
    parts = [table_of(norm[rows], lengths[rows]) for rows in (slice(490), slice(490, 500))]
    curve = length_curve(parts)
    np.testing.assert_allclose(curve, [0.1, -2, 5], atol=0.5)
    found = np.concatenate([corrected(part, curve).prominence for part in parts])
    assert abs(np.corrcoef(norm, np.log(lengths))[0, 1]) > 0.5
    assert abs(np.corrcoef(found, np.log(lengths))[0, 1]) < 1e-4
    assert np.corrcoef(found, own)[0, 1] > 0.98
    assert corrected(parts[0], None) is parts[0]


def test_where_nothing_is_to_be_explained_there_is_no_curve():
    assert length_curve([table_of([1, 2, 3, 4], [8, 8, 9, 9])]) is None
    assert length_curve([table_of([2, 2, 2, 2], [1, 2, 3, 4])]) is None


def test_rows_are_as_long_as_what_they_say():
    text = np.frombuffer(b"onefifteen", np.uint8)
    held = {"bytes": text, "bytes_offset": np.array([0, 3, 3, 10])}
    rows = table_of([1, 2, 3], [1, 1, 1], own=OwnColumns(by_row=True), **held)
    assert lengths_of(rows).tolist() == [3, 0, 7]
    curve = length_curve([rows])
    assert np.isfinite(corrected(rows, curve).prominence).all()
    assert lengths_of(table_of([1, 2, 3], [4, 5, 6])).tolist() == [4, 5, 6]


def test_a_shard_is_read_with_the_curve_of_its_map(tmp_path, write, patches):
    path = write(tmp_path / "doc.safetensors", patches([2, 1, 3]))
    curve = (0.5, -1.0, 2.0)
    columns = TableColumns(prominence="length-corrected", length_curve=curve)
    plain = read_shard(path)
    logs = np.log([2, 1, 3])
    expected = plain.prominence - (0.5 * logs**2 - logs + 2)
    np.testing.assert_allclose(read_shard(path, columns=columns).prominence, expected, rtol=1e-6)
    assert TableColumns.from_dict(columns.to_dict()) == columns
    without = TableColumns(prominence="length-corrected")
    np.testing.assert_array_equal(read_shard(path, columns=without).prominence, plain.prominence)
    with pytest.raises(ValueError, match="could not convert"):
        TableColumns.from_dict({"length_curve": ["x"]})
