"""A whole map as one table, for other tools: Parquet, CSV, embedding-atlas, astronomy."""

import csv
import io
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from jaxtyping import Float

from sphere_ebm.errors import LabelError, require
from sphere_ebm.figures.page.points import NEIGHBOURS
from sphere_ebm.files.atomic import atomic_write
from sphere_ebm.files.container import read_container
from sphere_ebm.files.map_folder import label_files, read_map
from sphere_ebm.files.shards.labels import Labels, read_labels
from sphere_ebm.files.shards.own import OwnColumn, is_own, joined_columns
from sphere_ebm.graph import Neighbours, nearest_neighbours

ExportFormat = Literal["parquet", "csv", "embedding-atlas", "healpix"]
EXPORT_FORMATS: tuple[ExportFormat, ...] = ("parquet", "csv", "embedding-atlas", "healpix")
HEALPIX_ORDER = 29
"""The finest order whose cells fit 64 bits, which HATS and LSDB sort their tables by."""

Column = np.ndarray | list[Any]
_OWN = ("sphere_coords", "bytes", "bytes_offset", "embeddings", "direction", "radii")
_COMPUTED = (
    "longitude",
    "latitude",
    "x",
    "y",
    "lambert_x",
    "lambert_y",
    "neighbours",
    "similarity",
    "embeddings",
)
_DRAWN = ("octets", "x", "y", "lambert_x", "lambert_y")
_NOT_IN_ATLAS = ("octets", "x", "y", "patch_start", "patch_length")
_EVERYWHERE = ("document", "text", "r", "longitude", "latitude")


def map_table(
    folder: Path | str, *, embeddings: bool = False, neighbours: bool = True
) -> dict[str, Column]:
    """All points of a map, a column each, in the order of its label files.

    - `document`, `file`: names of the document and of the label file;
    - `text`: the patch, decoded as UTF-8 with replacements, and `octets`, its bytes, where the
      labels have them;
    - `r`, `theta`, `phi`, `direction` (N, 3): as in the labels, bit for bit, and so is every other
      column that all label files have, by its own name;
    - the columns of one's own that the map has kept, by their names; one that the map itself has
      gets `own_` in front;
    - `longitude` in [-180, 180] and `latitude`, in degrees; `x`, `y`: Hammer's equal-area map;
    - `lambert_x`, `lambert_y`: the half spheres around +x and -x as two discs (`lambert_pair`);
    - `neighbours` (N, k) and `similarity`: the ten nearest in the embedding and their cosines, -1
      and -inf where there are fewer;
    - `embeddings` (N, D), where they are asked for.

    pandas, polars and pyarrow make a data frame of those columns that are of one axis.

    Raises:
        LabelError: there is no finished map in `folder`.
        ShardError: a label file is missing or damaged.
    """
    # with which matplotlib comes
    from sphere_ebm.figures.world import hammer, lambert_pair

    folder = Path(folder)
    files = [read_labels(path) for path in label_files(folder, read_map(folder))]
    table = _names_and_texts(files)
    table |= {
        "r": np.concatenate([labels.radius for labels in files]),
        "direction": np.concatenate([labels.direction for labels in files]),
        **_other_columns(files),
    }
    rows = [len(labels) for labels in files]
    own = joined_columns([labels.own.values for labels in files], rows)
    # A name that is taken by what every map has gets `own_` in front.
    taken = {*table, *_COMPUTED}
    for name, column in own.items():
        table[f"own_{name}" if name in taken else name] = _values(column)
    direction = np.asarray(table["direction"], np.float64)
    table["longitude"], table["latitude"] = _degrees(direction)
    table["x"], table["y"] = hammer(direction).T
    table["lambert_x"], table["lambert_y"] = lambert_pair(direction).T
    whole = np.concatenate([labels.embeddings for labels in files if len(labels)] or [_NOTHING])
    if neighbours and len(whole) > 1:
        found: Neighbours = nearest_neighbours(whole, min(NEIGHBOURS, len(whole) - 1))
        table |= {"neighbours": found.index, "similarity": found.similarity}
    if embeddings:
        table["embeddings"] = whole
    return table


_NOTHING = np.zeros((0, 0), np.float32)


def export_map(
    folder: Path | str, path: Path | str, format: ExportFormat, *, embeddings: bool = False
) -> int:
    """Write the map in `folder` as one file, atomically; returns how many points it has.

    `"parquet"` holds all of `map_table`, `"csv"` its columns of one axis, the neighbours too.
    `"embedding-atlas"` is Parquet with the names that this tool takes (`projection_x`,
    `projection_y`, `neighbors`). `"healpix"` is Parquet sorted by `_healpix_29`, the nested HEALPix
    cell of order 29, with `ra` and `dec` in degrees, as HATS catalogues are.

    Raises:
        LabelError: there is no finished map, or `path` exists.
        ShardError: a label file is missing or damaged.
        MissingPackageError: pyarrow (extra `parquet`) or astropy-healpix (`healpix`) is missing.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if os.path.lexists(path):
        raise LabelError(f"{path} is there already; remove it, or choose another --output")
    if format != "csv":
        require("pyarrow.parquet", "parquet", f"export to {format}")
    if format == "healpix":
        require("astropy_healpix", "healpix", "export to healpix")
    table = map_table(folder, embeddings=embeddings and format == "parquet")
    count = len(table["r"])
    if format == "embedding-atlas":
        table = _for_embedding_atlas(table)
    elif format == "healpix":
        table = _for_astronomy(table)
    about = {"format": format, "map": read_map(Path(folder))["id"]}
    path.parent.mkdir(parents=True, exist_ok=True)
    writer: Callable[[BinaryIO], object] = (
        (lambda file: _write_csv(file, table))
        if format == "csv"
        else (lambda file: _write_parquet(file, table, about))
    )
    atomic_write(path, writer)
    return count


def _names_and_texts(files: list[Labels]) -> dict[str, Column]:
    counted = [pair for labels in files for pair in labels.named_documents]
    documents = [name for name, count in counted for _ in range(count)]
    names = [labels.path.name for labels in files for _ in range(len(labels))]
    table: dict[str, Column] = {"document": documents, "file": names}
    if any(labels.bytes is not None for labels in files):
        octets = [patch for labels in files for patch in _patches(labels)]
        table["text"] = [patch.decode("utf-8", "replace") for patch in octets]
        table["octets"] = octets
    return table


def _patches(labels: Labels) -> list[bytes]:
    """The bytes of each patch; empty where a file has none."""
    if labels.bytes is None or labels.bytes_offset is None:
        return [b""] * len(labels)
    whole = labels.bytes.tobytes()
    offset = labels.bytes_offset.tolist()
    return [whole[a:b] for a, b in itertools.pairwise(offset)]


def _other_columns(files: list[Labels]) -> dict[str, Column]:
    """Tensors with a row per patch that all files have in one type, whoever has written them."""
    containers = [read_container(labels.path) for labels in files]
    shared: dict[str, Column] = {}
    for name, info in containers[0].tensors.items():
        alike = all(
            name in c.tensors
            and c.tensors[name].dtype == info.dtype
            and c.tensors[name].shape == (len(labels), *info.shape[1:])
            for c, labels in zip(containers, files, strict=True)
        )
        if name in _OWN or is_own(name) or not alike or not info.shape:
            continue
        if info.dtype == "F32":
            parts = [c.floats(name).reshape(-1, *info.shape[1:]) for c in containers]
        elif info.dtype in ("I32", "I64", "U8"):
            parts = [c.integers(name).reshape(-1, *info.shape[1:]) for c in containers]
            parts = [part.astype(_INTEGERS[info.dtype]) for part in parts]
        else:
            continue
        shared[name] = np.concatenate(parts)
    return shared


_INTEGERS = {"I32": np.int32, "I64": np.int64, "U8": np.uint8}


def _is_flat(column: Column) -> bool:
    return isinstance(column, list) or column.ndim == 1


def _values(column: OwnColumn) -> Column:
    """Words as a list, where every map holds them so."""
    return column.tolist() if column.dtype == object else column


def _degrees(
    direction: Float[np.ndarray, "n 3"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    x, y, z = direction.T
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))


def _for_embedding_atlas(table: dict[str, Column]) -> dict[str, Column]:
    first = [name for name in (*_EVERYWHERE, "shell", "angle_std") if name in table]
    made = {
        name: table[name]
        for name in dict.fromkeys((*first, *table))
        if name not in _NOT_IN_ATLAS and _is_flat(table[name])
    }
    made |= {"projection_x": table["x"], "projection_y": table["y"]}
    if "neighbours" in table:
        rows = zip(table["neighbours"], table["similarity"], strict=True)
        made["neighbors"] = [
            {"ids": ids[ids >= 0].tolist(), "distances": (1 - cosines[ids >= 0]).tolist()}
            for ids, cosines in rows
        ]
    return made


def _for_astronomy(table: dict[str, Column]) -> dict[str, Column]:
    healpix = require("astropy_healpix", "healpix", "export to healpix")
    degree = require("astropy.units", "healpix", "export to healpix").deg
    longitude = np.asarray(table["longitude"]) % 360
    cell = healpix.lonlat_to_healpix(
        longitude * degree, np.asarray(table["latitude"]) * degree, 2**HEALPIX_ORDER, order="nested"
    )
    made: dict[str, Column] = {"_healpix_29": np.asarray(cell, np.int64), "ra": longitude}
    made["dec"] = table["latitude"]
    one_axis = {
        name: column for name, column in table.items() if _is_flat(column) and name not in _DRAWN
    }
    made |= one_axis
    order = np.argsort(made["_healpix_29"], kind="stable")
    return {
        name: [column[i] for i in order] if isinstance(column, list) else column[order]
        for name, column in made.items()
    }


def _write_parquet(file: BinaryIO, table: dict[str, Column], about: dict[str, str]) -> None:
    arrow = require("pyarrow", "parquet", "export to Parquet")
    parquet = require("pyarrow.parquet", "parquet", "export to Parquet")
    columns = {name: _arrow_column(arrow, column) for name, column in table.items()}
    made = arrow.table(columns).replace_schema_metadata({"sphere_ebm": json.dumps(about)})
    parquet.write_table(made, file, compression="zstd")


def _arrow_column(arrow: Any, column: Column) -> Any:
    """Rows of more than one axis become lists of one length."""
    if isinstance(column, list):
        return arrow.array([_storable(value) for value in column])
    if column.ndim == 1:
        return arrow.array(column)
    width = int(np.prod(column.shape[1:]))
    return arrow.FixedSizeListArray.from_arrays(arrow.array(column.ravel()), width)


def _storable(value: Any) -> Any:
    """Names with lone surrogates are no UTF-8."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _write_csv(file: BinaryIO, table: dict[str, Column]) -> None:
    """Columns of one axis; neighbours as numbers with spaces between them."""
    columns: dict[str, list[str]] = {}
    for name, column in table.items():
        if isinstance(column, list):
            if name != "octets":
                columns[name] = [_storable(value) for value in column]
        elif column.ndim == 1:
            columns[name] = [str(value) for value in column]
        elif name == "neighbours":
            columns[name] = [" ".join(str(i) for i in row if i >= 0) for row in column]
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    text.flush()
    text.detach()
