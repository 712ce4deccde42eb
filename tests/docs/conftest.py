"""Small inputs by the names that the pages use.

Of few sizes, so that few programs are compiled for all pages together.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from commands import FEW, run_command
from markdown_pages import ROOT

PATCHES = 60
"""Of each shard that a command meets: the first ones."""
TEXT = 3000
"""Bytes of each text that a command meets: the first ones."""

SHARDS = {
    "brief/luke.safetensors": "luke",
    "brief/matthew.safetensors": "matthew",
    "old/luke.safetensors": "luke",
    "old/matthew.safetensors": "matthew",
    "changed/luke.safetensors": "psalms",
    "huge/luke.safetensors": "luke",
    "huge/matthew.safetensors": "matthew",
    "new.safetensors": "genesis",
    "luke.safetensors": "psalms",
}
"""Shards in the working folder of every page, and which document of `data/` each begins."""

TEXTS = {
    "brief/texts/genesis.txt": "genesis",
    "brief/texts/luke.txt": "luke",
    "texts/genesis.txt": "genesis",
    "texts/luke.txt": "luke",
    "more-texts/genesis.txt": "genesis",
    "more-texts/luke.txt": "luke",
    "more-texts/elements.txt": "elements",
    "more-texts/sqlite.txt": "sqlite",
    "other-texts/psalms.txt": "psalms",
    "new-texts/matthew.txt": "matthew",
    "more.txt": "matthew",
    "book.txt": "psalms",
}

OF_PAGES = {
    "command": {"map": "finished"},
    "growth": {"shards": "brief"},
    "retrieval": {"map": "finished"},
    "sequence": {"fit": "brief-of-many", "other": "brief", "texts": "more-texts"},
}
"""What only some pages have by these names, or have otherwise: others make folders of them."""


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the pages' commands are given."""
    folder = tmp_path_factory.mktemp("inputs")
    for path, document in SHARDS.items():
        _shorten_shard(ROOT / "data" / f"{document}.safetensors", folder / path)
    for document in ("austen", "elements", "genesis", "sqlite"):
        _shorten_shard(
            ROOT / "data" / f"{document}.safetensors",
            folder / "brief-of-many" / f"{document}.safetensors",
        )
    for path, document in TEXTS.items():
        text = (ROOT / "data" / "texts" / f"{document}.txt").read_bytes()[:TEXT]
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text.decode("utf-8", "ignore"), encoding="utf-8")
    _write_books(folder / "books.parquet")
    made = run_command("map", folder / "brief" / "texts", "--output", folder / "finished", *FEW)
    assert made.code == 0, made.err
    return folder


@pytest.fixture
def folder_of(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """`folder_of(page)`: a working folder with the inputs of a page, and `data/` as it is."""

    def made(page: str) -> Path:
        named = {source.name: source.name for source in inputs.iterdir()} | OF_PAGES.get(page, {})
        for name, source in named.items():
            (tmp_path / name).symlink_to(inputs / source)
        (tmp_path / "data").symlink_to(ROOT / "data")
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return made


def _shorten_shard(source: Path, target: Path) -> None:
    tensors = load_file(source)
    ends = int(tensors["patch_lengths"][:PATCHES].sum())
    of_bytes = ("bytes", "entropies")
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {
            name: tensor[: ends if name in of_bytes else PATCHES].copy()
            for name, tensor in tensors.items()
        },
        target,
        {"format": "blt_patches_v3"},
    )


def _write_books(target: Path) -> None:
    """A table whose rows have vectors, blurbs, names, years and genres."""
    vectors = load_file(ROOT / "data" / "luke.safetensors")["embeddings"][:PATCHES]
    pd.DataFrame(
        {
            "isbn": [f"{row:03}" for row in range(PATCHES)],
            "blurb": [f"A book about {row}." for row in range(PATCHES)],
            "year": range(1900, 1900 + PATCHES),
            "genre": ["prose", "verse", "play"] * (PATCHES // 3),
            "vector": [row.tolist() for row in vectors],
        }
    ).to_parquet(target)
