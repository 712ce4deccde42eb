import sys
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sphere_ebm.errors import ShardError
from sphere_ebm.files.shards.reader import read_shard

ROWS = np.array([[3, 4], [0, 2], [6, 8]], np.float32)


def refusal(path):
    with pytest.raises(ShardError) as caught:
        read_shard(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def npy(path, array):
    np.save(path, array, allow_pickle=True)
    return path


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    "array", [ROWS, ROWS.astype(">f8"), np.asfortranarray(ROWS), ROWS[None], ROWS.astype(np.int16)]
)
def test_a_matrix_is_a_shard_of_its_rows(tmp_path, array):
    table = read_shard(npy(tmp_path / "x.npy", array))
    np.testing.assert_array_equal(table.embeddings, ROWS)
    np.testing.assert_array_equal(table.prominence, [5, 2, 10])
    np.testing.assert_array_equal(table.patch_start, [0, 1, 2])
    np.testing.assert_array_equal(table.patch_length, [1, 1, 1])
    assert (table.layout, table.documents) == ("npy", ("x",))
    assert table.warnings == ("no stored prominence: the norm of the embedding is used",)


def test_an_empty_matrix_is_valid(tmp_path):
    assert read_shard(npy(tmp_path / "x.npy", np.empty((0, 4)))).embeddings.shape == (0, 4)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.ones(3), "shape (3,) is not (rows, dim)"),
        (np.float32(1), "shape () is not (rows, dim)"),
        (np.ones((2, 2, 2)), "shape (2, 2, 2)"),
        (np.ones((2, 0)), "no dimensions"),
        (np.array([["a"]]), "dtype <U1 is no number"),
        (np.array([[{}]], object), "pickled objects are never loaded"),
        (np.array([[1, 1], [1, np.nan]]), "index (1, 1): nan is not a finite float32"),
        (np.array([[1, 1e300]]), "index (0, 1): 1e+300 is not a finite float32"),
        (np.zeros(1, [("a", "f4")]), "is no number"),
    ],
)
def test_an_array_that_is_no_finite_matrix_is_refused(tmp_path, array, says):
    assert says in refusal(npy(tmp_path / "x.npy", array))


def test_a_header_that_promises_more_than_the_file_holds_is_refused(tmp_path):
    path = npy(tmp_path / "x.npy", np.ones((3, 2)))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"(3, 2)", b"(3, 9)"))
    assert "needs 216 bytes" in refusal(path)
    path.write_bytes(raw[:-8])
    assert "ends after 40 of 48 bytes" in refusal(path)
    path.write_bytes(raw.replace(b"(3, 2)", b"(-3,2)"))
    assert "impossible" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff{", b"PK\x03\x04 not a zip", b"PAR1xxxxPAR1"],
)
@pytest.mark.parametrize("suffix", ["npy", "npz", "parquet"])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, content, suffix):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(content)
    assert len(refusal(path).splitlines()) == 1


def test_a_named_array_and_its_prominence_are_taken_from_an_archive(tmp_path):
    np.savez_compressed(
        tmp_path / "x.npz", embeddings=ROWS, other=ROWS, prominence=[1.0, 2.0, 3.0], names=["a"]
    )
    table = read_shard(tmp_path / "x.npz")
    np.testing.assert_array_equal(table.embeddings, ROWS)
    np.testing.assert_array_equal(table.prominence, [1, 2, 3])
    assert table.warnings == ()


def test_the_only_matrix_of_an_archive_is_taken(tmp_path):
    np.savez(tmp_path / "x.npz", vectors=ROWS, labels=np.arange(3))
    np.testing.assert_array_equal(read_shard(tmp_path / "x.npz").embeddings, ROWS)


def test_an_archive_without_one_clear_matrix_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=ROWS, b=ROWS)
    assert "(2-D: a, b)" in refusal(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", a=np.ones(2))
    assert "(2-D: none)" in refusal(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", embeddings=ROWS, prominence=np.ones(2))
    assert "shape (2,) does not match the 3 rows" in refusal(tmp_path / "x.npz")


def test_unusual_compression_is_refused(tmp_path):
    npy(tmp_path / "embeddings.npy", ROWS)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.write(tmp_path / "embeddings.npy", "embeddings.npy")
    assert "unusual compression" in refusal(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 2)]
)
def test_a_list_column_of_parquet_is_a_matrix(tmp_path, kind):
    column = pa.array(ROWS.tolist(), kind)
    path = parquet(
        tmp_path / "x.parquet", text=["a", "b", "c"], vector=column, prominence=[1.0, 2.0, 3.0]
    )
    table = read_shard(path)
    np.testing.assert_array_equal(table.embeddings, ROWS)
    np.testing.assert_array_equal(table.prominence, [1, 2, 3])


def test_an_empty_parquet_column_is_valid(tmp_path):
    path = parquet(tmp_path / "x.parquet", embeddings=pa.array([], pa.list_(pa.float32(), 4)))
    assert read_shard(path).embeddings.shape == (0, 4)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"a": [1.0]}, "lists: none"),
        ({"a": [[1.0]], "b": [[1.0]]}, "lists: a, b"),
        ({"embeddings": [[1.0], None]}, "`embeddings` at index 1: is null"),
        ({"embeddings": [[1.0, 2.0], [1.0, None]]}, "`embeddings` at index (1, 1): is null"),
        (
            {"embeddings": [[1.0, 2.0], [1.0]]},
            "`embeddings` at index 1: row has 1 values, the first has 2",
        ),
        ({"embeddings": [[1.0]], "prominence": [None]}, "`prominence`"),
        ({"embeddings": [["a"]]}, "is no number"),
    ],
)
def test_a_parquet_file_without_a_clear_matrix_is_refused(tmp_path, columns, says):
    assert says in refusal(parquet(tmp_path / "x.parquet", **columns))


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    path = parquet(tmp_path / "x.parquet", embeddings=[[1.0]])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert refusal(path).endswith(
        "reading Parquet needs the package `pyarrow`; pip install 'sphere-ebm[parquet]'"
    )
