"""The whole comparison, on documents with a rule that only training finds."""

import json
import shutil

import numpy as np
import pytest

from builders import contents
from sequences import turning
from sphere_ebm import LabelError
from sphere_ebm.librarian.sequence.compare import compare_sequences
from sphere_ebm.librarian.sequence.config import SequenceConfig
from sphere_ebm.librarian.sequence.run_folder import MODEL_FILES

CONFIG = SequenceConfig(
    models=("amn", "gru"),
    contexts=(2, 4),
    epochs=3,
    batch=40,
    learning_rate=0.05,
    resamples=200,
)
TOLD = {"README.md", "comparison.csv", "comparison.json", "curves.png"}


class Killed(BaseException):
    """The process died."""


def written(folder, documents: int, seed: int):
    """A file for each document."""
    folder.mkdir(parents=True)
    found = turning(documents, 11, seed=seed)
    for number, rows in enumerate(found.vectors.reshape(documents, 11, -1)):
        np.save(folder / f"{number}.npy", rows)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    return written(folder / "fit", 16, 0), written(folder / "test", 5, 9)


@pytest.fixture(scope="module")
def whole(shards, tmp_path_factory):
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    return folder, compare_sequences(shards[0], folder, CONFIG, test=[shards[1]])


def test_all_rows_are_measured_on_the_same_targets(whole):
    run = whole[1]
    names = ["mean", "last", "ridge", "weighted_means", "amn", "gru"]
    assert [row.measured.name for row in run.rows] == [
        f"{name}-{context}" for context in (2, 4) for name in names
    ]
    # documents of 11 vectors, of which 4 stand before the first target
    assert run.targets == 5 * 7
    assert {len(row.measured.cosine) for row in run.rows} == {35}
    assert run.documents == {"train": 14, "validation": 2, "test": 5}


def test_a_rule_that_can_be_learned_is_and_the_verdict_says_so(whole):
    run = whole[1]
    rows = {row.measured.name: row for row in run.rows}
    assert rows["amn-2"].cosine.mean > rows["weighted_means-2"].cosine.mean + 0.1
    assert rows["ridge-2"].cosine.mean > rows["weighted_means-2"].cosine.mean + 0.1
    assert rows["mean-2"].cosine.mean == 0
    assert rows["amn-2"].beats
    assert "amn-2" in run.said[0]


def test_the_files_tell_the_same(whole):
    folder, run = whole
    held = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    models = ("amn-2", "amn-4", "gru-2", "gru-4")
    assert held == TOLD | {f"{name}/{file}" for name in models for file in MODEL_FILES}
    told = json.loads((folder / "comparison.json").read_text())
    assert told["verdict"] == run.said
    assert [row["cosine"]["mean"] for row in told["rows"]] == [r.cosine.mean for r in run.rows]
    assert set(told["long_context"]) == {"last", "ridge", "weighted_means", "amn", "gru"}
    card = (folder / "README.md").read_text()
    assert all(sentence in card for sentence in run.said)
    assert card.count("\n| 2 | ") == 6


def test_a_run_that_was_killed_keeps_what_is_finished_and_ends_with_the_same_bytes(
    shards, whole, tmp_path
):
    def die(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("gru-2", 1):
            raise Killed

    with pytest.raises(Killed):
        compare_sequences(shards[0], tmp_path / "out", CONFIG, test=[shards[1]], progress=die)
    run = compare_sequences(shards[0], tmp_path / "out", CONFIG, test=[shards[1]])
    assert run.kept == 1
    assert contents(tmp_path / "out") == contents(whole[0])


def test_a_finished_run_is_kept_but_for_a_model_that_was_damaged(shards, whole, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(whole[0], folder)
    (folder / "gru-4" / "best.safetensors").write_bytes(b"damaged")
    assert compare_sequences(shards[0], folder, CONFIG, test=[shards[1]]).kept == 3
    assert contents(folder) == contents(whole[0])


def test_another_comparison_is_replaced_only_when_told_to(shards, whole, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(whole[0], folder)
    (folder / "mine.txt").write_text("kept")
    other = SequenceConfig(models=("amn",), contexts=(2,), epochs=1, batch=40, resamples=20)
    with pytest.raises(LabelError, match="holds another comparison"):
        compare_sequences(shards[0], folder, other, test=[shards[1]])
    compare_sequences(shards[0], folder, other, test=[shards[1]], overwrite=True)
    held = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert held == TOLD | {"mine.txt"} | {f"amn-2/{file}" for file in MODEL_FILES}


def test_a_document_cannot_be_to_train_and_to_test_on(shards, tmp_path):
    shutil.copytree(shards[1], tmp_path / "test")
    shutil.copy(shards[0] / "3.npy", tmp_path / "test" / "copy.npy")
    with pytest.raises(LabelError, match=r"'copy: copy' to test on is '3: 3' to train on"):
        compare_sequences(shards[0], tmp_path / "out", CONFIG, test=[tmp_path / "test"])
    assert not (tmp_path / "out").exists()


def test_documents_shorter_than_the_context_are_refused_with_a_cure(shards, tmp_path):
    config = SequenceConfig(contexts=(2, 11))
    with pytest.raises(LabelError, match=r"no train document has more than 11 vectors, .* has 11"):
        compare_sequences(shards[0], tmp_path / "out", config, test=[shards[1]])


def test_two_kinds_of_embeddings_are_refused(shards, tmp_path):
    (tmp_path / "test").mkdir()
    np.save(tmp_path / "test" / "a.npy", np.ones((9, 7), np.float32))
    with pytest.raises(LabelError, match="width 7, those to train on of 4"):
        compare_sequences(shards[0], tmp_path / "out", CONFIG, test=[tmp_path / "test"])
