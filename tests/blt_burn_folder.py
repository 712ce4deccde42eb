"""A folder that BLT-Burn has written is dropped in as it is.

Every layout, its parts, its sidecars, and what else lies there.
"""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from sphere_ebm import PlacementConfig

WIDTH = 24
CONFIG = PlacementConfig(neighbours=6, shells=4, steps=40, average=10, tolerance=0.0, replicas=1)
OPTIONS = [
    "--neighbours",
    "6",
    "--shells",
    "4",
    "--steps",
    "40",
    "--average",
    "10",
    "--tolerance",
    "0",
    "--replicas",
    "1",
]
REFUSED = "item_8.safetensors"

Tensors = dict[str, np.ndarray]
Edge = tuple[int, int, float, str]


@dataclass(frozen=True)
class Document:
    """The files of one document, first to last, and what its labels must hold.

    One row per patch, in patch order.

    `edges`: rows of a sidecar of schema 3; None with a `sidecar` makes it one of schema 2.
    """

    files: dict[str, Tensors]
    length: np.ndarray
    embeddings: np.ndarray
    prominence: np.ndarray
    metadata: dict[str, str]
    octets: bytes | None = None
    sidecar: str | None = None
    edges: tuple[Edge, ...] | None = None

    @property
    def start(self) -> np.ndarray:
        return np.cumsum(self.length) - self.length


def per_token(
    name: str, layout: str, patches: int, dtype: Any = np.float32, **more: Any
) -> Document:
    """A document of layout A-C, D or G.

    Values are quarters, so that sums of them are exact in every dtype.
    """
    rng = np.random.default_rng(patches)
    length = rng.integers(1, 10, patches)
    start = np.cumsum(length) - length
    tokens = int(length.sum())
    embeddings = (rng.integers(-40, 40, (tokens, WIDTH)) / 4).astype(dtype)
    prominence = np.linalg.norm(embeddings.astype(np.float64), axis=1).astype(dtype)
    tensors: Tensors = {
        "embeddings": embeddings[None],
        "prominence": prominence[None],
        "patch_indices": start.astype(np.int32),
    }
    if layout == "G":
        tensors["tokens"] = rng.integers(4, 260, (1, tokens)).astype(np.int32)
        tensors["mask"] = np.ones((1, tokens), np.int32)
        tensors["patch_lengths"] = length.astype(np.int32)
    else:
        tensors["patch_mask"] = np.isin(np.arange(tokens), start).astype(np.int32)[None]
    if layout != "A-C":
        tensors["entropies"] = rng.gamma(2.0, 1.0, (1, tokens)).astype(np.float32)
        tensors["coherence_scores"] = tensors["prominence"].astype(np.float32) ** 2 / (
            tensors["entropies"] + 1e-6
        )
    spans = [slice(s, s + n) for s, n in zip(start, length, strict=True)]
    return Document(
        {name: tensors},
        length,
        np.stack([embeddings[span].astype(np.float64).mean(axis=0) for span in spans]).astype(
            np.float32
        ),
        np.array([prominence[span].max() for span in spans], np.float32),
        **{"metadata": {}} | more,
    )


def per_patch(
    name: str, layout: str, patches: int, dtype: Any = np.float32, **more: Any
) -> Document:
    """A document of layout F, or a corpus of layout H."""
    rng = np.random.default_rng(patches)
    length = rng.integers(1, 30, patches)
    octets = rng.integers(0, 256, int(length.sum())).astype(np.uint8)
    embeddings = rng.standard_normal((patches, WIDTH)).astype(dtype)
    prominence = (
        np.linalg.norm(embeddings.astype(np.float32), axis=1) * rng.uniform(1, 2, patches)
    ).astype(np.float32)
    tensors: Tensors = {
        "bytes": octets,
        "patch_lengths": length.astype(np.int32),
        "embeddings": embeddings,
        "prominence": prominence,
        "patch_entropies": rng.random(patches).astype(np.float32),
    }
    if layout == "F":
        tensors["entropies"] = rng.random(len(octets)).astype(np.float32)
    number = "num_patches" if layout == "F" else "n_patches"
    metadata = {"format": "blt_patches_v3", number: str(patches), "total_bytes": str(len(octets))}
    metadata |= {"embed_dim": str(WIDTH)} | more.pop("metadata", {})
    return Document(
        {name: tensors},
        length,
        embeddings.astype(np.float32),
        prominence,
        metadata,
        octets.tobytes(),
        **more,
    )


def without_bytes(corpus: Document) -> Document:
    """Layout H as it may be: rows alone, which are their own starts."""
    ((name, tensors),) = corpus.files.items()
    kept = {key: tensors[key] for key in ("embeddings", "prominence", "patch_entropies")}
    return replace(corpus, files={name: kept}, length=np.ones_like(corpus.length), octets=None)


def in_parts(document: Document, count: int, name: str) -> Document:
    """Per-token tensors cut into equal parts.

    Each has the whole document's `patch_indices`, as upstream writes it.
    """
    (tensors,) = document.files.values()
    size = -(-tensors["embeddings"].shape[1] // count)
    parts = {
        name.format(i): {
            key: array if key == "patch_indices" else array[:, i * size : (i + 1) * size]
            for key, array in tensors.items()
        }
        for i in range(count)
    }
    return replace(document, files=parts)


def graph(patches: int) -> tuple[Edge, ...]:
    """Edges of all three labels.

    Those that are not `next` join patches that have nothing in common.
    """
    chain = [(i, i + 1, 1.0, "next") for i in range(patches - 1)]
    views = [(i, patches - 1 - i, 1.0, "same_source") for i in range(3)]
    return (*chain, *views, *((i, i + patches // 2, 0.75, "semantic") for i in range(3, 7)))


def of_sidecar(name: str) -> dict[str, Any]:
    """Options of a document whose metadata names its sidecar."""
    return {"metadata": {"metadata_file": name}, "sidecar": name}


HF = "gdpval/83d10b06-26d1-4636-a32c-23f92c57f30b"
FINEWEB = "item_<urn:uuid:0d1c6d34-6ab1-4f4c-9d4e-3d3f5a7e9a10>"
# By the name of the label file, without its suffix.
DOCUMENTS: dict[str, Document] = {
    "item_0": per_token("item_0.safetensors", "A-C", 12, sidecar="item_0.hypergraph.db"),
    "renamed": per_token(
        "renamed.safetensors", "A-C", 21, **of_sidecar("item_1.hypergraph.db"), edges=graph(21)
    ),
    FINEWEB: per_token(f"{FINEWEB}.safetensors", "D", 33),
    "half": per_token("half.safetensors", "D", 18, np.float16),
    "item_7": in_parts(
        per_token("", "D", 58, **of_sidecar("item_7.hypergraph.db"), edges=graph(58)),
        12,
        "item_7_part_{}.safetensors",
    ),
    "manual_input": in_parts(
        per_token("", "D", 27, sidecar="manual_input_shard_0_of_4.hypergraph.db"),
        4,
        "manual_input_shard_{}_of_4.safetensors",
    ),
    "item_9": per_patch(
        "item_9.safetensors", "F", 40, sidecar="item_9.hypergraph.db", edges=graph(40)
    ),
    "brain": per_patch("brain.safetensors", "F", 17, ml_dtypes.bfloat16),
    HF.split("/")[1]: per_token(
        f"{HF}.safetensors", "G", 24, metadata={"sample_id": HF.split("/")[1]}
    ),
    "corpus": per_patch(
        "corpus.safetensors", "H", 60, sidecar="corpus.hypergraph.db", edges=graph(60)
    ),
    "corpus_2": without_bytes(
        per_patch(
            "corpus_2.safetensors",
            "H",
            30,
            metadata={"documents": json.dumps([["first", 11], ["second", 19]])},
        )
    ),
}


def write_sidecar(path: Path, edges: Sequence[Edge] | None) -> None:
    """Schema 2: nodes and edges as blobs.

    Schema 3: beside them, plain tables of patches and edges.
    """
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);CREATE TABLE nodes (id"
            " INTEGER PRIMARY KEY, data BLOB NOT NULL);CREATE TABLE hyperedges (id INTEGER PRIMARY"
            " KEY, vertices BLOB NOT NULL, data BLOB NOT NULL);"
        )
        database.execute(
            "INSERT INTO meta VALUES ('schema_version', ?)", ("2" if edges is None else "3",)
        )
        database.execute("INSERT INTO nodes (data) VALUES (?)", (bytes(range(200)),))
        database.execute(
            "INSERT INTO hyperedges (vertices, data) VALUES (?, ?)", (b"\2\0\1", b"\4next")
        )
        if edges is not None:
            database.executescript(
                "CREATE TABLE sphere_patches (node_id INTEGER PRIMARY KEY, patch_idx INTEGER,"
                " prominence REAL);CREATE TABLE sphere_edges (id INTEGER PRIMARY KEY, src_patch"
                " INTEGER, dst_patch INTEGER, weight REAL, label TEXT); CREATE INDEX by_label ON"
                " sphere_edges(label);"
            )
            database.executemany(
                "INSERT INTO sphere_patches VALUES (?, ?, 1.0)", [(i + 2, i) for i in range(10)]
            )
            columns = "(src_patch, dst_patch, weight, label)"
            database.executemany(f"INSERT INTO sphere_edges {columns} VALUES (?, ?, ?, ?)", edges)
        database.commit()
        # A database in this mode gets two more files when it is merely read, unless the reader
        # takes care.
        database.execute("PRAGMA journal_mode=WAL")
    path.chmod(0o444)


def write_strays(folder: Path) -> None:
    """What upstream, its caches and a desktop leave beside the shards.

    Files of layout E among it.
    """
    lengths = np.array([5, 5, 2], np.int32)
    listed = {
        "bytes": np.zeros(12, np.uint8),
        "patch_lengths": lengths,
        "entropies": np.ones(12, np.float32),
    }
    save_file(
        listed,
        folder / REFUSED,
        {"format": "blt_patches_v2", "num_patches": "3", "total_bytes": "12"},
    )
    cache = folder / ".cache" / "openai_gdpval"
    cache.mkdir(parents=True)
    save_file({"embeddings": np.ones((9, 5), np.float32)}, cache / "model.safetensors")
    (cache / "train-00000.parquet").write_bytes(b"PAR1")
    (folder / "._item_9.safetensors").write_bytes(b"\0\5\26\7Mac OS X")
    (folder / "item_0.hypergraph.json").write_text('{"nodes": [], "edges": []}')
    (folder / "item_0.metadata.json").write_text('{"modality": "text", "segments": []}')
    (folder / "entropy_histogram.json").write_text('{"bins": [1, 2, 3]}')
    (folder / "ingest.log").write_text("Ingestion complete!\n")
    (folder / "shard_000000.tar.gz").write_bytes(b"\x1f\x8b")
    (folder / "corpus.db").write_bytes(b"SQLite format 3\0")


def write_folder(folder: Path) -> Path:
    (folder / "gdpval").mkdir(parents=True)
    for document in DOCUMENTS.values():
        for name, tensors in document.files.items():
            save_file(tensors, folder / name, document.metadata)
        if document.sidecar is not None:
            write_sidecar(folder / document.sidecar, document.edges)
    write_strays(folder)
    return folder
