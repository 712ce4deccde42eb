"""`PatchTable`: what every shard becomes, whatever its layout was."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8

from sphere_ebm.files.shards.own import OwnColumns


def whole_names(documents: Sequence[str], file: str) -> tuple[str, ...]:
    """Names that tell the documents of one file from those of others.

    The name of the file is put before those of several, unless they begin with it.
    """
    if len(documents) < 2:
        return tuple(documents)
    return tuple(name if name.startswith(file) else f"{file} {name}" for name in documents)


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class PatchTable:
    """The patches of one shard, in the shard's order. One row is one point of the map.

    **Fields:** (P patches, D dimensions, B bytes)

    - `source`: the file; of a document in several files, the first part.
    - `layout`: `"A-C"`, `"D"`, `"F"`, `"G"`, `"H"`, `"npy"`, `"npz"`, `"parquet"`,
      `"csv"`, `"tsv"`, `"jsonl"` or `"ndjson"`.
    - `embeddings` (P, D), finite; a zero row carries no direction.
    - `prominence` (P,), finite: the stored value, else the embedding's norm.
    - `documents`, `document` (P,): names, and for each patch the index of its document in
      `documents`.
    - `patch_start`, `patch_length` (P,): in tokens (A-C, D, G), in bytes (F, H), else row number
      and 1. Starts count from the beginning of the document, except where one file holds many
      documents (H): there from the beginning of the file.
    - `entropy` (P,) in nats, where the file has it.
    - `bytes` (B,), `bytes_offset` (P+1,): patch i is `bytes[bytes_offset[i]:bytes_offset[i + 1]]`.
      Both or neither.
    - `text_file`: the text that `ingest` cut into these patches, by its path below the input; None
      where it is not known.
    - `sidecar`: the hypergraph file beside the shard, if there is one. Not opened.
    - `parts`: the files the table was read from, in numeric order.
    - `warnings`: one line each, for the summary shown to the user.
    - `own`: columns of the user's own, a value per patch.

    Raises:
        ValueError: the shapes do not agree.
    """

    source: Path
    layout: str
    embeddings: Float32[np.ndarray, "patches dim"]
    prominence: Float32[np.ndarray, " patches"]
    documents: tuple[str, ...]
    document: Int32[np.ndarray, " patches"]
    patch_start: Int32[np.ndarray, " patches"]
    patch_length: Int32[np.ndarray, " patches"]
    entropy: Float32[np.ndarray, " patches"] | None = None
    bytes: UInt8[np.ndarray, " bytes"] | None = None
    bytes_offset: Int64[np.ndarray, " offsets"] | None = None
    sidecar: Path | None = None
    text_file: str | None = None
    parts: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()
    own: OwnColumns = field(default_factory=OwnColumns)

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2:
            raise ValueError(
                f"`embeddings` must be (patches, dim); got shape {self.embeddings.shape}."
            )
        rows = (len(self.embeddings),)
        for name in ("prominence", "document", "patch_start", "patch_length", "entropy"):
            column = getattr(self, name)
            if column is not None and column.shape != rows:
                raise ValueError(
                    f"`{name}` must have shape {rows}, one value per patch; got {column.shape}."
                )
        if len(self.document) and not 0 <= self.document.min() <= self.document.max() < len(
            self.documents
        ):
            raise ValueError(
                f"`document` must index `documents`, 0 to {len(self.documents) - 1}; "
                f"got {self.document.min()} to {self.document.max()}."
            )
        for name, column in self.own.values.items():
            if column.shape != rows:
                raise ValueError(
                    f"`own` must have one value per patch, {rows}; {name!r} has {column.shape}."
                )
        self._check_bytes()

    def _check_bytes(self) -> None:
        if (self.bytes is None) != (self.bytes_offset is None):
            raise ValueError(
                "`bytes` and `bytes_offset` must be given together; got only one of them."
            )
        if self.bytes is None or self.bytes_offset is None:
            return
        if self.bytes.ndim != 1 or self.bytes_offset.shape != (len(self) + 1,):
            raise ValueError(
                f"`bytes` must be one-dimensional and `bytes_offset` of shape {(len(self) + 1,)}; "
                f"got {self.bytes.shape} and {self.bytes_offset.shape}."
            )
        spans = np.diff(self.bytes_offset)
        if (
            self.bytes_offset[0] != 0
            or self.bytes_offset[-1] != len(self.bytes)
            or (spans < 0).any()
        ):
            raise ValueError(f"`bytes_offset` must rise from 0 to len(bytes)={len(self.bytes)}.")

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def named_documents(self) -> tuple[str, ...]:
        """Names of the documents, each with that of the file where this has several."""
        if self.text_file is not None and len(self.documents) == 1:
            return (self.text_file,)
        return whole_names(self.documents, self.text_file or self.source.stem)

    @property
    def dim(self) -> int:
        """D, the width of the embeddings."""
        return int(self.embeddings.shape[1])
