"""A file of named arrays: the same content is the same bytes, and comes back the same."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from sphere_ebm.errors import ShardError
from sphere_ebm.files.tensors import Blocks, mapped_tensors, read_tensors, write_tensors

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "longer name": np.array([1.5, -0.0, 1e-300]),
    "shell": np.array([3, -1], np.int32),
    "count": np.array([2**40], np.int64),
    "bytes": np.array([0, 255, 7], np.uint8),
    "unsigned": np.array([2**32 - 1], np.uint32),
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.array(2.5, np.float32),
}
F8 = b'{"x": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}'
METADATA = {"zeta": "1", "alpha": "ünïcode ✓", "json": '{"a": [1, 2]}'}


def test_arrays_and_metadata_come_back_as_they_were(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x", ARRAYS, METADATA)
    arrays, metadata = read_tensors(tmp_path / "x")
    assert metadata == METADATA
    assert sorted(arrays) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()


def test_the_safetensors_library_reads_the_file(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x", ARRAYS, METADATA)
    for name, array in load_file(tmp_path / "x").items():
        np.testing.assert_array_equal(array, ARRAYS[name])


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    digest = write_tensors(tmp_path / "x", ARRAYS, METADATA)
    assert digest == hashlib.sha256((tmp_path / "x").read_bytes()).hexdigest()


def test_the_order_of_names_does_not_matter(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x", ARRAYS, METADATA)
    write_tensors(tmp_path / "y", dict(reversed(ARRAYS.items())), dict(reversed(METADATA.items())))
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path; from sphere_ebm.files.tensors import"
        " write_tensors;write_tensors(Path(sys.argv[1]), {c: np.ones(3, np.float32) for c in"
        " 'dacb'}, {c: c for c in 'zxyabc'})"
    )
    for name in ("x", "y"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_memory_order_and_byte_order_do_not_matter(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    write_tensors(tmp_path / "x", {"a": array}, {})
    for other in (
        np.asfortranarray(array),
        array.astype(">f4"),
        np.repeat(array, 2, axis=1)[:, ::2],
    ):
        write_tensors(tmp_path / "y", {"a": other}, {})
        assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_every_array_is_aligned_to_its_own_size(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x", ARRAYS, METADATA)
    raw = (tmp_path / "x").read_bytes()
    data = 8 + int.from_bytes(raw[:8], "little")
    for array in ARRAYS.values():
        if array.size:
            places = [i for i in range(data, len(raw)) if raw[i:].startswith(array.tobytes())]
            assert any(place % array.itemsize == 0 for place in places)


def test_a_type_that_the_format_lacks_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        write_tensors(tmp_path / "x", {"a": np.ones(3, np.complex64)}, {})
    assert not list(tmp_path.iterdir())


def damaged(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "x.safetensors"
    write_tensors(path, ARRAYS, METADATA)
    raw = path.read_bytes()
    if kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "missing":
        path.unlink()
    else:
        path.write_bytes(
            {
                "truncated": raw[:-1],
                "empty": b"",
                "header": raw[:8] + b"x" + raw[9:],
                "type": len(F8).to_bytes(8, "little") + F8 + b"x",
            }[kind]
        )
    return path


@pytest.mark.parametrize("kind", ["folder", "missing", "truncated", "empty", "header", "type"])
def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path: Path, kind: str) -> None:
    path = damaged(tmp_path, kind)
    with pytest.raises(ShardError) as refusal:
        read_tensors(path)
    assert str(refusal.value).startswith(str(path))
    assert len(str(refusal.value).splitlines()) == 1


def in_blocks(array: np.ndarray, *sizes: int) -> Blocks:
    """`array` in blocks of so many rows, made one after another."""
    ends = np.cumsum(sizes)
    return Blocks(
        array.shape,
        array.dtype,
        (array[end - size : end] for size, end in zip(sizes, ends, strict=True)),
    )


@pytest.mark.parametrize("name", [name for name, array in ARRAYS.items() if array.ndim])
@pytest.mark.parametrize("step", [1, 2, 100])
def test_an_array_in_blocks_is_the_same_bytes_as_the_whole(
    tmp_path: Path, name: str, step: int
) -> None:
    whole = write_tensors(tmp_path / "x", ARRAYS, METADATA)
    rows = len(ARRAYS[name])
    blocks = in_blocks(ARRAYS[name], *(min(step, rows - begin) for begin in range(0, rows, step)))
    assert write_tensors(tmp_path / "y", ARRAYS | {name: blocks}, METADATA) == whole
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_blocks_may_be_empty_or_lie_in_memory_as_they_like(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    parts = [array[:0], np.asfortranarray(array[:3]), np.repeat(array[3:], 2, axis=1)[:, ::2]]
    write_tensors(tmp_path / "x", {"a": array}, {})
    write_tensors(tmp_path / "y", {"a": Blocks((4, 3), np.dtype(np.float32), parts)}, {})
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_blocks_are_taken_when_their_turn_comes_and_fill_what_is_written_after_them(
    tmp_path: Path,
) -> None:
    later = np.zeros(4, np.float32)

    def blocks() -> Iterator[np.ndarray]:
        for row in range(4):
            later[row] = row + 1
            yield np.full((1, 2), row, np.float32)

    write_tensors(
        tmp_path / "x", {"z": later, "a": Blocks((4, 2), np.dtype(np.float32), blocks())}, {}
    )
    np.testing.assert_array_equal(read_tensors(tmp_path / "x")[0]["z"], [1, 2, 3, 4])


BLOCK = np.ones((2, 3), np.float32)
WRONG_BLOCKS = {
    "too few rows": ([BLOCK], "4 rows together; got 2"),
    "none": ([], "4 rows together; got 0"),
    "too many rows": ([BLOCK, BLOCK, BLOCK], "4 rows together; got 6"),
    "another type": (
        [BLOCK, BLOCK.astype(np.float64)],
        r"float32 \(rows, \*\(3,\)\); got float64 \(2, 3\)",
    ),
    "another width": ([BLOCK, BLOCK[:, :2]], r"got float32 \(2, 2\)"),
    "another rank": ([BLOCK, BLOCK[0]], r"got float32 \(3,\)"),
    "no rank": ([np.array(1, np.float32)], r"got float32 \(\)"),
}


@pytest.mark.parametrize("kind", WRONG_BLOCKS)
def test_blocks_that_do_not_add_up_are_a_value_error_and_leave_the_file_as_it_was(
    tmp_path: Path, kind: str
) -> None:
    blocks, says = WRONG_BLOCKS[kind]
    (tmp_path / "x").write_bytes(b"old")
    for name in ("x", "y"):
        with pytest.raises(ValueError, match=f"`a` must come in blocks of .*{says}"):
            write_tensors(
                tmp_path / name, {"a": Blocks((4, 3), np.dtype(np.float32), blocks), "b": BLOCK}, {}
            )
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"old")]


def test_arrays_are_mapped_as_they_were_written(tmp_path: Path) -> None:
    tensors = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.arange(5, dtype=np.int64),
        "none": np.zeros((0, 4), np.int32),
    }
    write_tensors(tmp_path / "x.safetensors", tensors, {})
    found = mapped_tensors(tmp_path / "x.safetensors")
    assert set(found) == set(tensors)
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert isinstance(found["a"], np.memmap)
    (tmp_path / "x.safetensors").write_bytes(b"short")
    with pytest.raises(ShardError):
        mapped_tensors(tmp_path / "x.safetensors")
