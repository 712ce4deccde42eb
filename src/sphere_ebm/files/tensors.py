"""Named arrays in one safetensors file, written byte for byte alike every time.

The header is written here and not by the safetensors library, because that serialises metadata in
the order of a hash map, which differs from process to process: the same content must be the same
bytes.
"""

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, final

import numpy as np
from safetensors import SafetensorError, safe_open

from sphere_ebm.errors import ShardError
from sphere_ebm.files.atomic import atomic_write
from sphere_ebm.files.container import read_container

_DTYPES = {
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint32": "U32",
}


@final
@dataclass(frozen=True)
class Blocks:
    """An array that comes in `blocks` of rows and is never held whole."""

    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Iterable[np.ndarray]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in the file."""
        return math.prod(self.shape) * self.dtype.itemsize


def write_tensors(
    path: Path, tensors: Mapping[str, np.ndarray | Blocks], metadata: Mapping[str, str]
) -> str:
    """Write `tensors` and `metadata` atomically; returns the file's SHA-256 in hexadecimal.

    Raises ValueError for blocks that do not add up to their shape.
    """
    # Widest first keeps every tensor aligned to its own size, as the library does; then by name.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    position = 0
    for name in order:
        array = tensors[name]
        end = position + array.nbytes
        header[name] = {
            "dtype": _DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()

    def write(file: BinaryIO) -> None:
        head = len(text).to_bytes(8, "little") + text
        digest.update(head)
        file.write(head)
        for name in order:
            for block in _blocks(name, tensors[name]):
                digest.update(block)
                file.write(block)

    atomic_write(path, write)
    return digest.hexdigest()


def read_tensors(
    path: Path, mapped: Collection[str] = ()
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a file of our own; those called `mapped` are mapped and not read.

    Raises ShardError when there is none, or it is damaged.
    """
    try:
        with safe_open(path, "numpy") as file:
            names = file.keys()
            found = {name: file.get_tensor(name) for name in names if name not in mapped}
            metadata = dict(file.metadata() or {})
            whole = len(found) == len(names)
            return found if whole else mapped_tensors(path) | found, metadata
    # AttributeError: for a type that NumPy lacks, such as F8_E4M3, which we never write.
    except (SafetensorError, OSError, AttributeError) as error:
        raise ShardError(
            path, str(error), cure="check the path, or write the file again"
        ) from error


def read_metadata(path: Path) -> dict[str, str]:
    """Metadata of a safetensors file, without its arrays.

    Raises ShardError or OSError when there is none, or it is damaged.
    """
    return read_container(path).metadata


def mapped_tensors(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a file that this very run has written, mapped and not read.

    Raises ShardError when there is none, or it is damaged.
    """
    container = read_container(path)
    kinds = {code: np.dtype(name) for name, code in _DTYPES.items()}
    found: dict[str, np.ndarray] = {}
    for name, info in container.tensors.items():
        dtype = kinds[info.dtype]
        if not math.prod(info.shape):
            found[name] = np.zeros(info.shape, dtype)
            continue
        start = container.data_start + info.begin
        found[name] = np.memmap(path, dtype, "r", start, info.shape)
    return found


def _blocks(name: str, tensor: np.ndarray | Blocks) -> Iterator[memoryview]:
    if isinstance(tensor, np.ndarray):
        yield _little_endian(tensor)
        return
    rows = 0
    for block in tensor.blocks:
        if block.dtype != tensor.dtype or block.shape[1:] != tensor.shape[1:]:
            found = f"{block.dtype} {block.shape}"
            raise ValueError(
                f"`{name}` must come in blocks of {tensor.dtype} (rows, *{tensor.shape[1:]}); got"
                f" {found}."
            )
        rows += len(block)
        yield _little_endian(block)
    if rows != tensor.shape[0]:
        raise ValueError(
            f"`{name}` must come in blocks of {tensor.shape[0]} rows together; got {rows}."
        )


def _little_endian(array: np.ndarray) -> memoryview:
    """The array's bytes; copied only if it is not contiguous or the machine is big-endian."""
    stored = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return stored.reshape(-1).view(np.uint8).data
