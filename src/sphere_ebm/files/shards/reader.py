"""Any shard, whatever its layout, to one `PatchTable`."""

from collections.abc import Sequence
from pathlib import Path

from sphere_ebm.errors import ShardError
from sphere_ebm.files.container import read_container
from sphere_ebm.files.shards.arrays import ARRAY_SUFFIXES, TABLE_SUFFIXES, read_array
from sphere_ebm.files.shards.discovery import WorkItem, check_complete, part_name
from sphere_ebm.files.shards.layouts import readable_layout
from sphere_ebm.files.shards.lengths import corrected
from sphere_ebm.files.shards.own import ALL_FOUND, TableColumns
from sphere_ebm.files.shards.per_patch import read_per_patch
from sphere_ebm.files.shards.per_token import read_per_token
from sphere_ebm.files.shards.pooling import Pooling, check_pooling
from sphere_ebm.files.shards.table import PatchTable


def read_shard(
    path: Path | str, *, pooling: Pooling = "mean", columns: TableColumns = ALL_FOUND
) -> PatchTable:
    """Read one shard file: safetensors of layouts A-D and F-H, arrays or a table.

    Arrays are `.npy` and `.npz`; tables are Parquet, CSV, TSV and JSON lines.

    A file that is one part of a document (`*_part_K`, `*_shard_I_of_N`) is refused unless it is all
    of it; `discover` finds the parts and `read_item` joins them.

    Args:
        path: the file.
        pooling: how the tokens of a per-token layout become a patch, see `pooling.pool`.
        columns: which columns of a table become embeddings, text and names of rows, and which are
            kept.

    Raises:
        ShardError: the file cannot be used.
        ValueError: an unknown `pooling`.
    """
    return _read_files((Path(path),), pooling, columns)


def read_item(item: WorkItem, *, pooling: Pooling = "mean") -> PatchTable:
    """Read what `discover` found: a file, or a document's parts joined.

    Arguments and errors as in `read_shard`.
    """
    if item.problem is not None:
        raise item.problem
    return _read_files(item.parts, pooling, item.columns)


def _read_files(paths: Sequence[Path], pooling: Pooling, columns: TableColumns) -> PatchTable:
    check_pooling(pooling)
    try:
        return corrected(_read_any(paths, pooling, columns), columns.length_curve)
    except MemoryError as error:
        raise ShardError(
            paths[0], "does not fit into memory", cure="split it, or free memory"
        ) from error


def _read_any(paths: Sequence[Path], pooling: Pooling, columns: TableColumns) -> PatchTable:
    if paths[0].suffix.lower() in (*ARRAY_SUFFIXES, *TABLE_SUFFIXES):
        return read_array(paths[0], columns)
    containers = [read_container(path) for path in paths]
    layouts = [readable_layout(container) for container in containers]
    first = containers[0]
    if layouts[0] in ("F", "H"):
        return read_per_patch(first, layouts[0], columns)
    named = part_name(first)
    if named is None:
        return read_per_token(containers, layouts[0], pooling, columns)
    check_complete(paths)
    return read_per_token(containers, layouts[0], pooling, columns, part_of=named.stem)
