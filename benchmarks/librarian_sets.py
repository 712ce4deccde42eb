"""The label folders that `benchmarks.librarian` trains students on and judges them by.

Every stage leaves a note with the processor seconds that it took, and is passed over where its
note says that it was made of the same texts.
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.report import say
from sphere_ebm import Placement, PlacementConfig
from sphere_ebm.files.folders import locked
from sphere_ebm.files.formats import PLACEMENT
from sphere_ebm.heuristics.compare import METHODS
from sphere_ebm.labelling.columns import label_metadata, write_all_labels, write_placed
from sphere_ebm.labelling.folder import claim
from sphere_ebm.labelling.label import label
from sphere_ebm.labelling.sources import Source, offsets, read_sources
from sphere_ebm.labelling.summary import MapPoints, write_summary
from sphere_ebm.librarian.joined import join_shards
from sphere_ebm.maps.config import shells_of
from sphere_ebm.text.ingest import ingest

TEXTS = ("fit", "more", "test")
COLUMNS = ("document", "genre", "split", "text")
MARK = "--"
"""Between genre, split and document in the names of texts, shards and label files."""


@dataclass(frozen=True)
class Made:
    """The folder that a stage has made, and the processor seconds that it took then."""

    folder: Path
    processor_seconds: float


def named(genre: str, split: str, document: str) -> str:
    """The stem of a document's files; `parts_of` takes it apart."""
    return MARK.join((genre, split, document))


def parts_of(stem: str) -> tuple[str, str, str]:
    """Genre, split and document of a stem that `named` made."""
    genre, split, document = stem.split(MARK, 2)
    return genre, split, document


def digest_of(data: Path, text: str) -> str:
    """SHA-256 of the file of a set of texts. Raises FileNotFoundError where it is missing."""
    source = data / f"librarian-{text}.parquet"
    return hashlib.sha256(source.read_bytes()).hexdigest()


def staged(work: Path, name: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Made:
    """The folder `work/name`, made by `make` unless a note says that it was, of the same `key`."""
    folder = work / name
    note = work / f"{name}.json"
    wanted = json.loads(json.dumps(key))
    if note.is_file():
        held = json.loads(note.read_text(encoding="utf-8"))
        if held["key"] == wanted:
            return Made(folder, held["processor_seconds"])
    began = time.process_time()
    make(folder)
    taken = time.process_time() - began
    text = json.dumps({"key": wanted, "processor_seconds": round(taken, 1)}, indent=1)
    note.write_text(text + "\n", encoding="utf-8")
    say(f"{name}: {taken:.0f} processor seconds")
    return Made(folder, taken)


def make_shards(data: Path, work: Path, text: str) -> Made:
    """The shards of a set of texts, one for each document, in `work/TEXT-shards`."""

    def make(folder: Path) -> None:
        texts = work / f"{text}-texts"
        texts.mkdir(parents=True, exist_ok=True)
        files = []
        rows = pq.read_table(data / f"librarian-{text}.parquet", columns=list(COLUMNS)).to_pylist()
        for row in rows:
            stem = named(row["genre"], row["split"], row["document"])
            files.append(texts / f"{stem}.txt")
            files[-1].write_bytes(row["text"].encode())
        ingest(files, folder, overwrite=True)

    return staged(work, f"{text}-shards", {"texts": digest_of(data, text)}, make)


def make_labels(data: Path, work: Path, config: PlacementConfig, name: str = "fit-labels") -> Made:
    """A map of the shards of `fit`, in `work/NAME`."""
    shards = make_shards(data, work, "fit").folder

    def make(folder: Path) -> None:
        label(shards, folder, config, page=False, overwrite=True)

    key = {"texts": digest_of(data, "fit"), "config": json.loads(config.to_json())}
    return staged(work, name, key, make)


def join_labels(data: Path, work: Path, text: str, config: PlacementConfig) -> Made:
    """Labels of `more` or `test` by joining the map of `fit`, in `work/TEXT-labels`.

    The folder holds label files alone: the map's own folder keeps its bytes.
    """
    shards = make_shards(data, work, text).folder
    labels = make_labels(data, work, config).folder

    def make(folder: Path) -> None:
        join_shards(labels, [shards], folder)

    key = {
        "texts": [digest_of(data, "fit"), digest_of(data, text)],
        "config": json.loads(config.to_json()),
    }
    return staged(work, f"{text}-labels", key, make)


def prepare(data: Path, work: Path, config: PlacementConfig) -> dict[str, Made]:
    """Every folder that the students need: shards of all texts, the map, and what joins it."""
    work.mkdir(parents=True, exist_ok=True)
    made = {"fit-shards": make_shards(data, work, "fit")}
    made["fit-labels"] = make_labels(data, work, config)
    for text in ("test", "more"):
        made[f"{text}-shards"] = make_shards(data, work, text)
        made[f"{text}-labels"] = join_labels(data, work, text, config)
    return made


def other_labels(data: Path, work: Path, method: str, config: PlacementConfig) -> tuple[Made, Made]:
    """Labels of `fit` and of `test` by a heuristic, in `work/METHOD-labels` and `METHOD-test`.

    All points are placed together, so that those of `test` are where the method itself puts them.
    `method` is a name of `sphere_ebm.heuristics.compare.METHODS`.
    """
    shards = {text: make_shards(data, work, text).folder for text in ("fit", "test")}
    sources = {text: read_sources([shards[text]], "mean", None, _every)[0] for text in shards}
    key = {
        "texts": [digest_of(data, "fit"), digest_of(data, "test")],
        "method": method,
        "config": json.loads(config.to_json()),
    }
    placed: list[Placement] = []

    def placement() -> Placement:
        if not placed:
            tables = [source.table for text in shards for source in sources[text]]
            rows = np.concatenate([table.embeddings for table in tables])
            order = np.concatenate([table.prominence for table in tables]).astype(np.float64)
            shells = float(shells_of(config).radius[0])
            placed.append(
                METHODS[method](rows, order, dataclasses.replace(config, inner_radius=shells))
            )
        return placed[0]

    points = {text: sum(len(source.table) for source in sources[text]) for text in shards}
    map_id = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]

    def make_map(folder: Path) -> None:
        fitted = part_of(placement(), slice(0, points["fit"]))
        write_map(folder, sources["fit"], fitted, map_id)

    def make_test(folder: Path) -> None:
        unseen = part_of(placement(), slice(points["fit"], None))
        folder.mkdir(parents=True, exist_ok=True)
        told = {"map_id": map_id, "config": unseen.config.to_json(), "joined": "true"}
        for source, begin in zip(sources["test"], offsets(sources["test"]), strict=False):
            rows = slice(begin, begin + len(source.table))
            path = folder / source.name
            write_placed(path, source.table, unseen, rows, told, source.digest)

    return (
        staged(work, f"{method}-labels", key, make_map),
        staged(work, f"{method}-test", key, make_test),
    )


def _every(width: int) -> int:
    """All points are held."""
    return 2**31


def part_of(placement: Placement, rows: slice) -> Placement:
    """Some points of a placement, as one of their own."""
    found = placement.columns(rows)
    held = placement.embeddings
    return dataclasses.replace(
        placement,
        **found,
        prominence=placement.prominence[rows],
        embeddings=None if held is None else held[rows],
    )


def write_map(folder: Path, sources: Sequence[Source], placement: Placement, map_id: str) -> None:
    """The folder of a map whose points are those of `sources`, as `label` would write it."""
    with locked(folder):
        claimed = claim(folder, map_id, [source.name for source in sources], overwrite=True)
        journal = claimed.journal
        journal.record(PLACEMENT, placement.save(journal.folder / PLACEMENT, embeddings=False))
        journal = claimed.take_over()
        quality = placement.quality()
        told = [label_metadata(map_id, placement, quality)] * len(sources)
        write_all_labels(journal, sources, placement, told, set(), None)
        write_summary(
            journal, sources, placement, MapPoints.of(placement), quality, set(), None, page=False
        )
        journal.close()
