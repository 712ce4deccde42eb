"""Shards that other tools write: `.npy` or `.npz` arrays, Parquet, CSV, TSV and JSON lines.

One row is one point.

Nothing is ever unpickled. Sizes in `.npy` headers are checked before memory is taken.
"""

import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from sphere_ebm.errors import ShardError
from sphere_ebm.files.container import TensorInfo, open_regular
from sphere_ebm.files.shards.assemble import NORM_USED, build_table, finite_float32, norms
from sphere_ebm.files.shards.layouts import drop_leading_ones
from sphere_ebm.files.shards.lines import (
    CELL_SUFFIXES,
    LINE_SUFFIXES,
    PROMINENCE,
    TableRows,
    list_lines,
    read_lines,
)
from sphere_ebm.files.shards.own import (
    ALL_FOUND,
    OwnColumn,
    OwnColumns,
    TableColumns,
    absent,
    column_of,
    ordering_numbers,
    words_of,
)
from sphere_ebm.files.shards.parquet import list_parquet, parquet_columns, read_parquet
from sphere_ebm.files.shards.table import PatchTable

ARRAY_SUFFIXES = (".npy", ".npz", ".parquet")
TABLE_SUFFIXES = (*CELL_SUFFIXES, *LINE_SUFFIXES)
"""Files that are shards only where they are named, or their column of embeddings is."""

_CHUNK = 1 << 20
_NUMBERS = "fiu"  # NumPy's kinds of real numbers
_WORDS = "bSU"  # and of what else a column may hold
_DEFLATE_LIMIT = 1100  # deflate shrinks by 1032 at most: a larger stated size is a lie


@runtime_checkable
class _Readable(Protocol):
    """What a file and a member of an archive have in common."""

    def read(self, size: int = ..., /) -> bytes: ...


def read_array(path: Path, columns: TableColumns = ALL_FOUND) -> PatchTable:
    """Read a file of arrays, or a table, as a shard of P points.

    `patch_start` is the row, `patch_length` 1. The text of a row, where `columns` names its column,
    becomes the bytes of the patch.

    - `.npy`: one float or integer array (P, D).
    - `.npz`: the array that `columns` names, else `embeddings`, else the only 2-D array;
      `prominence` (P,) if there is one, and arrays (P,) of numbers or strings as other columns.
    - Parquet: the column that `columns` names, else `embeddings` or `embedding`, else the only list
      column; `prominence` if there is one.
    - CSV, TSV and JSON lines: see `read_lines`.

    Raises:
        ShardError: the file cannot be used; for Parquet without pyarrow it names the extra.
    """
    suffix = path.suffix.lower()
    rows = _guarded(path, lambda path: _READERS[suffix](path, columns))
    embeddings = finite_float32(path, columns.embedding or "embeddings", rows.embeddings)
    if len(embeddings) and not embeddings.shape[1]:
        raise ShardError(path, f"shape {embeddings.shape} has no dimensions", "embeddings")
    warnings: list[str] = []
    weights = _prominence(path, embeddings, rows, columns, warnings)
    texts = None
    if columns.text in rows.columns:
        texts = [word.encode("utf-8") for word in words_of(rows.columns[columns.text])]
    return build_table(
        (path,),
        suffix[1:],
        embeddings=embeddings,
        prominence=weights,
        start=np.arange(len(embeddings)),
        length=np.ones(len(embeddings), np.int64),
        documents=(path.stem,),
        warnings=warnings,
        octets=None if texts is None else np.frombuffer(b"".join(texts), np.uint8),
        byte_lengths=None if texts is None else np.array([len(text) for text in texts], np.int64),
        own=_own(columns, rows.columns),
    )


def _prominence(
    path: Path,
    embeddings: Float32[np.ndarray, "rows width"],
    rows: TableRows,
    columns: TableColumns,
    warnings: list[str],
) -> Float32[np.ndarray, " rows"]:
    """The column that is asked for, else the one of this name, else the norms."""
    name = columns.ordering or PROMINENCE
    given = rows.columns.get(name, rows.prominence if name == PROMINENCE else None)
    if given is None and columns.ordering is not None:
        raise absent(path, name, rows.columns)
    if given is None or not (columns.stored or columns.ordering):
        warnings += [NORM_USED] if columns.prominence is None else []
        return norms(path, embeddings)
    weights = ordering_numbers(path, name, given)
    if weights.shape != embeddings.shape[:1]:
        problem = f"shape {weights.shape} does not match the {len(embeddings)} rows of `embeddings`"
        raise ShardError(path, problem, name, cure="give one value per row")
    return weights


def _own(columns: TableColumns, read: dict[str, OwnColumn]) -> OwnColumns:
    """The columns that are kept; names of rows are words, whatever they look like."""
    values = {
        name: words_of(read[name].tolist()) if name == columns.id else read[name]
        for name in columns.kept
        if name in read
    }
    return OwnColumns(values, columns.id if columns.id in values else None, by_row=True)


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


def _check_dtype(path: Path, name: str, dtype: np.dtype[Any], kinds: str) -> None:
    if dtype.kind in kinds:
        return
    problem = f"dtype {dtype} is no number (pickled objects are never loaded)"
    cure = "store a plain float array"
    if dtype.kind == "V" and dtype.names is None and dtype.itemsize <= 2:
        # NumPy writes what ml_dtypes adds to it as bytes without a name.
        types = "bfloat16" if dtype.itemsize == 2 else "float8 or int4"
        problem = f"dtype {dtype} is how NumPy stores {types}, without saying so"
        cure = "save array.astype(np.float32), or safetensors, which names its types"
    raise ShardError(path, problem, name, cure=cure)


def _npy_array(
    path: Path, name: str, file: _Readable, size: int, kinds: str = _NUMBERS
) -> np.ndarray:
    """The array in `file`, of which `size` bytes are known to exist."""
    shape, fortran, dtype = _npy_header(path, name, file)
    _check_dtype(path, name, dtype, kinds)
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


def _read_npy(path: Path, columns: TableColumns) -> TableRows:
    with open_regular(path) as file:
        array = _npy_array(path, "embeddings", file, path.stat().st_size)
    return TableRows(_two_dimensional(path, "embeddings", array), None, {})


def _list_npy(path: Path) -> tuple[TensorInfo, ...]:
    with open_regular(path) as file:
        shape, _, dtype = _npy_header(path, "embeddings", file)
    return (TensorInfo("embeddings", str(dtype), shape),)


def _list_npz(path: Path) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(name, "unreadable" if dtype is None else str(dtype), shape)
        for name, (shape, dtype) in _members(path).items()
    )


_Member = tuple[tuple[int, ...], np.dtype[Any] | None]


def _members(path: Path) -> dict[str, _Member]:
    """Shape and dtype of every array of an archive.

    One whose header cannot be read has none: that is no reason to refuse the others.
    """
    found: dict[str, _Member] = {}
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


def _read_npz(path: Path, columns: TableColumns) -> TableRows:
    infos = _members(path)
    name = _npz_embeddings(path, infos, columns.embedding)
    for one in columns.wanted:
        if one not in infos:
            raise absent(path, one, infos)
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        embeddings = _two_dimensional(path, name, _npz_member(path, archive, name))
        prominence = _npz_member(path, archive, "prominence") if "prominence" in infos else None
        own = {}
        for one in columns.wanted:
            values = _npz_member(path, archive, one, _NUMBERS + _WORDS)
            if values.shape != embeddings.shape[:1]:
                problem = f"shape {values.shape} does not match the {len(embeddings)} rows"
                raise ShardError(path, problem, one, cure="give one value per row")
            own[one] = column_of(path, one, values.tolist())
    return TableRows(embeddings, prominence, own)


def npz_columns(path: Path, names: Sequence[str]) -> dict[str, OwnColumn]:
    """Arrays of one axis, of numbers or strings. Raises ShardError for one that is not there."""
    infos = _members(path)
    found = {}
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        for name in names:
            if name not in infos or len(infos[name][0]) != 1:
                raise absent(
                    path, name, [one for one, (shape, _) in infos.items() if len(shape) == 1]
                )
            values = _npz_member(path, archive, name, _NUMBERS + _WORDS)
            found[name] = column_of(path, name, values.tolist())
    return found


def _npz_embeddings(path: Path, infos: Mapping[str, _Member], asked: str | None) -> str:
    """The array of embeddings."""
    if asked is not None and asked not in infos:
        raise absent(path, asked, infos)
    if asked is not None:
        return asked
    if "embeddings" in infos:
        return "embeddings"
    matrices = [
        name
        for name, (shape, dtype) in infos.items()
        if len(shape) == 2 and dtype is not None and dtype.kind in _NUMBERS
    ]
    if len(matrices) != 1:
        found = ", ".join(matrices) or "none"
        problem = f"no array `embeddings`, and not exactly one 2-D array (2-D: {found})"
        raise ShardError(path, problem, cure="save it as np.savez(file, embeddings=...)")
    return matrices[0]


def _npz_member(
    path: Path, archive: zipfile.ZipFile, name: str, kinds: str = _NUMBERS
) -> np.ndarray:
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
        return _npy_array(path, name, stream, info.file_size, kinds)


def _read_parquet(path: Path, columns: TableColumns) -> TableRows:
    embeddings, prominence = read_parquet(path, columns.embedding)
    own = parquet_columns(path, columns.wanted) if columns.wanted else {}
    return TableRows(embeddings, prominence, own)


def _read_lines(path: Path, columns: TableColumns) -> TableRows:
    return read_lines(path, columns.embedding, columns.wanted)


_READERS: dict[str, Callable[[Path, TableColumns], TableRows]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".parquet": _read_parquet,
    **dict.fromkeys(TABLE_SUFFIXES, _read_lines),
}
_LISTERS: dict[str, Callable[[Path], Any]] = {
    ".npy": _list_npy,
    ".npz": _list_npz,
    ".parquet": list_parquet,
    **dict.fromkeys(TABLE_SUFFIXES, list_lines),
}
