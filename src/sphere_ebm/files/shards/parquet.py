"""A Parquet column of embeddings, read batch by batch into one float32 matrix."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from sphere_ebm.errors import MissingPackageError, ShardError, require
from sphere_ebm.files.container import TensorInfo, open_regular
from sphere_ebm.files.shards.assemble import finite_float32
from sphere_ebm.files.shards.own import OwnColumn, absent, column_of

_NAMES = ("embeddings", "embedding")
_ROWS = 1024  # in memory besides the matrix
_BUFFER = 1 << 20  # bytes read ahead


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


def list_parquet(path: Path) -> tuple[TensorInfo, ...]:
    """Names, types and lengths of the columns, from the file's end."""
    _, file = _opened(path)
    with file:
        rows = (file.metadata.num_rows,)
        return tuple(TensorInfo(f.name, str(f.type), rows) for f in file.schema_arrow)


def read_parquet(
    path: Path, embedding: str | None = None
) -> tuple[Float32[np.ndarray, "rows width"], Float32[np.ndarray, " rows"] | None]:
    """The column of embeddings as a matrix, and the column `prominence` where there is one.

    Embeddings are the column `embedding` where one is named, else `embeddings` or `embedding`, else
    the only column of lists: lists, large or of one size, views of lists, or tensors of one axis.
    Other columns are not read.

    Memory: the matrix, and on top of it a thousand rows and a megabyte of the file.

    Raises:
        ShardError: no such column, null in it, rows of different width, values that are no finite
            numbers.
    """
    arrow, file = _opened(path)
    with file:
        schema = file.schema_arrow
        name = _column(path, arrow, schema, embedding)
        weighed = "prominence" in schema.names
        wanted = [name, "prominence"] if weighed else [name]
        rows = file.metadata.num_rows
        kind = schema.field(name).type
        _check_numbers(path, arrow, name, _vector(arrow, kind).value_type)
        matrix = np.empty((0, _stated_width(arrow, kind) or 0), np.float32)
        prominence = np.empty(rows, np.float32)
        if weighed:
            _check_numbers(path, arrow, "prominence", schema.field("prominence").type)
        start = 0
        for batch in file.iter_batches(_ROWS, columns=wanted, use_threads=False):
            if not batch.num_rows:
                continue
            vectors = _matrix(path, arrow, name, batch.column(name), start)
            if not start:
                matrix = np.empty((rows, vectors.shape[1]), np.float32)
            if vectors.shape[1] != matrix.shape[1]:
                raise _ragged(path, name, start, vectors.shape[1], matrix.shape[1])
            here = slice(start, start + batch.num_rows)
            matrix[here] = finite_float32(path, name, vectors, start)
            if weighed:
                column = batch.column("prominence")
                _refuse_nulls(path, "prominence", column, start)
                prominence[here] = finite_float32(path, "prominence", _numbers(column), start)
            start += batch.num_rows
    if start != rows:
        raise ShardError(path, f"holds {start} of {rows} rows", name, cure="write the file again")
    return matrix, prominence if weighed else None


def parquet_columns(path: Path, names: Sequence[str]) -> dict[str, OwnColumn]:
    """Columns of numbers or words. Raises ShardError for one that is not there or holds lists."""
    _, file = _opened(path)
    with file:
        for name in names:
            if name not in file.schema_arrow.names:
                raise absent(path, name, file.schema_arrow.names)
        table = file.read(columns=list(dict.fromkeys(names)), use_threads=False)
        return {name: column_of(path, name, table[name].to_pylist()) for name in names}


def list_columns(path: Path) -> dict[str, int]:
    """Columns of lists of numbers, and how long the first list is."""
    arrow, file = _opened(path)
    with file:
        found = {}
        for one in file.schema_arrow:
            kind = _vector(arrow, one.type)
            if kind is None or not arrow.types.is_primitive(kind.value_type):
                continue
            batch = next(file.iter_batches(1, columns=[one.name], use_threads=False), None)
            first = batch.column(0)[0].as_py() if batch is not None and batch.num_rows else None
            found[one.name] = 0 if first is None else len(first)
        return found


def _opened(path: Path) -> tuple[Any, Any]:
    """The module `pyarrow` and an open ParquetFile."""
    arrow, parquet = parquet_library(path)
    with open_regular(path):
        pass
    # Both are needed: by default the whole column of a row group is read at once.
    return arrow, parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)


def _column(path: Path, arrow: Any, schema: Any, asked: str | None) -> str:
    """The column that holds the embeddings."""
    if asked is not None and asked not in schema.names:
        raise absent(path, asked, schema.names)
    if asked is not None and _vector(arrow, schema.field(asked).type) is None:
        problem = f"type {schema.field(asked).type} is no list of numbers"
        raise ShardError(path, problem, asked, cure="store one list of numbers per row")
    if asked is not None:
        return asked
    lists = [field.name for field in schema if _vector(arrow, field.type) is not None]
    named = [name for name in _NAMES if name in lists]
    if named:
        return named[0]
    if len(lists) == 1:
        return lists[0]
    other = next((name for name in _NAMES if name in schema.names), None)
    if other is not None:
        problem = f"type {schema.field(other).type} is no list of numbers"
        raise ShardError(path, problem, other, cure="store one list of numbers per row")
    problem = (
        "no column `embeddings`, and not exactly one list column (lists:"
        f" {', '.join(lists) or 'none'})"
    )
    raise ShardError(path, problem, cure="name the list column with --embedding-column")


def _vector(arrow: Any, kind: Any) -> Any:
    """The list type that a column's values are stored as; None for a column of anything else."""
    if isinstance(kind, arrow.FixedShapeTensorType):
        # a tensor of several axes is no vector
        return kind.storage_type if max(kind.shape, default=0) == math.prod(kind.shape) else None
    tests = (
        arrow.types.is_list,
        arrow.types.is_large_list,
        arrow.types.is_fixed_size_list,
        arrow.types.is_list_view,
        arrow.types.is_large_list_view,
    )
    return kind if any(test(kind) for test in tests) else None


def _stated_width(arrow: Any, kind: Any) -> int | None:
    stored = _vector(arrow, kind)
    return int(stored.list_size) if arrow.types.is_fixed_size_list(stored) else None


def _check_numbers(path: Path, arrow: Any, name: str, kind: Any) -> None:
    if not (arrow.types.is_floating(kind) or arrow.types.is_integer(kind)):
        raise ShardError(path, f"type {kind} is no number", name, cure="store float32")


def _refuse_nulls(path: Path, name: str, column: Any, start: int, width: int = 0) -> None:
    if column.null_count:
        first = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        index = (start + first // width, first % width) if width else start + first
        raise ShardError(path, "is null", name, index, "fill or drop the row")


def _ragged(path: Path, name: str, index: int, width: int, first: int) -> ShardError:
    problem = f"row has {width} values, the first has {first}"
    return ShardError(path, problem, name, index, "give every row the same number of values")


def _matrix(path: Path, arrow: Any, name: str, column: Any, start: int) -> np.ndarray:
    """A batch of vectors, of which `start` rows came before."""
    if isinstance(column, arrow.ExtensionArray):
        column = column.storage
    _refuse_nulls(path, name, column, start)
    values = column.flatten()
    width = _stated_width(arrow, column.type)
    if width is None:
        widths = _numbers(column.value_lengths())
        width = int(widths[0])
        if (widths != width).any():
            index = int(np.argmax(widths != width))
            raise _ragged(path, name, start + index, int(widths[index]), width)
    _refuse_nulls(path, name, values, start, width)
    return _numbers(values).reshape(len(column), width)


def _numbers(values: Any) -> np.ndarray:
    """A column of numbers without nulls as it lies in memory.

    `to_numpy` would import pandas, where it is installed, for nothing.
    """
    return np.from_dlpack(values) if len(values) else np.empty(0, np.float32)
