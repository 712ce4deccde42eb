"""The maps and held-out queries that `benchmarks.retrieval` asks."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int

from benchmarks.datasets import load
from benchmarks.report import say
from sphere_ebm import Placement, PlacementConfig, place, read_shard
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
TRAINING = 1500


@dataclass(frozen=True, eq=False)
class Asked:
    """A map, unit queries that are not on it, and their 10 nearest points by cosine.

    `document` and `length` (bytes) of each point, and `training`, unit queries of documents that
    are neither on the map nor asked, are known of texts only.
    """

    name: str
    placement: Placement
    unit: Float32[np.ndarray, "points width"]
    queries: Float32[np.ndarray, "queries width"]
    truth: Int[np.ndarray, "queries found"]
    document: Int[np.ndarray, " points"] | None = None
    length: Int[np.ndarray, " points"] | None = None
    training: Float32[np.ndarray, "training width"] | None = None

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
        shards = Path(made) if maps is None else maps
        tables = {name: _table(data, name, shards) for name in (*TEXTS, UNSEEN)}
    rng = np.random.default_rng(0)
    documents = [(name, d) for name in TEXTS for d in range(len(tables[name].documents))]
    rows: list[tuple[str, np.ndarray]] = []
    total = 0
    left = []
    for number in rng.permutation(len(documents)):
        name, document = documents[number]
        here = np.flatnonzero(tables[name].document == document)
        if total == TEXT_POINTS:
            left.append(tables[name].embeddings[here])
            continue
        rows.append((name, here[: TEXT_POINTS - total]))
        total += len(rows[-1][1])
    embeddings = np.concatenate([tables[name].embeddings[here] for name, here in rows])
    length = np.concatenate([tables[name].patch_length[here] for name, here in rows])
    document = np.repeat(np.arange(len(rows)), [len(here) for _, here in rows])
    queries = _drawn(tables[UNSEEN].embeddings, HELD_OUT, rng)
    training = _drawn(np.concatenate(left), TRAINING, rng)
    unit = unit_rows(embeddings)
    truth = exact_neighbours(unit, queries, FOUND)
    placement = _placed("texts-60k", embeddings, maps)
    return Asked("texts-60k", placement, unit, queries, truth, document, length, training)


def _drawn(
    embeddings: Float32[np.ndarray, "points width"], count: int, rng: np.random.Generator
) -> Float32[np.ndarray, "drawn width"]:
    """Unit vectors of as many rows that are not zero, at random."""
    pointing = np.flatnonzero(np.any(embeddings, axis=1))
    return unit_rows(embeddings[np.sort(rng.choice(pointing, count, replace=False))])


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
    """The default placement without replicas, which say how sure places are and change none.

    It is read from `maps` where an earlier run has left it.
    """
    kept = None if maps is None else maps / f"{name}.placement.safetensors"
    if kept is not None and kept.is_file():
        held = Placement.load(kept)
        if held.embeddings is not None and np.array_equal(held.embeddings, embeddings):
            return held
    placement = place(embeddings, config=PlacementConfig(replicas=0))
    say(f"{name}: placed")
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        placement.save(kept, embeddings=True)
    return placement
