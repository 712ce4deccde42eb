"""A file of named arrays: the same content is the same bytes, and comes back the same."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from sphere_ebm.shards.errors import ShardError
from sphere_ebm.shards.tensors import read_tensors, write_tensors

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
        "import sys, numpy as np; from pathlib import Path; from sphere_ebm.shards.tensors import write_tensors;"
        "write_tensors(Path(sys.argv[1]), {c: np.ones(3, np.float32) for c in 'dacb'}, {c: c for c in 'zxyabc'})"
    )
    for name in ("x", "y"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_memory_order_and_byte_order_do_not_matter(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    write_tensors(tmp_path / "x", {"a": array}, {})
    for other in (np.asfortranarray(array), array.astype(">f4"), np.repeat(array, 2, axis=1)[:, ::2]):
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
        path.write_bytes({"truncated": raw[:-1], "empty": b"", "header": raw[:8] + b"x" + raw[9:]}[kind])
    return path


@pytest.mark.parametrize("kind", ["folder", "missing", "truncated", "empty", "header"])
def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path: Path, kind: str) -> None:
    path = damaged(tmp_path, kind)
    with pytest.raises(ShardError) as refusal:
        read_tensors(path)
    assert str(refusal.value).startswith(str(path))
    assert len(str(refusal.value).splitlines()) == 1
