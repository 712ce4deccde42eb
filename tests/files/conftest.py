"""Builders of fixture files.

They share no code with the package: the container is written by hand here.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint16": "U16",
    "int32": "I32",
    "uint32": "U32",
    "uint8": "U8",
    "bool": "BOOL",
}


def _write(
    path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None
) -> Path:
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    data = b""
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        span = [len(data), len(data) + len(raw)]
        header[name] = {
            "dtype": DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": span,
        }
        data += raw
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def _tokens(
    starts: list[int], count: int, *, dim: int = 3, layout: str = "A", seed: int = 0
) -> dict[str, np.ndarray]:
    """Tensors of a per-token layout. Values are quarters, so that sums of them are exact."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((1, count), np.int32)
    mask[0, starts] = 1
    tensors = {
        "embeddings": (rng.integers(-40, 40, (1, count, dim)) / 4).astype(np.float32),
        "prominence": (rng.integers(1, 400, (1, count)) / 4).astype(np.float32),
        "patch_indices": np.array(starts, np.int32),
    }
    if layout != "G":
        tensors["patch_mask"] = mask
    if layout in "DG":
        entropies = (rng.integers(1, 40, (1, count)) / 4).astype(np.float32)
        tensors["entropies"] = entropies
        tensors["coherence_scores"] = tensors["prominence"] ** 2 / (entropies + np.float32(1e-6))
    if layout == "G":
        tensors["tokens"] = rng.integers(4, 260, (1, count)).astype(np.int32)
        tensors["mask"] = np.ones((1, count), np.int32)
        tensors["patch_lengths"] = np.diff(starts, append=count).astype(np.int32)
    return tensors


def _patches(
    lengths: list[int], *, dim: int = 3, layout: str = "F", seed: int = 0
) -> dict[str, np.ndarray]:
    """Tensors of a per-patch layout, or of E."""
    rng = np.random.default_rng(seed)
    count = len(lengths)
    total = sum(lengths)
    tensors = {
        "bytes": rng.integers(0, 256, total).astype(np.uint8),
        "patch_lengths": np.array(lengths, np.int32),
    }
    if layout in "EF":
        tensors["entropies"] = rng.random(total).astype(np.float32)
    if layout in "FH":
        tensors["embeddings"] = (rng.integers(-40, 40, (count, dim)) / 4 + 0.125).astype(np.float32)
        tensors["prominence"] = (rng.integers(1, 400, count) / 4).astype(np.float32)
        tensors["patch_entropies"] = rng.random(count).astype(np.float32)
    return tensors


def _cut(tensors: dict[str, np.ndarray], start: int, stop: int) -> dict[str, np.ndarray]:
    """One part of a document.

    Per-token tensors cut, `patch_indices` whole, as upstream writes them.
    """
    return {
        name: array if name == "patch_indices" else array[:, start:stop]
        for name, array in tensors.items()
    }


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    """`write(path, tensors, metadata=None)`: a safetensors file."""
    return _write


@pytest.fixture(scope="session")
def tokens() -> Callable[..., dict[str, np.ndarray]]:
    """`tokens(starts, count, dim=, layout="A" | "D" | "G", seed=)`.

    Tensors of a per-token layout.
    """
    return _tokens


@pytest.fixture(scope="session")
def patches() -> Callable[..., dict[str, np.ndarray]]:
    """`patches(lengths, dim=, layout="E" | "F" | "H", seed=)`: tensors of a per-patch layout."""
    return _patches


@pytest.fixture(scope="session")
def cut() -> Callable[..., dict[str, np.ndarray]]:
    """`cut(tensors, start, stop)`: the tensors of one part of a document."""
    return _cut


@pytest.fixture(scope="session")
def bfloat16() -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16)
