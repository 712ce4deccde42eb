"""Shards that other tools write: a 2-D `.npy` or `.npz` array, or Parquet (see `parquet`).

One row is one point.

Nothing is ever unpickled. Sizes in `.npy` headers are checked before memory is taken.
"""

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from sphere_ebm.errors import ShardError
from sphere_ebm.files.container import TensorInfo, open_regular
from sphere_ebm.files.shards.assemble import NORM_USED, build_table, finite_float32, norms
from sphere_ebm.files.shards.layouts import drop_leading_ones
from sphere_ebm.files.shards.parquet import list_parquet, read_parquet
from sphere_ebm.files.shards.table import PatchTable

ARRAY_SUFFIXES = (".npy", ".npz", ".parquet")

_CHUNK = 1 << 20
_NUMBERS = "fiu"  # NumPy's kinds of real numbers
_DEFLATE_LIMIT = 1100  # deflate shrinks by 1032 at most: a larger stated size is a lie


@runtime_checkable
class _Readable(Protocol):
    """What a file and a member of an archive have in common."""

    def read(self, size: int = ..., /) -> bytes: ...


def read_array(path: Path) -> PatchTable:
    """Read a `.npy`, `.npz` or Parquet file as a shard of P points.

    `patch_start` is the row, `patch_length` 1.

    - `.npy`: one float or integer array (P, D).
    - `.npz`: the array `embeddings`, else the only 2-D array; `prominence` (P,) if there is one.
    - Parquet: the column `embeddings` or `embedding`, else the only list column; `prominence` if
      there is one.

    Raises:
        ShardError: the file cannot be used; for Parquet without pyarrow it names the extra.
    """
    raw, prominence = _guarded(path, _READERS[path.suffix.lower()])
    embeddings = finite_float32(path, "embeddings", raw)
    if len(embeddings) and not embeddings.shape[1]:
        raise ShardError(path, f"shape {embeddings.shape} has no dimensions", "embeddings")
    warnings = [] if prominence is not None else [NORM_USED]
    if prominence is None:
        weights = norms(path, embeddings)
    else:
        weights = finite_float32(path, "prominence", prominence)
        if weights.shape != embeddings.shape[:1]:
            problem = (
                f"shape {weights.shape} does not match the {len(embeddings)} rows of `embeddings`"
            )
            raise ShardError(path, problem, "prominence", cure="give one value per row")
    return build_table(
        (path,),
        path.suffix.lower()[1:],
        embeddings=embeddings,
        prominence=weights,
        start=np.arange(len(embeddings)),
        length=np.ones(len(embeddings), np.int64),
        documents=(path.stem,),
        warnings=warnings,
    )


def array_infos(path: Path) -> tuple[TensorInfo, ...]:
    """Names, dtypes and shapes of what an array file holds, from its headers.

    Raises:
        ShardError: the file cannot be used.
    """
    infos: tuple[TensorInfo, ...] = _guarded(path, _LISTERS[path.suffix.lower()])
    return infos


def _guarded(path: Path, action: Callable[[Path], Any]) -> Any:
    try:
        return action(path)
    except (ShardError, MemoryError):
        raise
    # Parsers of three formats, NumPy's, zipfile's and pyarrow's, each with many kinds of exceptions
    # for damaged files.
    except Exception as error:
        problem = f"cannot be read as {path.suffix.lower()[1:]} ({type(error).__name__}: {error})"
        raise ShardError(
            path, problem, cure="the file is damaged or of another format: write it again"
        ) from error


def _two_dimensional(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    shape = drop_leading_ones(array.shape, 2)
    if len(shape) != 2:
        raise ShardError(
            path, f"shape {array.shape} is not (rows, dim)", name, cure="store one row per point"
        )
    return array.reshape(shape)


def _npy_header(
    path: Path, name: str, file: _Readable
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    # Version 3 differs only in allowing Unicode field names, and a record array is no matrix.
    if version not in ((1, 0), (2, 0)):
        raise ShardError(
            path,
            f".npy version {version} is not supported",
            name,
            cure="save a plain numeric array",
        )
    parse = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = parse(file)
    if min(shape, default=0) < 0 or max(shape, default=0) > 2**40:
        raise ShardError(path, f"shape {shape} is impossible", name, cure="write the file again")
    return shape, fortran, dtype


def _check_dtype(path: Path, name: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind in _NUMBERS:
        return
    problem = f"dtype {dtype} is no number (pickled objects are never loaded)"
    cure = "store a plain float array"
    if dtype.kind == "V" and dtype.names is None and dtype.itemsize <= 2:
        # NumPy writes what ml_dtypes adds to it as bytes without a name.
        types = "bfloat16" if dtype.itemsize == 2 else "float8 or int4"
        problem = f"dtype {dtype} is how NumPy stores {types}, without saying so"
        cure = "save array.astype(np.float32), or safetensors, which names its types"
    raise ShardError(path, problem, name, cure=cure)


def _npy_array(path: Path, name: str, file: _Readable, size: int) -> np.ndarray:
    """The array in `file`, of which `size` bytes are known to exist."""
    shape, fortran, dtype = _npy_header(path, name, file)
    _check_dtype(path, name, dtype)
    needed = math.prod(shape) * dtype.itemsize
    if needed > size:
        raise ShardError(
            path,
            f"shape {shape} of {dtype} needs {needed} bytes, there are {size}",
            name,
            cure="truncated",
        )
    flat = np.empty(math.prod(shape), dtype)
    raw = flat.view(np.uint8)
    filled = 0
    while filled < needed:
        # Memory becomes resident only as data arrive.
        chunk = file.read(min(_CHUNK, needed - filled))
        if not chunk:
            raise ShardError(
                path,
                f"ends after {filled} of {needed} bytes",
                name,
                cure="truncated: write it again",
            )
        raw[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
        filled += len(chunk)
    if file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
        problem = f"a second array follows the first, whose shape is {shape}"
        raise ShardError(path, problem, name, cure="join them by np.concatenate and save one")
    return flat.reshape(shape, order="F" if fortran else "C")


def _read_npy(path: Path) -> tuple[np.ndarray, None]:
    with open_regular(path) as file:
        array = _npy_array(path, "embeddings", file, path.stat().st_size)
    return _two_dimensional(path, "embeddings", array), None


def _list_npy(path: Path) -> tuple[TensorInfo, ...]:
    with open_regular(path) as file:
        shape, _, dtype = _npy_header(path, "embeddings", file)
    return (TensorInfo("embeddings", str(dtype), shape),)


def _list_npz(path: Path) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(name, "unreadable" if dtype is None else str(dtype), shape)
        for name, (shape, dtype) in _members(path).items()
    )


def _members(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any] | None]]:
    """Shape and dtype of every array of an archive.

    One whose header cannot be read has none: that is no reason to refuse the others.
    """
    found: dict[str, tuple[tuple[int, ...], np.dtype[Any] | None]] = {}
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        for member in archive.namelist():
            if not member.endswith(".npy"):
                continue
            name = member.removesuffix(".npy")
            try:
                with archive.open(member) as stream:
                    shape, _, dtype = _npy_header(path, name, stream)
                found[name] = shape, dtype
            except MemoryError:
                raise
            # as in `_guarded`: parsers of two formats, each with many kinds of exceptions
            except Exception:
                found[name] = (), None
    return found


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    infos = _members(path)
    matrices = [
        name
        for name, (shape, dtype) in infos.items()
        if len(shape) == 2 and dtype is not None and dtype.kind in _NUMBERS
    ]
    if "embeddings" not in infos and len(matrices) != 1:
        found = ", ".join(matrices) or "none"
        problem = f"no array `embeddings`, and not exactly one 2-D array (2-D: {found})"
        raise ShardError(path, problem, cure="save it as np.savez(file, embeddings=...)")
    name = "embeddings" if "embeddings" in infos else matrices[0]
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        embeddings = _npz_member(path, archive, name)
        prominence = _npz_member(path, archive, "prominence") if "prominence" in infos else None
    return _two_dimensional(path, name, embeddings), prominence


def _npz_member(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ShardError(
            path, "unusual compression", name, cure="save with np.savez or np.savez_compressed"
        )
    if info.file_size > _DEFLATE_LIMIT * (info.compress_size + 1):
        raise ShardError(
            path,
            f"{info.compress_size} bytes cannot hold {info.file_size}",
            name,
            cure="write it again",
        )
    with archive.open(info) as stream:
        return _npy_array(path, name, stream, info.file_size)


_READERS: dict[str, Callable[[Path], Any]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".parquet": read_parquet,
}
_LISTERS: dict[str, Callable[[Path], Any]] = {
    ".npy": _list_npy,
    ".npz": _list_npz,
    ".parquet": list_parquet,
}
