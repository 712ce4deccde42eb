"""Numbers of the user's own, one for each point, from columns of input files."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from sphere_ebm.errors import ShardError, require
from sphere_ebm.files.container import read_container

_CURE = "name a column with one number for each point"


def joined_column(name: str, paths: Sequence[Path], points: int) -> Float32[np.ndarray, " points"]:
    """The column `name` of files whose rows, one file after another, are the points of a map.

    Reads `.parquet`, `.csv`, `.npz` and `.safetensors`.

    Raises:
        ShardError: a file has no such column, it holds what is no finite number, or the rows of
            all files are not as many as the points.
        MissingPackageError: pyarrow is not installed, and a file is Parquet.
    """
    parts = [_column(path, name) for path in paths]
    rows = sum(map(len, parts))
    if rows != points:
        raise ShardError(
            paths[-1],
            f"{name!r} has {rows} rows in {len(paths)} files, and the map {points} points",
            cure="give all files of the map, in its order",
        )
    return np.concatenate(parts)


def _column(path: Path, name: str) -> Float32[np.ndarray, " rows"]:
    readers = {
        ".parquet": _of_parquet,
        ".csv": _of_csv,
        ".npz": _of_arrays,
        ".safetensors": _of_tensors,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ShardError(path, f"is none of {', '.join(readers)}", cure=_CURE)
    try:
        values = np.asarray(reader(path, name), np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ShardError(
            path, f"has no column {name!r} of numbers ({error})", cure=_CURE
        ) from error
    if values.ndim != 1 or not np.isfinite(values).all():
        problem = f"column {name!r} is not one finite number a row"
        raise ShardError(path, problem, cure=_CURE)
    return values.astype(np.float32)


def _of_parquet(path: Path, name: str) -> object:
    parquet = require("pyarrow.parquet", "parquet", "a column of Parquet")
    return parquet.read_table(path, columns=[name])[name].to_numpy()


def _of_csv(path: Path, name: str) -> object:
    with open(path, newline="", encoding="utf-8") as file:
        return [float(row[name]) for row in csv.DictReader(file)]


def _of_arrays(path: Path, name: str) -> object:
    with np.load(path, allow_pickle=False) as arrays:
        return arrays[name]


def _of_tensors(path: Path, name: str) -> object:
    container = read_container(path)
    info = container.tensors[name]
    read = container.floats if info.dtype in ("F64", "F32", "F16", "BF16") else container.integers
    return read(name).reshape(info.shape)
