import io
import zipfile

import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sphere_ebm.errors import ShardError
from sphere_ebm.files.shards.arrays import array_infos
from sphere_ebm.files.shards.own import TableColumns
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


def members(**arrays):
    """An archive of arrays, or of the bytes of what is said to be one."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, array in arrays.items():
            held = io.BytesIO()
            if not isinstance(array, bytes):
                np.save(held, array, allow_pickle=True)
            archive.writestr(f"{name}.npy", array if isinstance(array, bytes) else held.getvalue())
    return data.getvalue()


OTHERS = {
    "structured": np.zeros((2, 2), [("a", "f4")]),
    "named_in_unicode": np.zeros(2, [("ä日", "f4")]),
    "words": np.array([["a", "b"]]),
    "objects": np.array([[{}]], object),
    "halves": np.ones((2, 2), ml_dtypes.bfloat16),
    "broken": b"\x93NUMPY\x01\x00\xff\xff{",
    "empty": b"",
}


@pytest.mark.filterwarnings("ignore:Stored array in format 3.0")
@pytest.mark.parametrize("name", ["embeddings", "vectors"])
@pytest.mark.parametrize("other", OTHERS)
def test_other_members_of_an_archive_are_no_reason_to_refuse_it(tmp_path, name, other):
    (tmp_path / "x.npz").write_bytes(members(**{other: OTHERS[other], name: ROWS}))
    np.testing.assert_array_equal(read_shard(tmp_path / "x.npz").embeddings, ROWS)
    listed = [info.name for info in array_infos(tmp_path / "x.npz")]
    assert listed == [other, name]


def test_a_member_that_is_needed_and_cannot_be_read_is_named(tmp_path):
    (tmp_path / "x.npz").write_bytes(members(embeddings=OTHERS["broken"], vectors=ROWS))
    assert "cannot be read as npz" in refusal(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("dtype", "name"), [(ml_dtypes.bfloat16, "bfloat16"), (ml_dtypes.float8_e4m3fn, "float8")]
)
def test_types_that_numpy_stores_without_a_name_are_told_with_the_cure(tmp_path, dtype, name):
    said = refusal(npy(tmp_path / "x.npy", ROWS.astype(dtype)))
    assert f"is how NumPy stores {name}" in said
    assert said.endswith("save array.astype(np.float32), or safetensors, which names its types")


@pytest.mark.parametrize("archived", [False, True])
def test_a_second_array_after_the_first_is_named(tmp_path, archived):
    data = io.BytesIO()
    np.save(data, ROWS)
    np.save(data, ROWS)
    path = tmp_path / ("x.npz" if archived else "x.npy")
    path.write_bytes(members(embeddings=data.getvalue()) if archived else data.getvalue())
    assert "a second array follows the first, whose shape is (3, 2); join them" in refusal(path)


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


@pytest.mark.parametrize("suffix", ["npy", "npz", "parquet", "safetensors"])
def test_a_file_that_does_not_fit_into_memory_is_not_said_to_be_damaged(
    tmp_path, monkeypatch, write, suffix
):
    path = tmp_path / f"x.{suffix}"
    if suffix == "npz":
        np.savez(path, embeddings=ROWS)
    elif suffix == "npy":
        np.save(path, ROWS)
    elif suffix == "parquet":
        parquet(path, embeddings=ROWS.tolist())
    else:
        write(path, {"embeddings": ROWS})

    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np, "empty", full)
    assert refusal(path) == f"{path}: does not fit into memory; split it, or free memory"


def test_norms_that_differ_by_rounding_alone_order_nothing(tmp_path):
    rng = np.random.default_rng(0)
    for scale in (1.0, 2.5):
        rows = rng.standard_normal((50, 7))
        rows = (scale * rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        assert len(np.unique(np.linalg.norm(rows.astype(np.float64), axis=1))) > 1
        rows[3] = 0
        table = read_shard(npy(tmp_path / "x.npy", rows))
        np.testing.assert_array_equal(table.prominence, np.where(np.arange(50) == 3, 0, scale))
    rows[4] *= 1.001
    assert len(np.unique(read_shard(npy(tmp_path / "x.npy", rows)).prominence)) > 2


def ordered_by(path, name):
    return read_shard(path, columns=TableColumns(prominence=name, keep=("size",)))


def test_any_column_of_numbers_may_order_the_radii(tmp_path):
    own = {"prominence": np.array([9.0, 8, 7]), "size": np.array([1, 3, 2]), "word": list("abc")}
    np.savez(tmp_path / "x.npz", embeddings=ROWS, **own)
    parquet(tmp_path / "x.parquet", embeddings=ROWS.tolist(), **own)
    lines = "".join(
        f"[{a} {b}],{c},{d},x\n" for (a, b), c, d in zip(ROWS, (9, 8, 7), (1, 3, 2), strict=True)
    )
    (tmp_path / "x.csv").write_text(f"embeddings,prominence,size,word\n{lines}")
    for path in (tmp_path / f"x.{kind}" for kind in ("npz", "parquet", "csv")):
        assert ordered_by(path, None).prominence.tolist() == [9, 8, 7]
        assert ordered_by(path, "size").prominence.tolist() == [1, 3, 2]
        for norm in ("norm", "density"):
            assert ordered_by(path, norm).prominence.tolist() == [5, 2, 10]
        assert ordered_by(path, "prominence").prominence.tolist() == [9, 8, 7]
        kept = read_shard(path, columns=TableColumns(keep=("prominence",)))
        assert kept.prominence.tolist() == kept.own.values["prominence"].tolist() == [9, 8, 7]
        assert list(ordered_by(path, "size").own.values) == ["size"]
        assert ordered_by(path, "norm").warnings == ()
        with pytest.raises(ShardError, match="`word`: holds words, which order no radii"):
            ordered_by(path, "word")
        with pytest.raises(ShardError, match="`gone`: no such column; there are "):
            ordered_by(path, "gone")
    with pytest.raises(ShardError, match="`size`: no such column; there are none"):
        ordered_by(npy(tmp_path / "x.npy", ROWS), "size")


def test_a_row_without_a_number_is_named(tmp_path):
    path = parquet(tmp_path / "x.parquet", embeddings=ROWS.tolist(), size=[1.0, None, 2.0])
    with pytest.raises(ShardError, match="`size` at index 1: nan is not a finite float32"):
        ordered_by(path, "size")
