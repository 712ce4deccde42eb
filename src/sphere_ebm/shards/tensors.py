"""Named arrays in one safetensors file, written byte for byte alike every time.

The header is written here and not by the safetensors library, because that serialises metadata in the order of a hash
map, which differs from process to process: the same content must be the same bytes.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from safetensors import SafetensorError, safe_open

from sphere_ebm.shards.errors import ShardError
from sphere_ebm.shards.files import atomic_write

_DTYPES = {"float32": "F32", "float64": "F64", "int32": "I32", "int64": "I64", "uint8": "U8", "uint32": "U32"}


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """Write `tensors` and `metadata` atomically; returns the file's SHA-256 in hexadecimal."""
    # Widest first keeps every tensor aligned to its own size, as the library does; then by name.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    position = 0
    for name in order:
        array = tensors[name]
        end = position + array.nbytes
        header[name] = {"dtype": _DTYPES[array.dtype.name], "shape": list(array.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()

    def write(file: BinaryIO) -> None:
        head = len(text).to_bytes(8, "little") + text
        digest.update(head)
        file.write(head)
        for name in order:
            block = _little_endian(tensors[name])
            digest.update(block)
            file.write(block)

    atomic_write(path, write)
    return digest.hexdigest()


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a file of our own. Raises ShardError when there is none, or it is damaged."""
    try:
        with safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ShardError(path, str(error), cure="check the path, or write the file again") from error


def _little_endian(array: np.ndarray) -> memoryview:
    """The array's bytes; copied only if it is not contiguous or the machine is big-endian."""
    stored = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return stored.reshape(-1).view(np.uint8).data
