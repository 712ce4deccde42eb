"""Sequences of vectors: the patches of documents in their order, from shards, and their split."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Bool, Float32, Int64

from sphere_ebm.errors import LabelError, Refused, ShardError
from sphere_ebm.files.shards.discovery import discover
from sphere_ebm.files.shards.pooling import Pooling
from sphere_ebm.files.shards.reader import read_item
from sphere_ebm.files.shards.table import PatchTable
from sphere_ebm.progress import StageProgress

PARTS: tuple[str, ...] = ("train", "validation", "test")

Embed = Callable[[PatchTable], Float32[np.ndarray, "patches dim"]]
"""Gives the patches of a table other embeddings than those that the shard holds."""


@final
@dataclass(frozen=True, eq=False)
class Sequences:
    """Vectors of documents, one document after another, each in the order of its text.

    - `vectors` (N, D), finite, as the shards hold them; a zero row has no direction.
    - `begins` (documents + 1,): document d has the rows `begins[d]` to `begins[d + 1]`.
    - `names`: of the documents, as the shards give them behind the name of their file.
    - `digest`: SHA-256 of vectors, begins and names.
    - `refused`: inputs that could not be read.
    """

    vectors: Float32[np.ndarray, "rows dim"]
    begins: Int64[np.ndarray, " bounds"]
    names: tuple[str, ...]
    refused: tuple[Refused, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def width(self) -> int:
        """D, the width of the vectors."""
        return int(self.vectors.shape[1])

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what a comparison depends on."""
        state = hashlib.sha256(repr((self.vectors.shape, self.names)).encode())
        state.update(np.ascontiguousarray(self.vectors).data)
        state.update(np.ascontiguousarray(self.begins).data)
        return state.hexdigest()

    def document(self) -> Int64[np.ndarray, " rows"]:
        """The document of every row."""
        return np.repeat(np.arange(len(self)), np.diff(self.begins))

    def before(self) -> Int64[np.ndarray, " rows"]:
        """How many vectors of its document stand before each row."""
        return np.arange(len(self.vectors)) - self.begins[self.document()]

    def directed(self) -> Bool[np.ndarray, " rows"]:
        """Whether a row is not zero."""
        return np.asarray(self.vectors.any(axis=1))

    def take(self, documents: Int64[np.ndarray, " some"]) -> "Sequences":
        """Some documents, in the order in which they are named."""
        lengths = np.diff(self.begins)[documents]
        pieces = [self.vectors[self.begins[d] : self.begins[d + 1]] for d in documents]
        vectors = np.concatenate([np.zeros((0, self.width), np.float32), *pieces])
        begins = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Sequences(vectors, begins, tuple(self.names[d] for d in documents))


def read_sequences(
    inputs: Sequence[Path | str],
    *,
    pooling: Pooling = "mean",
    embed: Embed | None = None,
    progress: StageProgress | None = None,
) -> Sequences:
    """Read the documents of all shards that files, folders and globs stand for.

    Args:
        inputs: as `label` takes them.
        pooling: how tokens of a patch become one vector, in shards of tokens.
        embed: gives the patches of a shard other embeddings, for example `embed_alone`.
        progress: hears of the stage `reading`.

    Raises:
        LabelError: no input can be used, or embeddings differ in width.
    """
    items = discover(inputs)
    tables: list[tuple[PatchTable, Float32[np.ndarray, "patches dim"]]] = []
    refused: list[Refused] = []
    for done, item in enumerate(items):
        if progress is not None:
            progress("reading", done, len(items))
        try:
            table = read_item(item, pooling=pooling)
            tables.append((table, table.embeddings if embed is None else embed(table)))
        except (ShardError, OSError) as problem:
            refused.append(Refused(item.source, str(problem)))
    if progress is not None:
        progress("reading", len(items), len(items))
    filled = [(table, vectors) for table, vectors in tables if len(table)]
    if not filled:
        raise LabelError("no input holds a vector; name shards with embeddings", refused)
    _check_widths(filled, refused)
    return dataclasses.replace(_stacked(filled), refused=tuple(refused))


def _check_widths(
    filled: Sequence[tuple[PatchTable, np.ndarray]], refused: Sequence[Refused]
) -> None:
    first, vectors = filled[0]
    for table, others in filled[1:]:
        if others.shape[1] != vectors.shape[1]:
            raise LabelError(
                f"embeddings of different width make no sequences together: {first.source} has"
                f" {vectors.shape[1]}, {table.source} has {others.shape[1]}; use one kind",
                refused,
            )


def _stacked(filled: Sequence[tuple[PatchTable, np.ndarray]]) -> Sequences:
    vectors: list[np.ndarray] = []
    lengths: list[int] = []
    names: list[str] = []
    for table, embeddings in filled:
        # one file may hold the rows of several documents in turns
        order = np.argsort(table.document, kind="stable")
        vectors.append(np.asarray(embeddings, np.float32)[order])
        counts = np.bincount(table.document, minlength=len(table.documents))
        for name, count in zip(table.documents, counts, strict=True):
            if count:
                lengths.append(int(count))
                names.append(f"{table.source.stem}: {name}")
    begins = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Sequences(np.concatenate(vectors), begins, tuple(names))


def embed_alone(table: PatchTable) -> Float32[np.ndarray, "patches dim"]:
    """Embeddings of patches by their own tokens alone, from the bytes that the shard holds.

    The package's embedder lets tokens around a patch count a little, so that neighbours in the
    text share some by construction, and repeating the last vector predicts the next one well.
    These do not (but for a patch in which no token begins: it has the one before it).

    Raises:
        MissingPackageError: without the package `wordllama` (extra `text`).
        ShardError: the shard holds no bytes.
    """
    from sphere_ebm.text.static_embedder import StaticEmbedder

    if table.bytes is None or table.bytes_offset is None:
        raise ShardError(
            table.source, "holds no bytes to embed again", cure="use shards that `ingest` wrote"
        )
    embedder = StaticEmbedder(windows=())
    vectors = np.zeros((len(table), embedder.width), np.float32)
    for number in range(len(table.documents)):
        rows = np.flatnonzero(table.document == number)
        octets = [table.bytes[table.bytes_offset[r] : table.bytes_offset[r + 1]] for r in rows]
        if not octets:
            continue
        lengths = np.array([len(one) for one in octets], np.int64)
        try:
            blocks = [block for block, _ in embedder.embed(np.concatenate(octets), lengths)]
        except ValueError as error:
            problem = f"document {table.documents[number]!r} cannot be embedded ({error})"
            raise ShardError(table.source, problem, cure="use shards of UTF-8 text") from error
        vectors[rows] = np.concatenate(blocks)
    return vectors


def split_documents(sequences: Sequences, seed: int, parts: int = 3) -> list[Sequences]:
    """Divide documents by chance: all but two tenths, then a tenth each, at least one of each.

    With `parts=2` there are training and validation documents, where others are for tests.

    Raises:
        LabelError: there are fewer documents than parts.
    """
    if len(sequences) < parts:
        raise LabelError(
            f"{len(sequences)} documents cannot be divided into {', '.join(PARTS[:parts])}; give at"
            f" least {parts}, since no document may be in two of them"
        )
    order = np.random.default_rng(seed).permutation(len(sequences))
    tenth = max(1, round(len(sequences) / 10))
    cuts = [len(sequences) - tenth * left for left in range(parts - 1, 0, -1)]
    return [sequences.take(np.sort(part)) for part in np.split(order, cuts)]
