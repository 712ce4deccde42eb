"""One text file to one shard, in the layout that the shard reader calls F."""

import bz2
import json
import lzma
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from sphere_ebm.errors import ShardError, one_line
from sphere_ebm.files.shards.layouts import TEXT_FILE
from sphere_ebm.files.shards.own import NORM
from sphere_ebm.files.tensors import Blocks, write_tensors
from sphere_ebm.text.base import AbstractEmbedder, AbstractEntropyModel, Reading
from sphere_ebm.text.documents import FileText
from sphere_ebm.text.patching import Patching, find_threshold, patch_lengths
from sphere_ebm.text.prominence import prominence_of
from sphere_ebm.text.statistics import statistics_of

SHARD_FORMAT = "blt_patches_v3"

_CURE = "check the model, or choose another one"
_COMPRESSED = 4 * 2**20
"""Bytes of a text that are compressed for comparison."""


def write_shard(
    path: Path,
    text: FileText,
    *,
    patching: Patching,
    mean_length: float,
    entropy: AbstractEntropyModel,
    embedder: AbstractEmbedder,
    metadata: Mapping[str, str],
    prominence: str = NORM,
) -> str:
    """Cut the documents of `text` into patches, embed them and write the shard, atomically.

    Returns its SHA-256 (hex). `prominence` is a kind of `PROMINENCES`; that of a column comes with
    `text`.

    Documents are read and embedded one by one and cut with one threshold: that of `patching`, else
    the one that brings the mean length of all patches of the file nearest to `mean_length` bytes.
    Embeddings go to the disk block by block. The same arguments give the same bytes.

    Raises:
        ShardError: the models gave something that no shard may hold.
        OSError: the file cannot be written.
    """
    ends = np.cumsum(text.lengths)
    documents = [text.octets[end - n : end] for end, n in zip(ends, text.lengths, strict=True)]
    readings = [_checked(text.source, octets, entropy) for octets in documents]
    patching, lengths = _cut(documents, readings, patching, mean_length)
    counts = np.array([len(one) for one in lengths])
    whole = np.concatenate(lengths)
    entropies = np.concatenate([reading.entropies for reading in readings])
    norm = np.empty(len(whole), np.float32)
    starts = np.cumsum(whole) - whole
    tensors = {
        "bytes": text.octets,
        "patch_lengths": whole.astype(np.int32),
        "entropies": entropies,
        "patch_entropies": (
            (np.add.reduceat(entropies, starts, dtype=np.float64) / whole).astype(np.float32)
        ),
        "prominence": Blocks(
            (len(whole),),
            np.dtype(np.float32),
            # made when the embeddings before it have been written, and the norms are known
            _ordering(text, lengths, prominence, norm, readings),
        ),
        "embeddings": Blocks(
            (len(whole), embedder.width),
            np.dtype(np.float32),
            _embedded(text.source, documents, lengths, embedder, norm),
        ),
    }
    own = text.own.repeated(counts)
    tensors |= own.tensors()
    stored = {**metadata, **_metadata(text, readings, lengths, patching, entropy, embedder)}
    stored |= own.metadata()
    return write_tensors(path, tensors, stored)


def _ordering(
    text: FileText,
    lengths: Sequence[Int64[np.ndarray, " _"]],
    kind: str,
    norm: Float32[np.ndarray, " patches"],
    readings: Sequence[Reading],
) -> Iterator[Float32[np.ndarray, " patches"]]:
    """Yields what radii order, once: that of a patch's document, or of this kind."""
    if text.prominence is not None:
        yield np.repeat(text.prominence, [len(one) for one in lengths])
    else:
        yield prominence_of(kind, norm, np.concatenate(lengths), readings)


def _cut(
    documents: Sequence[UInt8[np.ndarray, " _"]],
    readings: Sequence[Reading],
    patching: Patching,
    mean_length: float,
) -> tuple[Patching, list[Int64[np.ndarray, " _"]]]:
    """The patching with its threshold, and the lengths of the patches of each document."""
    read = [(octets, one.entropies) for octets, one in zip(documents, readings, strict=True)]
    if patching.threshold is None:
        patching = replace(patching, threshold=find_threshold(read, mean_length, patching))
    return patching, [patch_lengths(octets, entropies, patching) for octets, entropies in read]


def _metadata(
    text: FileText,
    readings: Sequence[Reading],
    lengths: Sequence[Int64[np.ndarray, " _"]],
    patching: Patching,
    entropy: AbstractEntropyModel,
    embedder: AbstractEmbedder,
) -> dict[str, str]:
    """What a shard says about its text and the way that it was made."""
    whole = np.concatenate(lengths)
    stored = {
        "format": SHARD_FORMAT,
        "num_patches": str(len(whole)),
        "source_file": one_line(text.source.name),
        TEXT_FILE: one_line(text.name),
        "source_sha256": text.digest,
        "version": version("sphere-ebm"),
        "entropy_model": entropy.name,
        "embedding_model": embedder.name,
        "patching": json.dumps(asdict(patching), sort_keys=True),
        "statistics": json.dumps(statistics_of(whole).to_dict(), sort_keys=True),
        "bits_per_byte": json.dumps(_bits_per_byte(text, readings), sort_keys=True),
    }
    if text.documents != (text.name,):
        counts = [[name, len(one)] for name, one in zip(text.documents, lengths, strict=True)]
        stored["documents"] = json.dumps(counts, ensure_ascii=False)
    return stored


def _checked(
    source: Path, octets: UInt8[np.ndarray, " bytes"], entropy: AbstractEntropyModel
) -> Reading:
    """What the model makes of one document.

    Raises ShardError for what are no finite numbers, one for each byte.
    """
    reading = entropy.read(octets)
    for name, values in (("entropies", reading.entropies), ("surprisals", reading.surprisals)):
        if values.shape != octets.shape or values.dtype != np.float32:
            problem = (
                f"{entropy.name} gave {name} of {values.dtype} {values.shape} for {len(octets)}"
                " bytes"
            )
            raise ShardError(source, problem, cure=_CURE)
        if not np.isfinite(values).all():
            bad = int(np.argmin(np.isfinite(values)))
            raise ShardError(
                source,
                f"{entropy.name} gave {name} that are not finite",
                "entropies",
                bad,
                cure=_CURE,
            )
    return reading


def _embedded(
    source: Path,
    documents: list[UInt8[np.ndarray, " _"]],
    lengths: list[Int64[np.ndarray, " _"]],
    embedder: AbstractEmbedder,
    prominence: Float32[np.ndarray, " patches"],
) -> Iterator[Float32[np.ndarray, "block dim"]]:
    """Yields blocks of embeddings, and fills `prominence` on the way.

    The file holds it after the embeddings: tensors go by name.
    """
    row = 0
    for octets, of_document in zip(documents, lengths, strict=True):
        wanted = row + len(of_document)
        for embeddings, norms in _blocks(source, octets, of_document, embedder):
            _check_block(source, embedder, embeddings, norms, row)
            if row + len(norms) > wanted:
                problem = f"{embedder.name} gave more embeddings than patches"
                raise ShardError(source, problem, "embeddings", cure=_CURE)
            prominence[row : row + len(norms)] = norms
            row += len(norms)
            yield embeddings
        if row < wanted:
            problem = f"{embedder.name} gave fewer embeddings than patches"
            raise ShardError(source, problem, "embeddings", cure=_CURE)


def _check_block(
    source: Path,
    embedder: AbstractEmbedder,
    embeddings: np.ndarray,
    norms: np.ndarray,
    row: int,
) -> None:
    """Raises ShardError for embeddings, from patch `row` on, that no shard may hold."""
    if embeddings.shape != (len(norms), embedder.width) or embeddings.dtype != np.float32:
        problem = (
            f"{embedder.name} gave {embeddings.dtype} {embeddings.shape} and {norms.shape}"
            f" prominences, not float32 (n, {embedder.width}) and (n,)"
        )
        raise ShardError(source, problem, "embeddings", cure=_CURE)
    finite = np.isfinite(embeddings).all(axis=1) & np.isfinite(norms)
    if not finite.all():
        problem = f"{embedder.name} gave what is not finite"
        bad = row + int(np.argmin(finite))
        raise ShardError(source, problem, "embeddings", bad, cure=_CURE)


def _blocks(
    source: Path,
    octets: UInt8[np.ndarray, " bytes"],
    lengths: Int64[np.ndarray, " patches"],
    embedder: AbstractEmbedder,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What the embedder gives; a text that it refuses costs no other text."""
    try:
        yield from embedder.embed(octets, lengths)
    except ShardError:
        raise
    except ValueError as error:
        raise ShardError(source, str(error), cure=_CURE) from error


def _bits_per_byte(text: FileText, readings: Sequence[Reading]) -> dict[str, float]:
    """Cross-entropy of the model, and what two compressors make of the file's first 4 MiB."""
    bits = [len(reading.surprisals) * reading.bits_per_byte for reading in readings]
    head = text.octets[:_COMPRESSED].tobytes()
    return {
        "model": round(sum(bits) / len(text.octets), 4),
        "bzip2": round(8 * len(bz2.compress(head)) / len(head), 4),
        "xz": round(8 * len(lzma.compress(head)) / len(head), 4),
    }
