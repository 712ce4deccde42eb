"""What ships in data/ is what its README says, and its labels agree across documents."""

import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import KDTree

from sphere_ebm import PlacementConfig, label, read_labels, read_shard
from sphere_ebm.files.shards.table import PatchTable
from sphere_ebm.text.ingest import ingest

DATA = Path(__file__).parents[1] / "data"
SHORT = PlacementConfig(steps=100, average=20, replicas=0)
SHARDS = sorted(DATA.glob("*.safetensors"))


@pytest.fixture(scope="module")
def tables() -> dict[str, PatchTable]:
    return {path.stem: read_shard(path) for path in SHARDS}


def patches(raw: np.ndarray, offset: np.ndarray) -> list[bytes]:
    return [raw[a:b].tobytes() for a, b in itertools.pairwise(offset)]


def test_the_shards_are_small_many_and_in_layout_f(tables: dict[str, PatchTable]) -> None:
    assert len(tables) == 9
    assert sum(len(table) for table in tables.values()) == 4855
    assert {table.layout for table in tables.values()} == {"F"}
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 5_000_000


def test_the_patches_are_whole_words_of_whole_text(tables: dict[str, PatchTable]) -> None:
    for table in tables.values():
        assert table.bytes is not None
        assert table.bytes_offset is not None
        cut = patches(table.bytes, table.bytes_offset)
        b"".join(cut).decode("utf-8")
        assert all(patch[-1:].isspace() for patch in cut[:-1]), "cut after white space only"
        lengths = np.array([len(patch) for patch in cut])
        assert np.mean((lengths >= 28) & (lengths <= 62)) > 0.9


def test_prominence_is_the_stored_norm_and_not_that_of_the_embedding(
    tables: dict[str, PatchTable],
) -> None:
    for table in tables.values():
        norm = np.linalg.norm(table.embeddings, axis=1)
        assert (table.prominence > norm).mean() > 0.99


def test_the_same_patch_in_two_documents_gets_nearly_the_same_direction(tmp_path: Path) -> None:
    run = label(DATA, tmp_path / "labels", PlacementConfig(replicas=0))
    places: dict[bytes, list[tuple[str, np.ndarray]]] = defaultdict(list)
    for path in run.files.values():
        labels = read_labels(path)
        assert labels.bytes is not None
        assert labels.bytes_offset is not None
        for patch, direction in zip(
            patches(labels.bytes, labels.bytes_offset), labels.direction, strict=True
        ):
            places[patch].append((path.name, direction))
    across = [found for found in places.values() if len({name for name, _ in found}) > 1]
    angles = [np.degrees(np.arccos(np.clip(found[0][1] @ found[-1][1], -1, 1))) for found in across]
    assert len(angles) == 13
    assert max(angles) < 3


def test_neighbours_on_the_map_of_the_texts_mostly_share_a_document(tmp_path: Path) -> None:
    shards = ingest(DATA / "texts", tmp_path / "shards", mean_length=64.0).files
    run = label(list(shards.values()), tmp_path / "map", SHORT)
    files = [read_labels(path) for path in run.files.values()]
    assert len(files) == 9
    document = np.repeat(np.arange(9), [len(labels) for labels in files])
    directions = np.concatenate([labels.direction for labels in files])
    nearest = KDTree(directions).query(directions, 16)[1][:, 1:]
    chance = np.square(np.bincount(document) / len(document)).sum()
    assert (document[nearest] == document[:, None]).mean() > 3 * chance
    shuffled = np.random.default_rng(0).permutation(document)
    assert (shuffled[nearest] == shuffled[:, None]).mean() < 1.5 * chance


def test_labels_of_the_texts_lead_back_to_them(tmp_path: Path) -> None:
    shards = ingest(DATA / "texts" / "psalms.txt", tmp_path / "shards").files
    run = label(list(shards.values()), tmp_path / "map", SHORT)
    (labels,) = [read_labels(path) for path in run.files.values()]
    text = (DATA / "texts" / "psalms.txt").read_bytes()
    assert labels.bytes is not None
    assert labels.bytes_offset is not None
    for i, (begin, end) in enumerate(itertools.pairwise(labels.bytes_offset)):
        start = labels.patch_start[i]
        length = labels.patch_length[i]
        assert text[start : start + length] == labels.bytes[begin:end].tobytes()
