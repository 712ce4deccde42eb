"""Shards that other tools write: a 2-D `.npy` or `.npz` array, or a Parquet column of embeddings.

One row is one point.

Nothing is ever unpickled. Sizes in `.npy` headers are checked before memory is taken.
"""

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from sphere_ebm.errors import MissingPackageError, ShardError, require
from sphere_ebm.files.container import TensorInfo, open_regular
from sphere_ebm.files.shards.assemble import NORM_USED, build_table, norms
from sphere_ebm.files.shards.layouts import drop_leading_ones
from sphere_ebm.files.shards.table import PatchTable

ARRAY_SUFFIXES = (".npy", ".npz", ".parquet")

_CHUNK = 1 << 20
_DEFLATE_LIMIT = 1100  # deflate shrinks by 1032 at most: a larger stated size is a lie
_PARQUET_NAMES = ("embeddings", "embedding")


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
    embeddings = _finite(path, "embeddings", raw)
    if len(embeddings) and not embeddings.shape[1]:
        raise ShardError(path, f"shape {embeddings.shape} has no dimensions", "embeddings")
    warnings = [] if prominence is not None else [NORM_USED]
    if prominence is None:
        weights = norms(path, embeddings)
    else:
        weights = _finite(path, "prominence", prominence)
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
    except ShardError:
        raise
    # Parsers of three formats, NumPy's, zipfile's and pyarrow's, each with many kinds of exceptions
    # for damaged files.
    except Exception as error:
        problem = f"cannot be read as {path.suffix.lower()[1:]} ({type(error).__name__}: {error})"
        raise ShardError(
            path, problem, cure="the file is damaged or of another format: write it again"
        ) from error


def _finite(path: Path, name: str, array: np.ndarray) -> Float32[np.ndarray, "..."]:
    if array.dtype.kind not in "fiu":
        raise ShardError(path, f"dtype {array.dtype} is no number", name, cure="store float32")
    with np.errstate(over="ignore"):
        values: np.ndarray = np.ascontiguousarray(array, np.float32)
    flat = values.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        finite = np.isfinite(flat[start : start + _CHUNK])
        if not finite.all():
            where = tuple(
                int(i) for i in np.unravel_index(start + int(np.argmin(finite)), values.shape)
            )
            problem = f"{float(array[where])} is not a finite float32"
            raise ShardError(
                path,
                problem,
                name,
                where if len(where) > 1 else where[0],
                "remove or repair the value",
            )
    return values


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


def _npy_array(path: Path, name: str, file: _Readable, size: int) -> np.ndarray:
    """The array in `file`, of which `size` bytes are known to exist."""
    shape, fortran, dtype = _npy_header(path, name, file)
    if dtype.kind not in "fiu":
        problem = f"dtype {dtype} is no number (pickled objects are never loaded)"
        raise ShardError(path, problem, name, cure="store a plain float array")
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
    infos = []
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        for member in archive.namelist():
            if member.endswith(".npy"):
                name = member.removesuffix(".npy")
                with archive.open(member) as stream:
                    shape, _, dtype = _npy_header(path, name, stream)
                infos.append(TensorInfo(name, str(dtype), shape))
    return tuple(infos)


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    infos = {info.name: info for info in _list_npz(path)}
    matrices = [name for name, info in infos.items() if len(info.shape) == 2]
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


def parquet_library(path: Path) -> tuple[Any, Any]:
    """The modules `pyarrow` and `pyarrow.parquet`, to read `path`.

    Raises:
        ShardError: pyarrow is not installed. The file is refused, all other inputs are not.
    """
    try:
        parquet = require("pyarrow.parquet", "parquet", "reading Parquet")
        return require("pyarrow", "parquet", "reading Parquet"), parquet
    except MissingPackageError as error:
        raise ShardError(path, error.problem, cure=error.cure) from error


def _parquet(path: Path) -> tuple[Any, Any]:
    """The module `pyarrow` and an open ParquetFile."""
    arrow, parquet = parquet_library(path)
    with open_regular(path):
        pass
    return arrow, parquet.ParquetFile(path)


def _list_parquet(path: Path) -> tuple[TensorInfo, ...]:
    _, file = _parquet(path)
    with file:
        return tuple(
            TensorInfo(f.name, str(f.type), (file.metadata.num_rows,)) for f in file.schema_arrow
        )


def _read_parquet(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    arrow, file = _parquet(path)
    with file:
        fields = {field.name: field.type for field in file.schema_arrow}
        lists = [name for name, kind in fields.items() if _is_list(arrow, kind)]
        named = [name for name in _PARQUET_NAMES if name in lists] or lists
        if not named or (len(named) > 1 and named[0] not in _PARQUET_NAMES):
            problem = (
                "no column `embeddings`, and not exactly one list column (lists:"
                f" {', '.join(lists) or 'none'})"
            )
            raise ShardError(path, problem, cure="name the list column `embeddings`")
        embeddings = _parquet_matrix(path, arrow, file, named[0])
        prominence = None
        if "prominence" in fields:
            column = file.read(columns=["prominence"]).column("prominence").combine_chunks()
            _refuse_nulls(path, "prominence", column)
            prominence = column.to_numpy(zero_copy_only=False)
    return embeddings, prominence


def _is_list(arrow: Any, kind: Any) -> bool:
    return bool(
        arrow.types.is_list(kind)
        or arrow.types.is_large_list(kind)
        or arrow.types.is_fixed_size_list(kind)
    )


def _refuse_nulls(path: Path, name: str, column: Any) -> None:
    if column.null_count:
        index = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise ShardError(path, "is null", name, index, "fill or drop the row")


def _parquet_matrix(path: Path, arrow: Any, file: Any, name: str) -> np.ndarray:
    column = file.read(columns=[name]).column(name)
    column = (
        arrow.concat_arrays(column.chunks) if column.num_chunks else arrow.array([], column.type)
    )
    _refuse_nulls(path, name, column)
    values = column.flatten()
    if arrow.types.is_fixed_size_list(column.type):
        width = column.type.list_size
    else:
        widths = column.value_lengths().to_numpy(zero_copy_only=False)
        width = int(widths[0]) if len(widths) else 0
        if (widths != width).any():
            index = int(np.argmax(widths != width))
            problem = f"row has {widths[index]} values, the first has {width}"
            raise ShardError(path, problem, name, index, "give every row the same number of values")
    if values.null_count:
        index = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
        raise ShardError(
            path, "is null", name, (index // width, index % width), "fill or drop the row"
        )
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(len(column), width)


_READERS: dict[str, Callable[[Path], Any]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".parquet": _read_parquet,
}
_LISTERS: dict[str, Callable[[Path], Any]] = {
    ".npy": _list_npy,
    ".npz": _list_npz,
    ".parquet": _list_parquet,
}
