import json
import os
import tracemalloc

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from sphere_ebm.errors import ShardError
from sphere_ebm.files.container import read_container


def raw(path, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def refusal(path):
    with pytest.raises(ShardError) as caught:
        read_container(path)
    assert caught.value.file == path
    return str(caught.value)


def test_what_the_safetensors_library_writes_is_read(tmp_path):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    save_file({"a": values, "b": np.array([1, -2])}, tmp_path / "x.safetensors", {"key": "value"})
    container = read_container(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(container.floats("a"), values.ravel())
    np.testing.assert_array_equal(container.integers("b"), [1, -2])
    assert container.metadata == {"key": "value"}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_every_float_dtype_becomes_float32(tmp_path, write, bfloat16, dtype):
    values = np.array([1.5, -0.25, 0.0, 96.0], np.float32)
    stored = values.astype(bfloat16 if dtype == "bfloat16" else dtype)
    container = read_container(write(tmp_path / "x.safetensors", {"a": stored}))
    np.testing.assert_array_equal(container.floats("a"), values)


def test_all_bits_of_bfloat16_are_read_as_the_safetensors_library_reads_them(
    tmp_path, write, bfloat16
):
    bits = np.arange(2**16, dtype=np.uint16)
    values = bits[(bits & 0x7F80) != 0x7F80].view(bfloat16)
    path = write(tmp_path / "x.safetensors", {"a": values})
    with safe_open(path, "numpy") as file:
        theirs = file.get_tensor("a").astype(np.float32)
    ours = read_container(path).floats("a")
    np.testing.assert_array_equal(ours.view(np.uint32), theirs.view(np.uint32))


@pytest.mark.parametrize(
    "dtype", ["int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"]
)
def test_integers_become_float32_where_reals_are_wanted(tmp_path, write, dtype):
    values = np.array([0, 1, 127], dtype)
    container = read_container(write(tmp_path / "x.safetensors", {"a": values}))
    np.testing.assert_array_equal(container.floats("a"), values.astype(np.float32))


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint64", "uint32", "uint8", "bool"])
def test_every_integer_dtype_becomes_int64(tmp_path, write, dtype):
    container = read_container(write(tmp_path / "x.safetensors", {"a": np.array([0, 1, 1], dtype)}))
    np.testing.assert_array_equal(container.integers("a"), np.array([0, 1, 1]))


def test_an_integer_that_int64_cannot_hold_is_named(tmp_path, write):
    values = np.array([[3, 2**63]], np.uint64)
    container = read_container(write(tmp_path / "x.safetensors", {"a": values}))
    with pytest.raises(ShardError, match=r"`a` at index 1: 9223372036854775808 is not below 2\^63"):
        container.integers("a")


def test_floats_are_no_integers_and_truth_values_no_numbers(tmp_path, write):
    tensors = {"f": np.ones(1, np.float32), "i": np.ones(1, np.int32), "b": np.ones(1, bool)}
    container = read_container(write(tmp_path / "x.safetensors", tensors))
    with pytest.raises(ShardError, match=r"`b`: dtype BOOL where one of F64, F32, F16, BF16, I64"):
        container.floats("b")
    with pytest.raises(ShardError, match=r"`f`: dtype F32 where one of I64"):
        container.integers("f")
    with pytest.raises(ShardError, match=r"`i`: dtype I32 where one of U8"):
        container.octets("i")


def test_the_first_value_that_float32_cannot_hold_is_named(tmp_path, write):
    values = np.zeros((1, 3, 2))
    values[0, 1, 1] = 1e300
    container = read_container(write(tmp_path / "x.safetensors", {"a": values}))
    with pytest.raises(ShardError, match=r"`a` at index \(1, 1\): 1e\+300 is not a finite float32"):
        container.floats("a")


def test_blocks_of_a_large_tensor_join_without_a_seam(tmp_path, write):
    values = np.arange((1 << 20) + 7, dtype=np.float64)
    container = read_container(write(tmp_path / "x.safetensors", {"a": values}))
    np.testing.assert_array_equal(container.floats("a"), values.astype(np.float32))


@pytest.mark.parametrize("length", [3, 90_000_000, 2**63, 2**64 - 1])
def test_a_header_length_beyond_the_file_is_refused_without_taking_memory(tmp_path, length):
    path = raw(tmp_path / "x.safetensors", {}, b"", length=length)
    tracemalloc.start()
    message = refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert f"the header is said to have {length} bytes, the file has 10" in message
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("header", "data", "says"),
    [
        (b"\xff{}", b"", "not JSON"),
        (b"[" * 100_000, b"", "not JSON"),
        (b"[1]", b"", "not a JSON object"),
        (b"{}", b"left over", "need 0 bytes of data, the file holds 9"),
        (b'{"a": 1, "a": 2}', b"", "'a' twice"),
        ({"__metadata__": {"a": 1}}, b"", "not a map of strings"),
        ({"a": 3}, b"", "lacks a dtype"),
        ({"a": entry(offsets=[0])}, b"1234", "lacks a dtype"),
        ({"a": entry(dtype=7)}, b"1234", "no string"),
        ({"a": entry(shape=[-1])}, b"1234", "the shape is no list"),
        ({"a": entry(shape=[True])}, b"1234", "the shape is no list"),
        ({"a": entry(shape=[2**50, 0], offsets=(0, 0))}, b"", "the shape is no list"),
        ({"a": entry(offsets=(4, 0))}, b"1234", "no interval"),
        ({"a": entry(shape=[2])}, b"1234", "does not fill"),
        ({"a": entry(offsets=(4, 8))}, b"12345678", "previous tensor ends at 0"),
        ({"a": entry(), "b": entry()}, b"1234", "previous tensor ends at 4"),
        (
            {"a": entry(shape=[2], offsets=(0, 8))},
            b"1234",
            "need 8 bytes of data, the file holds 4",
        ),
    ],
)
def test_a_damaged_header_is_refused_with_its_reason(tmp_path, header, data, says):
    assert says in refusal(raw(tmp_path / "x.safetensors", header, data))


@pytest.mark.parametrize("content", [b"", b"1234567"])
def test_a_file_shorter_than_its_length_field_is_refused(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    assert "too few" in refusal(tmp_path / "x.safetensors")


def test_an_unknown_dtype_matters_only_when_it_is_read(tmp_path):
    header = {"a": entry(dtype="F8_E4M3", shape=[4])}
    container = read_container(raw(tmp_path / "x.safetensors", header, b"1234"))
    with pytest.raises(ShardError, match="dtype F8_E4M3"):
        container.floats("a")


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.safetensors")
    assert "not a regular file" in refusal(tmp_path / "x.safetensors")


def test_a_missing_file_is_refused(tmp_path):
    assert "cannot be read (No such file or directory)" in refusal(tmp_path / "x.safetensors")


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path, write):
    path = write(tmp_path / "x.safetensors", {"a": np.ones(9, np.float32)})
    container = read_container(path)
    os.truncate(path, path.stat().st_size - 4)
    with pytest.raises(ShardError, match="became shorter"):
        container.floats("a")
