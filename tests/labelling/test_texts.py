"""Documents of label files, and which patch of them holds a passage."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from builders import Letters, Spaces, hand_made
from sphere_ebm import LabelError, read_labels
from sphere_ebm.files.shards.labels import Labels
from sphere_ebm.labelling.texts import held_by, texts_of
from sphere_ebm.text.ingest import ingest


def labels_of(folder: Path, name: str, text: str) -> Labels:
    """The labels of a file of text, at random places."""
    (folder / name).write_text(text)
    run = ingest(folder / name, folder / "s", mean_length=6.0, entropy=Spaces(), embedder=Letters())
    made = hand_made(folder / "map", *run.files.values())
    (path,) = made.glob("*.sphere.safetensors")
    return read_labels(path)


def test_labels_without_bytes_are_a_label_error_that_names_them(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.eye(9, 8, dtype=np.float32) + 1)
    hand_made(tmp_path / "map", tmp_path / "rows.npy")
    labels = read_labels(tmp_path / "map" / "rows.sphere.safetensors")
    says = r"rows\.sphere\.safetensors holds no bytes: make the map from text"
    with pytest.raises(LabelError, match=says):
        list(texts_of(labels))


@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\u2009", "\x1c"])
def test_any_white_space_in_a_text_is_white_space(tmp_path: Path, space: str) -> None:
    rivers = f"{space}Rivers{space}carry sand and gravel to the sea. " * 4
    texts = list(texts_of(labels_of(tmp_path, "a.txt", rivers)))
    for passage in (f"Rivers{space}carry", "Rivers carry"):
        assert held_by(texts, passage) is not None
    assert held_by(texts, "Riverscarry") is None


def test_the_middle_of_a_passage_tells_its_patch_and_no_passage_goes_over_documents(
    tmp_path: Path,
) -> None:
    rows = ["Rivers carry sand.", "The clock struck seven."]
    lines = "".join(f'{{"text": "{row}"}}\n' for row in rows)
    labels = labels_of(tmp_path, "rows.jsonl", lines)
    texts = list(texts_of(labels))
    assert [text.name for text in texts] == ["rows.jsonl line 1", "rows.jsonl line 2"]
    assert [text.octets.tobytes().decode() for text in texts] == rows
    number = held_by(texts, "clock struck")
    assert number is not None
    first = len(texts[0].offset) - 1
    found = texts[1].neighbour(number - first, 0.0, 100)
    assert (found.before + found.patch + found.after).decode() == rows[1]
    middle = rows[1].index("clock struck") + (len("clock struck") - 1) // 2
    assert found.start <= middle < found.start + len(found.patch)
    assert held_by(texts, "sand.The") is None


def test_an_empty_document_is_no_text(tmp_path: Path, shard: Callable[..., Path]) -> None:
    hand_made(tmp_path / "map", shard(tmp_path / "empty.safetensors", 0, width=8))
    assert not list(texts_of(read_labels(tmp_path / "map" / "empty.sphere.safetensors")))
