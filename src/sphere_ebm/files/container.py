"""The safetensors container, read defensively.

Nothing is allocated or believed that the file's size does not bear out.

Format: https://huggingface.co/docs/safetensors/index#format. The library's own reader gives BF16 as
NumPy arrays, too (by `ml_dtypes`), and serves where files are our own (`tensors.read_tensors`) or
a model's weights (`text.blt`). It does not serve for files from anywhere:

- It gives a tensor whole. Embeddings in BF16 would be held twice while they become float32; here
  they are converted in blocks, and no more than one block is held besides.
- It maps the file into memory: one that is cut short while it is read ends the process by a signal,
  where this reader raises an error.
- Its errors name neither the file nor the tensor, and it checks no values.
"""

import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, final

import ml_dtypes
import numpy as np
from jaxtyping import Float32, Int64, UInt8

from sphere_ebm.errors import ShardError

_MAX_HEADER = 100_000_000  # the safetensors library's own limit
_MAX_AXES = 8
_MAX_AXIS = 2**40  # an axis beside one of 0 is not bounded by the file's size
_BLOCK = 1 << 20  # values converted and checked at a time
_FLOATS: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_INTEGERS: dict[str, np.dtype[Any]] = {
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("u1"),
}
_NUMBERS = _FLOATS | {name: dtype for name, dtype in _INTEGERS.items() if name != "BOOL"}
_SIZES = {name: dtype.itemsize for name, dtype in (_FLOATS | _INTEGERS).items()}
_DAMAGED = "the file is damaged: write or download it again"


@final
@dataclass(frozen=True)
class TensorInfo:
    """Name, dtype (as the file spells it) and shape of a stored array.

    `begin`, `end` count from the data section.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int = 0
    end: int = 0


@final
@dataclass(frozen=True)
class Container:
    """A safetensors file whose header has been read and found consistent with the file's size.

    Holds no data.
    """

    path: Path
    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    data_start: int

    def floats(self, name: str) -> Float32[np.ndarray, " values"]:
        """All values of a tensor of real numbers, flat, as float32.

        Raises `ShardError` as `floats_into` does.
        """
        out = np.empty(math.prod(self.tensors[name].shape), np.float32)
        self.floats_into(name, out)
        return out

    def floats_into(self, name: str, out: Float32[np.ndarray, " values"]) -> None:
        """Fill `out` (flat, contiguous) with a tensor of floats or integers.

        F32 is read in place, the rest converted in blocks.

        Raises:
            ShardError: a dtype that is no number, or a value that is no finite float32.
        """
        info = self.tensors[name]
        dtype = self._dtype(info, _NUMBERS)
        in_place = dtype == out.dtype
        for start, raw in self._blocks(info, dtype, out if in_place else None):
            if not in_place:
                with np.errstate(over="ignore"):
                    out[start : start + len(raw)] = raw
            finite = np.isfinite(out[start : start + len(raw)])
            if not finite.all():
                bad = int(np.argmin(finite))
                where = _unflatten(start + bad, info.shape)
                raise ShardError(
                    self.path,
                    f"{float(raw[bad])} is not a finite float32",
                    name,
                    where,
                    "remove or repair the value where the file is made",
                )

    def float_rows(self, name: str, begin: int, end: int) -> Float32[np.ndarray, "rows width"]:
        """Some rows of a two-dimensional F32 tensor, which is not read whole.

        Values are not checked: `floats` does that, once.

        Raises:
            ShardError: another dtype, or the file became shorter.
        """
        info = self.tensors[name]
        dtype = self._dtype(info, {"F32": _FLOATS["F32"]})
        rows, width = info.shape
        first = min(max(begin, 0), rows)
        out = np.empty((min(max(end, first), rows) - first, width), dtype)
        with open_regular(self.path) as file:
            file.seek(self.data_start + info.begin + first * width * dtype.itemsize)
            read = file.readinto(out.reshape(-1).view(np.uint8))  # type: ignore[attr-defined]
        if read != out.nbytes:
            raise ShardError(
                self.path, "the file became shorter while it was read", name, cure=_DAMAGED
            )
        return out

    def integers(self, name: str) -> Int64[np.ndarray, " values"]:
        """All values of an integer or BOOL tensor, flat, as int64.

        Raises `ShardError` for any other dtype, and for values of 2^63 and more.
        """
        info = self.tensors[name]
        dtype = self._dtype(info, _INTEGERS)
        out = np.empty(math.prod(info.shape), np.int64)
        for start, raw in self._blocks(info, dtype):
            out[start : start + len(raw)] = raw
            if dtype.kind == "u" and (beyond := out[start : start + len(raw)] < 0).any():
                bad = int(beyond.argmax())
                where = _unflatten(start + bad, info.shape)
                problem = f"{raw[bad]} is not below 2^63"
                raise ShardError(self.path, problem, name, where, "write the file again")
        return out

    def octets(self, name: str) -> UInt8[np.ndarray, " values"]:
        """All values of a U8 tensor, flat. Raises `ShardError` for any other dtype."""
        info = self.tensors[name]
        dtype = self._dtype(info, {"U8": _INTEGERS["U8"]})
        out = np.empty(math.prod(info.shape), np.uint8)
        for _ in self._blocks(info, dtype, out):
            pass
        return out

    def _dtype(self, info: TensorInfo, allowed: dict[str, np.dtype[Any]]) -> np.dtype[Any]:
        if info.dtype not in allowed:
            problem = f"dtype {info.dtype} where one of {', '.join(allowed)} is needed"
            raise ShardError(
                self.path, problem, info.name, cure="store the tensor with one of these dtypes"
            )
        return allowed[info.dtype]

    def _blocks(
        self, info: TensorInfo, dtype: np.dtype[Any], into: np.ndarray | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first index, values) over a tensor.

        With `into`, values are read there and yielded as its views.
        """
        total = math.prod(info.shape)
        scratch = np.empty(min(total, _BLOCK), dtype) if into is None else into
        with open_regular(self.path) as file:
            file.seek(self.data_start + info.begin)
            for start in range(0, total, _BLOCK):
                count = min(_BLOCK, total - start)
                block = scratch[:count] if into is None else scratch[start : start + count]
                read = file.readinto(block.view(np.uint8))  # type: ignore[attr-defined]
                if read != block.nbytes:
                    raise ShardError(
                        self.path,
                        "the file became shorter while it was read",
                        info.name,
                        cure=_DAMAGED,
                    )
                yield start, block


def _unflatten(flat: int, shape: tuple[int, ...]) -> int | tuple[int, ...]:
    """Index in the shape without its leading axes of 1.

    That is the shape a reader of the message thinks in.
    """
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    index = tuple(int(i) for i in np.unravel_index(flat, shape)) if shape else (flat,)
    return index if len(index) > 1 else index[0]


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading; an `OSError` now or while it is read becomes a `ShardError`.

    Anything but a regular file is refused: opening a pipe would block for ever.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ShardError(path, "is not a regular file", cure="name a file")
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
        raise ShardError(path, problem, cure="check the path and its permissions") from error


def read_container(path: Path) -> Container:
    """Read and verify the header of a safetensors file; tensor data are not touched.

    Raises:
        ShardError: a file that is truncated, has an impossible header length, a header that is no
            JSON or names a tensor twice, or tensors whose shape, dtype and offsets contradict each
            other or the file's size.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        prefix = file.read(8)
        if len(prefix) < 8:
            raise ShardError(
                path, f"{size} bytes are too few for a safetensors file", cure=_DAMAGED
            )
        length = int.from_bytes(prefix, "little")
        if length > min(size - 8, _MAX_HEADER):
            problem = f"the header is said to have {length} bytes, the file has {size}"
            raise ShardError(
                path,
                problem,
                cure="not a safetensors file, or truncated: write or download it again",
            )
        header = _parse_json(path, file.read(length))
    metadata = _metadata(path, header.pop("__metadata__", {}))
    tensors = {name: _tensor(path, name, entry) for name, entry in header.items()}
    _check_cover(path, tensors, size - 8 - length)
    return Container(path, tensors, metadata, 8 + length)


def _parse_json(path: Path, raw: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for name, value in pairs:
            if name in entries:
                raise ShardError(path, f"the header has the key {name!r} twice", cure=_DAMAGED)
            entries[name] = value
        return entries

    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except ShardError:
        raise
    # RecursionError: ten thousand brackets are valid JSON, and an attack.
    except (ValueError, RecursionError) as error:
        raise ShardError(path, f"the header is not JSON ({error})", cure=_DAMAGED) from error
    if not isinstance(header, dict):
        raise ShardError(path, "the header is not a JSON object", cure=_DAMAGED)
    return header


def _metadata(path: Path, entry: Any) -> dict[str, str]:
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise ShardError(path, "`__metadata__` is not a map of strings", cure=_DAMAGED)
    return entry


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _tensor(path: Path, name: str, entry: Any) -> TensorInfo:
    try:
        dtype = entry["dtype"]
        shape = entry["shape"]
        begin, end = entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        problem = "the header entry lacks a dtype, a shape or two data_offsets"
        raise ShardError(path, problem, name, cure=_DAMAGED) from error
    if not isinstance(dtype, str):
        raise ShardError(path, "the dtype is no string", name, cure=_DAMAGED)
    if (
        not isinstance(shape, list)
        or len(shape) > _MAX_AXES
        or not all(_is_count(n) and n <= _MAX_AXIS for n in shape)
    ):
        problem = f"the shape is no list of at most {_MAX_AXES} numbers, 0 to 2^40"
        raise ShardError(path, problem, name, cure=_DAMAGED)
    if not (_is_count(begin) and _is_count(end) and begin <= end):
        raise ShardError(path, "the data_offsets are no interval", name, cure=_DAMAGED)
    if dtype in _SIZES and math.prod(shape) * _SIZES[dtype] != end - begin:
        problem = f"shape {shape} of {dtype} does not fill data_offsets [{begin}, {end}]"
        raise ShardError(path, problem, name, cure=_DAMAGED)
    return TensorInfo(name, dtype, tuple(shape), begin, end)


def _check_cover(path: Path, tensors: dict[str, TensorInfo], size: int) -> None:
    """The format wants the data section covered without holes or overlaps."""
    expected = 0
    for info in sorted(tensors.values(), key=lambda info: (info.begin, info.end)):
        if info.begin != expected:
            problem = (
                f"data_offsets [{info.begin}, {info.end}] where the previous tensor ends at"
                f" {expected}"
            )
            raise ShardError(path, problem, info.name, cure=_DAMAGED)
        expected = info.end
    if expected != size:
        problem = f"the tensors need {expected} bytes of data, the file holds {size}"
        raise ShardError(path, problem, cure="truncated or damaged: write or download it again")
