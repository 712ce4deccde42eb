"""What all readers do last: they make a `PatchTable` of columns, with warnings for the user."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int64, UInt8

from sphere_ebm.errors import ShardError, one_line
from sphere_ebm.files.shards.own import OwnColumns
from sphere_ebm.files.shards.table import PatchTable

NORM_USED = "no stored prominence: the norm of the embedding is used"
EQUAL_NORMS = 1e-5
"""Norms whose relative spread is at most this are equal: normalising in float32 leaves about 1e-7
of noise.
"""
_INT32_MAX = 2**31 - 1
_VALUES = 1 << 20  # looked at together


def finite_float32(
    path: Path, name: str, array: np.ndarray, start: int = 0
) -> Float32[np.ndarray, "..."]:
    """`array` in float32, contiguous; its first row is row `start` of what messages call `name`.

    Raises:
        ShardError: no real numbers, or one that is not finite in float32.
    """
    if array.dtype.kind not in "fiu":
        raise ShardError(path, f"dtype {array.dtype} is no number", name, cure="store float32")
    with np.errstate(over="ignore"):
        values: np.ndarray = np.ascontiguousarray(array, np.float32)
    flat = values.reshape(-1)
    for begin in range(0, flat.size, _VALUES):
        finite = np.isfinite(flat[begin : begin + _VALUES])
        if not finite.all():
            bad = begin + int(np.argmin(finite))
            where = tuple(int(i) for i in np.unravel_index(bad, values.shape))
            problem = f"{float(array[where])} is not a finite float32"
            place = (start + where[0], *where[1:])
            index = place if len(place) > 1 else place[0]
            raise ShardError(path, problem, name, index, "remove or repair the value")
    return values


def norms(path: Path, embeddings: Float32[np.ndarray, "rows dim"]) -> Float32[np.ndarray, " rows"]:
    """Euclidean norms, see `without_rounding`.

    Raises:
        ShardError: at the first row whose norm exceeds float32.
    """
    out = np.empty(len(embeddings), np.float32)
    block = max(1, _VALUES // max(embeddings.shape[1], 1))
    for start in range(0, len(embeddings), block):
        rows = embeddings[start : start + block].astype(np.float64)
        with np.errstate(over="ignore"):
            out[start : start + block] = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    if np.isinf(out).any():
        problem = "no stored prominence, and the norm of this row exceeds float32"
        raise ShardError(
            path, problem, "embeddings", int(np.argmax(np.isinf(out))), "scale the embeddings down"
        )
    return without_rounding(out)


def without_rounding(norm: Float32[np.ndarray, " rows"]) -> Float32[np.ndarray, " rows"]:
    """The norms; those that differ by rounding alone are made equal, since they order nothing.

    They are rounded then, so that files of one model get the same number.
    """
    if not equal_norms(norm):
        return norm
    return np.where(norm > 0, np.float32(f"{norm.max():.4g}"), np.float32(0))


def equal_norms(norm: Float[np.ndarray, " rows"]) -> bool:
    """Whether norms differ by no more than rounding leaves of vectors that were normalised.

    Zeros, which no normalisation changes, have no say. One vector alone tells nothing.
    """
    pointing = norm[norm > 0]
    largest = pointing.max(initial=0.0)
    return len(pointing) > 1 and bool(largest - pointing.min() <= EQUAL_NORMS * largest)


def zero_warning(embeddings: Float32[np.ndarray, "rows dim"]) -> tuple[str, ...]:
    """One warning if any row is all zeros, else none."""
    zeros = len(embeddings) - int(np.count_nonzero(embeddings.any(axis=1)))
    if not zeros:
        return ()
    noun = "zero vector has" if zeros == 1 else "zero vectors have"
    return (f"{zeros} {noun} no direction information and no lateral edges",)


def find_sidecar(path: Path, stem: str, metadata_file: str | None) -> Path | None:
    """The hypergraph beside a shard, if it exists.

    It is the one that the shard's metadata name, else `<stem>.hypergraph.db`.

    Only the last component of the stored name counts: a shard cannot point outside its own folder.
    """
    names = [f"{stem}.hypergraph.db"]
    if metadata_file:
        names.insert(0, Path(metadata_file).name)
    # os.path.isfile says False for names that no file system takes, where Path.is_file may raise.
    return next(
        (path.parent / name for name in names if name and os.path.isfile(path.parent / name)), None
    )


def build_table(
    parts: Sequence[Path],
    layout: str,
    *,
    embeddings: Float32[np.ndarray, "patches dim"],
    prominence: Float32[np.ndarray, " patches"],
    start: Int64[np.ndarray, " patches"],
    length: Int64[np.ndarray, " patches"],
    documents: tuple[str, ...],
    document: Int64[np.ndarray, " patches"] | None = None,
    entropy: Float32[np.ndarray, " patches"] | None = None,
    octets: UInt8[np.ndarray, " bytes"] | None = None,
    sidecar: Path | None = None,
    text_file: str | None = None,
    warnings: Sequence[str] = (),
    byte_lengths: Int64[np.ndarray, " patches"] | None = None,
    own: OwnColumns | None = None,
) -> PatchTable:
    """A table of checked columns.

    `octets` must be as long as `byte_lengths`, or `length` without them, add up to; `document` is 0
    if absent.

    Raises:
        ShardError: a start or an end exceeds int32.
    """
    if int((start + length).max(initial=0)) > _INT32_MAX:
        raise ShardError(
            parts[0], "holds more than 2^31-1 tokens or bytes", cure="split the document"
        )
    return PatchTable(
        source=parts[0],
        layout=layout,
        embeddings=embeddings,
        prominence=prominence,
        documents=tuple(one_line(name) for name in documents),
        document=np.zeros(len(start), np.int32) if document is None else document.astype(np.int32),
        patch_start=start.astype(np.int32),
        patch_length=length.astype(np.int32),
        entropy=entropy,
        bytes=octets,
        bytes_offset=None
        if octets is None
        else np.concatenate(
            [[0], np.cumsum(length if byte_lengths is None else byte_lengths)]
        ).astype(np.int64),
        sidecar=sidecar,
        text_file=text_file,
        parts=tuple(parts),
        warnings=(*warnings, *zero_warning(embeddings)),
        own=own or OwnColumns(),
    )
