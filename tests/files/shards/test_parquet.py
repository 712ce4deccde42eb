"""Parquet files as shards: which column is taken, and what is refused."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sphere_ebm.errors import ShardError
from sphere_ebm.files.shards import parquet as parquet_reader
from sphere_ebm.files.shards.reader import read_shard

ROWS = np.array([[3, 4], [0, 2], [6, 8]], np.float32)


def refusal(path):
    with pytest.raises(ShardError) as caught:
        read_shard(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.large_list(pa.float64()),
        pa.list_(pa.float32(), 2),
        pa.list_(pa.int8()),
        pa.list_(pa.float16()),
        pa.list_view(pa.float32()),
        pa.large_list_view(pa.float64()),
    ],
)
def test_a_list_column_of_parquet_is_a_matrix(tmp_path, kind):
    column = pa.array(ROWS.tolist(), kind)
    path = parquet(
        tmp_path / "x.parquet", text=["a", "b", "c"], vector=column, prominence=[1.0, 2.0, 3.0]
    )
    table = read_shard(path)
    np.testing.assert_array_equal(table.embeddings, ROWS)
    np.testing.assert_array_equal(table.prominence, [1, 2, 3])


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_a_column_of_tensors_with_one_axis_is_a_matrix(tmp_path, shape):
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(ROWS.reshape(3, *shape))
    assert isinstance(column.type, pa.FixedShapeTensorType)
    path = parquet(tmp_path / "x.parquet", embeddings=column)
    np.testing.assert_array_equal(read_shard(path).embeddings, ROWS)


def test_other_columns_of_any_type_are_no_reason_to_refuse_a_file(tmp_path):
    others = {
        "matrices": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((3, 2, 2))),
        "structs": pa.array([{"a": [1]}, None, {"a": []}]),
        "days": pa.array([1, 2, 3], pa.date32()),
        "words": pa.array(["a", None, "c"]).dictionary_encode(),
    }
    path = parquet(tmp_path / "x.parquet", **others, vectors=ROWS.tolist())
    np.testing.assert_array_equal(read_shard(path).embeddings, ROWS)


def test_batches_of_a_column_join_without_a_seam(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_reader, "_ROWS", 4)
    rows = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float32)
    column = rows.astype(np.float64).tolist()
    weights = np.arange(11.0)
    path = parquet(tmp_path / "x.parquet", embeddings=column, prominence=weights)
    table = read_shard(path)
    np.testing.assert_array_equal(table.embeddings.view(np.uint32), rows.view(np.uint32))
    np.testing.assert_array_equal(table.prominence, weights)
    for broken, says in (
        ([*column[:9], [1.0, 2.0], *column[10:]], "`embeddings` at index 9: row has 2 values"),
        ([*column[:8], None, *column[9:]], "`embeddings` at index 8: is null"),
        ([*column[:9], [1.0, None, 2.0], *column[10:]], "at index (9, 1): is null"),
        ([*column[:9], [1.0, 1e300, 2.0], *column[10:]], "at index (9, 1): 1e+300 is not"),
    ):
        assert says in refusal(parquet(tmp_path / "y.parquet", embeddings=broken))
    weights[10] = np.inf
    path = parquet(tmp_path / "x.parquet", embeddings=column, prominence=weights)
    assert "`prominence` at index 10: inf is not a finite float32" in refusal(path)


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
        ({"embeddings": [["a"]]}, "`embeddings`: type string is no number"),
        ({"embeddings": [[True]]}, "`embeddings`: type bool is no number"),
        ({"embeddings": ["[1.0]"]}, "`embeddings`: type string is no list of numbers"),
        ({"embedding": [1.0]}, "`embedding`: type double is no list of numbers"),
        (
            {"embeddings": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((1, 2, 2)))},
            "shape=[2,2], permutation=[0,1]]> is no list of numbers",
        ),
        ({"embeddings": [[1.0]], "prominence": ["a"]}, "`prominence`: type string is no number"),
    ],
)
def test_a_parquet_file_without_a_clear_matrix_is_refused(tmp_path, columns, says):
    assert says in refusal(parquet(tmp_path / "x.parquet", **columns))


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    path = parquet(tmp_path / "x.parquet", embeddings=[[1.0]])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert refusal(path).endswith(
        "reading Parquet needs the package `pyarrow`; pip install 'pyarrow>=18'"
    )


def test_a_column_is_never_held_beside_its_matrix(tmp_path):
    rows = np.random.default_rng(0).normal(size=(40_000, 64)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 64)
    path = parquet(tmp_path / "x.parquet", embeddings=column)
    counting = pa.proxy_memory_pool(pa.default_memory_pool())
    former = pa.default_memory_pool()
    pa.set_memory_pool(counting)
    try:
        read = read_shard(path).embeddings
    finally:
        pa.set_memory_pool(former)
    np.testing.assert_array_equal(read, rows)
    assert counting.max_memory() < rows.nbytes / 2


def test_reading_shards_imports_no_jax():
    program = "import sys, sphere_ebm.files.shards.reader; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
