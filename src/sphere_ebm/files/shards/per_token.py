"""Layouts A-D and G: one row per token, pooled to patches.

A document of A-D may lie in several files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32, Int64

from sphere_ebm.errors import ShardError
from sphere_ebm.files.container import Container
from sphere_ebm.files.shards.assemble import NORM_USED, build_table, find_sidecar, norms
from sphere_ebm.files.shards.boundaries import (
    check_agreement,
    check_mask,
    starts_from_indices,
    starts_from_lengths,
    starts_from_mask,
)
from sphere_ebm.files.shards.layouts import drop_leading_ones, require_length
from sphere_ebm.files.shards.own import ALL_FOUND, KINDS, TableColumns
from sphere_ebm.files.shards.pooling import Pooling, pool
from sphere_ebm.files.shards.table import PatchTable

_ROWS = ("prominence", "entropies", "coherence_scores", "patch_mask", "tokens", "mask")
_BOUNDARIES = ("patch_lengths", "patch_indices", "patch_mask")


@final
@dataclass(frozen=True)
class _Extent:
    """Size of a per-token file: documents (the batch axis), tokens of each, width."""

    batch: int
    tokens: int
    dim: int


def read_per_token(
    parts: Sequence[Container],
    layout: str,
    pooling: Pooling,
    columns: TableColumns = ALL_FOUND,
    part_of: str | None = None,
) -> PatchTable:
    """Read a document from its files in order, or a file of several, and pool tokens to patches.

    Boundaries of a whole file are `patch_lengths`, else `patch_indices`, else `patch_mask`; those
    present are checked against each other. If the files are the parts of the document `part_of`,
    boundaries come from the masks alone, joined before they are evaluated, so that a patch may
    straddle two parts.

    Raises:
        ShardError: a tensor is missing, damaged or does not fit the others.
    """
    extents = [_extent(part) for part in parts]
    _check_parts(parts, extents)
    first = parts[0]
    batch = extents[0].batch
    dim = extents[0].dim
    tokens = sum(extent.tokens for extent in extents)
    stem = first.path.stem if part_of is None else part_of
    starts = _starts(first, batch, tokens) if part_of is None else _joined_starts(parts)
    embeddings = np.empty((batch * tokens, dim), np.float32)
    row = 0
    for part, extent in zip(parts, extents, strict=True):
        rows = extent.batch * extent.tokens
        part.floats_into("embeddings", embeddings[row : row + rows].reshape(-1))
        row += rows
    warnings: list[str] = []
    prominence = _prominence(parts, embeddings, columns, warnings)
    length = np.diff(starts, append=batch * tokens)
    pooled, patch_prominence, entropy = pool(
        embeddings, prominence, _join(parts, "entropies"), starts, pooling
    )
    return build_table(
        tuple(part.path for part in parts),
        layout,
        embeddings=pooled,
        prominence=patch_prominence,
        start=starts if batch == 1 else starts % tokens,
        length=length,
        documents=(stem,) if batch == 1 else tuple(f"{stem}[{i}]" for i in range(batch)),
        document=None if batch == 1 else starts // tokens,
        entropy=entropy,
        sidecar=find_sidecar(first.path, stem, first.metadata.get("metadata_file")),
        warnings=warnings,
    )


def _prominence(
    parts: Sequence[Container],
    embeddings: Float32[np.ndarray, "tokens dim"],
    columns: TableColumns,
    warnings: list[str],
) -> Float32[np.ndarray, " tokens"]:
    """What is stored for the tokens, unless their norms are asked for."""
    path = parts[0].path
    if columns.ordering is not None:
        problem = f"holds tokens, whose radii no column orders; got {columns.ordering!r}"
        cure = f"leave --prominence out, or give it one of {', '.join(KINDS)}"
        raise ShardError(path, problem, cure=cure)
    stored = _join(parts, "prominence") if columns.stored else None
    if stored is not None:
        return stored
    warnings += [NORM_USED] if columns.prominence is None else []
    return norms(path, embeddings)


def _extent(container: Container) -> _Extent:
    """Size of a file, after a check of every per-token tensor against it."""
    tensors = container.tensors
    path = container.path
    shape = tensors["embeddings"].shape
    full = (1, *shape) if len(shape) == 2 else shape
    if len(full) != 3 or not full[0] or (full[1] and not full[2]) or (full[0] > 1 and not full[1]):
        raise ShardError(
            path,
            f"shape {shape} is not (1, tokens, dim)",
            "embeddings",
            cure="store one row per token",
        )
    extent = _Extent(*full)
    for name in _ROWS:
        if name not in tensors:
            continue
        if extent.batch == 1:
            require_length(path, tensors[name], extent.tokens, "tokens")
        elif tensors[name].shape != full[:2]:
            problem = (
                f"shape {tensors[name].shape} does not match batch and tokens of `embeddings`,"
                f" {full[:2]}"
            )
            raise ShardError(path, problem, name, cure="write one document per file")
    flat = [name for name in _BOUNDARIES[:2] if name in tensors]
    if extent.batch > 1 and (flat or "patch_mask" not in tensors):
        problem = (
            f"a batch of {extent.batch} documents needs its boundaries in `patch_mask`, and there"
            " alone"
        )
        raise ShardError(
            path, problem, flat[0] if flat else "embeddings", cure="write one document per file"
        )
    for name in flat:
        if len(drop_leading_ones(tensors[name].shape, 1)) != 1:
            problem = f"shape {tensors[name].shape} is not one-dimensional"
            raise ShardError(path, problem, name, cure="store one value per patch")
    return extent


def _check_parts(parts: Sequence[Container], extents: Sequence[_Extent]) -> None:
    """All parts must be files of one document: no batch, one width, the same optional tensors."""
    if len(parts) == 1:
        return
    first = parts[0]
    for part, extent in zip(parts, extents, strict=True):
        if extent.batch > 1:
            problem = f"a batch of {extent.batch} documents in one part of a document"
            raise ShardError(part.path, problem, "embeddings", cure="write one document per file")
        if extent.dim != extents[0].dim:
            problem = f"has {extent.dim} dimensions, {first.path.name} has {extents[0].dim}"
            raise ShardError(part.path, problem, "embeddings", cure="take all parts from one run")
        for name in ("patch_mask", "prominence", "entropies"):
            if (name in part.tensors) != (name in first.tensors):
                who = part if name not in part.tensors else first
                other = first if who is part else part
                problem = f"is missing here but present in {other.path.name}"
                raise ShardError(who.path, problem, name, cure="take all parts from one run")


def _starts(container: Container, batch: int, tokens: int) -> Int64[np.ndarray, " patches"]:
    """Patch starts of a whole file, as positions among its batch * tokens rows."""
    path = container.path
    tensors = container.tensors
    if "mask" in tensors and not (attention := container.integers("mask")).all():
        index = int(np.argmin(attention != 0))
        raise ShardError(
            path, "a masked token; padding is not supported", "mask", index, "cut the padding off"
        )
    if batch > 1:
        return _batched_starts(container, batch, tokens)
    found = {}
    if "patch_lengths" in tensors:
        found["patch_lengths"] = starts_from_lengths(
            path, container.integers("patch_lengths"), tokens
        )
    if "patch_indices" in tensors:
        found["patch_indices"] = starts_from_indices(
            path, container.integers("patch_indices"), tokens
        )
    if "patch_mask" in tensors:
        found["patch_mask"] = starts_from_mask(path, container.integers("patch_mask"))
    if not found:
        problem = f"{tokens} rows per token, but none of {', '.join(_BOUNDARIES)}"
        raise ShardError(
            path, problem, cure="add patch boundaries, or store one row per patch as (patches, dim)"
        )
    check_agreement(path, found)
    return next(iter(found.values()))


def _batched_starts(container: Container, batch: int, tokens: int) -> Int64[np.ndarray, " patches"]:
    mask = container.integers("patch_mask")
    check_mask(container.path, mask)
    firsts = mask.reshape(batch, tokens)[:, :1]
    if not firsts.all():
        document = int(np.argmin(firsts))
        problem = "the document's first token is no patch start"
        raise ShardError(
            container.path, problem, "patch_mask", (document, 0), "write one document per file"
        )
    return np.flatnonzero(mask)


def _joined_starts(parts: Sequence[Container]) -> Int64[np.ndarray, " patches"]:
    """Patch starts of a document in parts.

    `patch_indices` in a part belong to the whole document: they are no boundaries of the part, but
    if they count more patches than the masks do, a part at the end is missing.
    """
    masks = []
    for part in parts:
        masks.append(part.integers("patch_mask"))
        check_mask(part.path, masks[-1])
    starts = starts_from_mask(parts[0].path, np.concatenate(masks))
    stated = parts[0].tensors.get("patch_indices")
    if stated is not None and (count := drop_leading_ones(stated.shape, 1)[0]) > len(starts):
        names = (
            f"{parts[0].path.name} to {parts[-1].path.name}"
            if len(parts) > 1
            else parts[0].path.name
        )
        problem = f"the document has {count} patches, {names} hold {len(starts)}: a part is missing"
        raise ShardError(
            parts[0].path, problem, "patch_indices", len(starts), "put all parts into one folder"
        )
    return starts


def _join(parts: Sequence[Container], name: str) -> Float32[np.ndarray, " tokens"] | None:
    """A per-token column of all parts; `_check_parts` has seen that all have it or none."""
    if name not in parts[0].tensors:
        return None
    return np.concatenate([part.floats(name) for part in parts])
