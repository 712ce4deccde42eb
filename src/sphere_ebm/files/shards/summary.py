"""What is in a file, for a person who wants to know before labelling it."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from sphere_ebm.errors import ShardError
from sphere_ebm.files.container import Container, TensorInfo, read_container
from sphere_ebm.files.shards.arrays import ARRAY_SUFFIXES, TABLE_SUFFIXES, array_infos
from sphere_ebm.files.shards.discovery import discover, part_name
from sphere_ebm.files.shards.labels import Labels, read_labels
from sphere_ebm.files.shards.layouts import (
    LABEL_FORMAT,
    PLACEMENT_FORMAT,
    TEXT_FILE,
    detect_layout,
    is_labels,
)
from sphere_ebm.files.shards.reader import read_shard


@final
@dataclass(frozen=True)
class ShardSummary:
    """Contents of a shard, label file or placement.

    - `layout`: as in `PatchTable`, `"E"`, `"sphere_labels_v1"`, `"sphere_placement_v1"`, or `None`
      if it is none of them.
    - `tensors`, `metadata`: as the file's header states them. Dtypes are spelled as the file spells
      them.
    - `patches`, `dim`, `documents`, `warnings`: of the table (or the labels) the file gives; `None`
      and empty if it gives none. Of a placement only `patches` is known.
    - `problem`: why it gives none.
    - `labels`: of a label file.
    """

    path: Path
    layout: str | None
    tensors: tuple[TensorInfo, ...]
    metadata: dict[str, str]
    patches: int | None = None
    dim: int | None = None
    documents: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    problem: ShardError | None = None
    labels: Labels | None = None


def inspect_shard(path: Path | str) -> ShardSummary:
    """Summarise a shard, label file or placement.

    Shards and labels are read to tell whether they can be used.

    Raises:
        ShardError: only if not even the header can be read; every other problem is in the summary.
    """
    path = Path(path)
    if path.suffix.lower() in (*ARRAY_SUFFIXES, *TABLE_SUFFIXES):
        return _with_table(path, path.suffix.lower()[1:], array_infos(path), {})
    container = read_container(path)
    tensors = tuple(sorted(container.tensors.values(), key=lambda info: info.begin))
    if is_labels(container):
        return _with_labels(path, tensors, container.metadata)
    if container.metadata.get("format") == PLACEMENT_FORMAT:
        radius = container.tensors.get("radius")
        points = radius.shape[0] if radius is not None and radius.shape else None
        return ShardSummary(path, PLACEMENT_FORMAT, tensors, container.metadata, points)
    try:
        layout: str | None = detect_layout(container)
    except ShardError:
        layout = None  # the reader says why
    problem = _part_of_many(container)
    if problem is not None:
        return ShardSummary(path, layout, tensors, container.metadata, problem=problem)
    return _with_table(path, layout, tensors, container.metadata)


def _part_of_many(container: Container) -> ShardError | None:
    """Why a part cannot be used alone when the other parts of its document lie beside it."""
    path = container.path
    named = part_name(container)
    if named is None:
        return None
    beside = [other for other in path.parent.iterdir() if other.name.startswith(f"{named.stem}_")]
    shards = [other for other in beside if other.suffix == path.suffix and other.is_file()]
    parts = next((item.parts for item in discover(shards) if path in item.parts), ())
    if len(parts) < 2:
        return None
    return ShardError(
        path, f"is part of {named.stem} ({len(parts)} files)", cure="label the folder"
    )


def _with_table(
    path: Path, layout: str | None, tensors: tuple[TensorInfo, ...], metadata: dict[str, str]
) -> ShardSummary:
    try:
        table = read_shard(path)
    except ShardError as problem:
        return ShardSummary(path, layout, tensors, metadata, problem=problem)
    return ShardSummary(
        path, layout, tensors, metadata, len(table), table.dim, table.documents, table.warnings
    )


def _with_labels(
    path: Path, tensors: tuple[TensorInfo, ...], metadata: dict[str, str]
) -> ShardSummary:
    try:
        labels = read_labels(path)
    except ShardError as problem:
        return ShardSummary(path, LABEL_FORMAT, tensors, metadata, problem=problem)
    dim = int(labels.embeddings.shape[1])
    stored = labels.metadata
    documents = (stored.get(TEXT_FILE, stored.get("source_file", path.name)),)
    return ShardSummary(
        path, LABEL_FORMAT, tensors, metadata, len(labels), dim, documents, labels=labels
    )
