"""A small map of six texts, whose labels students learn."""

from pathlib import Path

import numpy as np
import pytest

from builders import Letters, Spaces
from librarian_cases import TINY_STUDENT
from sphere_ebm import PlacementConfig, label
from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.librarian import Librarian
from sphere_ebm.librarian.train import train
from sphere_ebm.text.ingest import ingest

_WORDS = "sea river stone light mountain house garden morning window letter"


def texts_of_words(folder: Path, seeds: range) -> Path:
    folder.mkdir()
    for seed in seeds:
        words = np.random.default_rng(seed).choice(_WORDS.split(), 40)
        (folder / f"d{seed}.txt").write_text(" ".join(words))
    return folder


def ingested(folder: Path, seeds: range, width: int = 8) -> Path:
    texts = texts_of_words(folder / "texts", seeds)
    shards = folder / "shards"
    ingest(texts, shards, entropy=Spaces(), embedder=Letters(width), mean_length=8.0)
    return shards


@pytest.fixture(scope="session")
def shards(tmp_path_factory) -> Path:
    return ingested(tmp_path_factory.mktemp("fit"), range(6))


@pytest.fixture(scope="session")
def more_shards(tmp_path_factory) -> Path:
    return ingested(tmp_path_factory.mktemp("more"), range(6, 8))


@pytest.fixture(scope="session")
def labels(shards, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("labels") / "map"
    label(shards, folder, PlacementConfig(steps=8, average=2, replicas=2), page=False)
    return folder


@pytest.fixture(scope="session")
def other_labels(shards, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("other") / "map"
    label(shards, folder, PlacementConfig(steps=8, average=2, replicas=0, seed=1), page=False)
    return folder


@pytest.fixture(scope="session")
def model(labels, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "student"
    train(labels, folder, LibrarianConfig(**TINY_STUDENT))
    return folder


@pytest.fixture(scope="session")
def librarian(model) -> Librarian:
    return Librarian.load(model)
