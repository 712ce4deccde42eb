"""The maps and held-out queries that `benchmarks.retrieval` asks."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int

from benchmarks.datasets import load
from benchmarks.report import say
from sphere_ebm import Placement, place, read_shard
from sphere_ebm.files.shards.table import PatchTable
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.exact import exact_neighbours
from sphere_ebm.text.ingest import ingest

HELD_OUT = 500
FOUND = 10
TEXT_POINTS = 60_000
WORDNET = "wordnet-10k"
TEXTS = ("librarian-fit", "librarian-more")
UNSEEN = "librarian-test"


@dataclass(frozen=True, eq=False)
class Asked:
    """A map, unit queries that are not on it, and their 10 nearest points by cosine.

    `document` and `length` (bytes) of each point are known of texts only.
    """

    name: str
    placement: Placement
    unit: Float32[np.ndarray, "points width"]
    queries: Float32[np.ndarray, "queries width"]
    truth: Int[np.ndarray, "queries found"]
    document: Int[np.ndarray, " points"] | None = None
    length: Int[np.ndarray, " points"] | None = None

    def __len__(self) -> int:
        return len(self.unit)


def wordnet(data: Path, maps: Path | None) -> Asked:
    """wordnet-10k without 500 of its points, which are the queries."""
    embeddings = load(WORDNET, data).embeddings
    asked = np.sort(np.random.default_rng(0).choice(len(embeddings), HELD_OUT, replace=False))
    kept = np.delete(embeddings, asked, axis=0)
    unit = unit_rows(kept)
    queries = unit_rows(embeddings[asked])
    placement = _placed(WORDNET, kept, maps)
    return Asked(WORDNET, placement, unit, queries, exact_neighbours(unit, queries, FOUND))


def texts(data: Path, maps: Path | None) -> Asked:
    """60 000 patches of whole documents drawn at random; queries are patches of unseen ones."""
    with tempfile.TemporaryDirectory() as made:
        tables = {name: _table(data, name, Path(made)) for name in (*TEXTS, UNSEEN)}
    rng = np.random.default_rng(0)
    documents = [(name, d) for name in TEXTS for d in range(len(tables[name].documents))]
    rows: list[tuple[str, np.ndarray]] = []
    total = 0
    for number in rng.permutation(len(documents)):
        name, document = documents[number]
        here = np.flatnonzero(tables[name].document == document)[: TEXT_POINTS - total]
        rows.append((name, here))
        total += len(here)
        if total == TEXT_POINTS:
            break
    embeddings = np.concatenate([tables[name].embeddings[here] for name, here in rows])
    length = np.concatenate([tables[name].patch_length[here] for name, here in rows])
    document = np.repeat(np.arange(len(rows)), [len(here) for _, here in rows])
    unseen = tables[UNSEEN].embeddings
    pointing = np.flatnonzero(np.any(unseen, axis=1))
    queries = unit_rows(unseen[np.sort(rng.choice(pointing, HELD_OUT, replace=False))])
    unit = unit_rows(embeddings)
    truth = exact_neighbours(unit, queries, FOUND)
    placement = _placed("texts-60k", embeddings, maps)
    return Asked("texts-60k", placement, unit, queries, truth, document, length)


def _table(data: Path, name: str, folder: Path) -> PatchTable:
    """The patches of one Parquet file of texts."""
    source = data / f"{name}.parquet"
    if not source.is_file():
        raise FileNotFoundError(2, "no such file", str(source))
    run = ingest([source], folder / name)
    say(f"{name}: {run.statistics.patches} patches")
    return read_shard(next(iter(run.files.values())))


def _placed(
    name: str, embeddings: Float32[np.ndarray, "points width"], maps: Path | None
) -> Placement:
    """The default placement, read from `maps` where an earlier run has left it."""
    kept = None if maps is None else maps / f"{name}.placement.safetensors"
    if kept is not None and kept.is_file():
        held = Placement.load(kept)
        if held.embeddings is not None and np.array_equal(held.embeddings, embeddings):
            return held
    placement = place(embeddings)
    say(f"{name}: placed")
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        placement.save(kept, embeddings=True)
    return placement
