"""Layouts F and H: one row per patch."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from sphere_ebm.errors import ShardError
from sphere_ebm.files.container import Container
from sphere_ebm.files.shards.assemble import NORM_USED, build_table, find_sidecar, norms
from sphere_ebm.files.shards.boundaries import check_agreement, starts_from_lengths
from sphere_ebm.files.shards.layouts import TEXT_FILE, drop_leading_ones, require_length
from sphere_ebm.files.shards.own import (
    ALL_FOUND,
    OwnColumns,
    TableColumns,
    absent,
    ordering_numbers,
    tensors_kept,
)
from sphere_ebm.files.shards.table import PatchTable


def read_per_patch(
    container: Container, layout: str, columns: TableColumns = ALL_FOUND
) -> PatchTable:
    """Read a shard of layout F or H.

    Without `patch_lengths`, patches are numbered by row: start i, length 1, and no bytes can be
    attributed.

    A file of several documents (H) tells them apart by the metadata key `documents`: a JSON list of
    `[name, patches]` in the order of the rows. Upstream writes no such key; without it the file is
    one document, named as its text (`text_file`), else by its stem. Tensors that `columns` keep and
    that have one number for each patch are carried along, as are columns that `sphere_ebm.text` has
    put into the shard; either may be what the radii order.

    Raises:
        ShardError: a tensor is missing, damaged or does not fit the others.
    """
    path = container.path
    shape = drop_leading_ones(container.tensors["embeddings"].shape, 2)
    if len(shape) != 2 or (shape[0] and not shape[1]):
        problem = f"shape {container.tensors['embeddings'].shape} is not (patches, dim)"
        raise ShardError(path, problem, "embeddings", cure="store one row per patch")
    patches = shape[0]
    _check_shapes(container, patches)
    warnings: list[str] = []
    start, length, octets = _spans(container, patches, warnings)
    documents, document = _documents(container, patches, warnings)
    own = OwnColumns.of_file(container, patches)
    embeddings = np.empty(shape, np.float32)
    container.floats_into("embeddings", embeddings.reshape(-1))
    return build_table(
        (path,),
        layout,
        embeddings=embeddings,
        prominence=_prominence(container, embeddings, own, columns, warnings),
        start=start,
        length=length,
        documents=documents,
        document=document,
        entropy=(
            container.floats("patch_entropies") if "patch_entropies" in container.tensors else None
        ),
        octets=octets,
        sidecar=find_sidecar(path, path.stem, container.metadata.get("metadata_file")),
        text_file=container.metadata.get(TEXT_FILE),
        warnings=warnings,
        own=replace(own, values=own.values | dict(tensors_kept(container, columns.keep, patches))),
    )


def _check_shapes(container: Container, patches: int) -> None:
    for name in ("prominence", "patch_entropies", "patch_lengths", "patch_indices"):
        if name in container.tensors:
            require_length(container.path, container.tensors[name], patches, "rows")
    for key in ("num_patches", "n_patches"):
        stated = container.metadata.get(key, "")
        if stated.isascii() and stated.isdigit() and stated.lstrip("0") != str(patches).lstrip("0"):
            problem = f"metadata {key!r} says {stated} patches, `embeddings` has {patches} rows"
            raise ShardError(container.path, problem, cure="write the file again")


def _prominence(
    container: Container,
    embeddings: Float32[np.ndarray, "patches dim"],
    own: OwnColumns,
    columns: TableColumns,
    warnings: list[str],
) -> Float32[np.ndarray, " patches"]:
    """What is asked for, else what is stored, else the norms."""
    path = container.path
    name = columns.ordering
    if name is not None:
        there = own.values | dict(tensors_kept(container, [name], len(embeddings)))
        if name not in there:
            rows = embeddings.shape[:1]
            flat = [one for one, info in container.tensors.items() if info.shape == rows]
            raise absent(path, name, [*own.values, *flat])
        return ordering_numbers(path, name, there[name])
    if columns.stored and "prominence" in container.tensors:
        return container.floats("prominence")
    warnings += [NORM_USED] if columns.prominence is None else []
    return norms(path, embeddings)


def _spans(
    container: Container, patches: int, warnings: list[str]
) -> tuple[
    Int64[np.ndarray, " patches"], Int64[np.ndarray, " patches"], UInt8[np.ndarray, " bytes"] | None
]:
    """Starts and lengths in bytes, and the bytes if they can be attributed."""
    tensors = container.tensors
    stored = tensors["bytes"].shape if "bytes" in tensors else None
    if stored is not None and len(drop_leading_ones(stored, 1)) != 1:
        raise ShardError(
            container.path,
            f"shape {stored} is not one-dimensional",
            "bytes",
            cure="store the bytes flat",
        )
    if "patch_lengths" not in tensors:
        warnings.append(
            "no `patch_lengths`: patches are numbered by row"
            + (", bytes not attributed" if stored else "")
        )
        return np.arange(patches), np.ones(patches, np.int64), None
    lengths = container.integers("patch_lengths")
    starts = starts_from_lengths(container.path, lengths, None)
    if "patch_indices" in tensors:
        indices = container.integers("patch_indices")
        check_agreement(container.path, {"patch_lengths": starts, "patch_indices": indices})
    if stored is None:
        return starts, lengths, None
    count = drop_leading_ones(stored, 1)[0]
    total = int(lengths.sum())
    if count != total:
        warnings.append(
            f"bytes not attributed: the patch lengths add up to {total}, the file has {count} bytes"
        )
        return starts, lengths, None
    return starts, lengths, container.octets("bytes")


def _documents(
    container: Container, patches: int, warnings: list[str]
) -> tuple[tuple[str, ...], Int64[np.ndarray, " patches"] | None]:
    whole = ((container.metadata.get(TEXT_FILE, container.path.stem),), None)
    if "documents" not in container.metadata:
        return whole
    try:
        entries = json.loads(container.metadata["documents"])
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, list) or not all(_is_document(entry) for entry in entries):
        # The key may be somebody else's; a file is not refused for it.
        warnings.append(
            "metadata 'documents' is no JSON list of [name, patches]: the file is taken as one"
            " document"
        )
        return whole
    counts = [count for _, count in entries]
    if sum(counts) != patches:
        problem = (
            f"metadata 'documents' adds up to {sum(counts)} patches, `embeddings` has {patches}"
            " rows"
        )
        raise ShardError(container.path, problem, cure="write the file again")
    return tuple(name for name, _ in entries), np.repeat(
        np.arange(len(entries)), np.array(counts, np.int64)
    )


def _is_document(entry: Any) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 2
        and isinstance(entry[0], str)
        and isinstance(entry[1], int)
        and not isinstance(entry[1], bool)
        and entry[1] >= 0
    )
