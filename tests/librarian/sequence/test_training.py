import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sequences import documents_of, turning
from sphere_ebm import ShardError
from sphere_ebm.librarian.sequence.config import SequenceConfig
from sphere_ebm.librarian.sequence.model import build_model
from sphere_ebm.librarian.sequence.training import (
    BEST,
    CHECKPOINT,
    FINAL,
    HISTORY,
    load_model,
    make_examples,
    save_model,
    train_model,
)
from sphere_ebm.librarian.sequence.windows import Frame

CONFIG = SequenceConfig(models=("amn",), contexts=(4,), epochs=3, batch=40, learning_rate=0.05)
FRAME = Frame(np.zeros(4, np.float32), 0.0, 1.0)
WEIGHTS = np.array([0.2, 0.1, 0.1], np.float32)


class Killed(BaseException):
    """The process died."""


@pytest.fixture(scope="module")
def examples():
    return tuple(make_examples(turning(12, 12, seed=seed), FRAME, 4) for seed in (0, 1))


def blank(name: str = "amn"):
    return build_model(name, "small", 4, 4, WEIGHTS, jax.random.key(0))


def trained(examples, folder, progress=None, config=CONFIG):
    folder.mkdir(exist_ok=True)
    return train_model(blank(), *examples, config, folder, "this one", progress)


def files(folder) -> dict[str, str]:
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in (BEST, FINAL, HISTORY, CHECKPOINT)
    }


@pytest.fixture(scope="module")
def whole(examples, tmp_path_factory):
    """A training that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "amn"
    return folder, trained(examples, folder)


def test_it_learns_what_no_weighted_mean_can(whole):
    history = whole[1].history
    assert [entry["epoch"] for entry in history] == [0, 1, 2, 3]
    assert history[-1]["validation_cosine"] > history[0]["validation_cosine"] + 0.3
    assert history[-1]["validation_loss"] < history[0]["validation_loss"] / 2


def test_the_history_is_written_line_by_line(whole):
    folder, run = whole
    lines = (folder / HISTORY).read_text().splitlines()
    assert [json.loads(line) for line in lines] == run.history


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_training_that_was_killed_ends_with_the_same_bytes(examples, whole, tmp_path, at):
    def die(stage: str, done: int, total: int) -> None:
        if done == at:
            raise Killed

    folder = tmp_path / "amn"
    with pytest.raises(Killed):
        trained(examples, folder, die)
    assert not (folder / BEST).exists()
    seen = []
    trained(examples, folder, lambda stage, done, total: seen.append(done))
    assert seen[0] == at
    assert files(folder) == files(whole[0])


def test_a_damaged_or_foreign_checkpoint_is_begun_anew(examples, whole, tmp_path):
    folder = tmp_path / "amn"
    folder.mkdir()
    (folder / CHECKPOINT).write_bytes((whole[0] / CHECKPOINT).read_bytes()[:-9])
    trained(examples, folder)
    assert files(folder) == files(whole[0])


def test_the_best_epoch_is_kept_and_patience_ends_the_run(examples, tmp_path):
    # validation documents turn the other way: the more is learned, the worse
    train, validation = examples
    reversed_inputs = validation.inputs[::-1].copy()
    config = SequenceConfig(
        models=("amn",), contexts=(4,), epochs=9, batch=40, learning_rate=0.05, patience=2
    )
    against = validation._replace(inputs=reversed_inputs)
    run = train_model(blank(), train, against, config, tmp_path, "x")
    cosines = [entry["validation_cosine"] for entry in run.history]
    assert len(cosines) == np.argmax(cosines) + 3 < 9
    best = load_model(tmp_path / BEST, blank())
    assert not np.array_equal(load_model(tmp_path / FINAL, blank()).weights, best.weights)


def test_a_loss_that_is_no_longer_finite_is_an_error_with_its_cure(examples, tmp_path):
    config = SequenceConfig(models=("amn",), contexts=(4,), batch=40, learning_rate=1e3, clip=1e12)
    train, validation = examples
    poisoned = train._replace(inputs=train.inputs * np.float32(1e30))
    with pytest.raises(FloatingPointError, match="epoch 1 is not finite; take a smaller"):
        train_model(blank(), poisoned, validation, config, tmp_path, "x", None, "amn-4")


def test_a_model_comes_back_from_its_file_and_another_does_not(tmp_path):
    model = blank("gru")
    save_model(tmp_path / "a.safetensors", model)
    window = jnp.ones((4, 5), jnp.float32)
    assert np.array_equal(load_model(tmp_path / "a.safetensors", model)(window), model(window))
    with pytest.raises(ShardError, match=r"a\.safetensors: holds a model of another shape"):
        load_model(tmp_path / "a.safetensors", blank("lstm"))
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    with pytest.raises(ShardError, match=r"b\.safetensors"):
        load_model(tmp_path / "b.safetensors", model)


def test_behind_a_document_nothing_counts():
    examples = make_examples(documents_of(3, 2), FRAME, 4)
    seen, targets, counted = examples.batch(np.array([0, 1, -1]))
    assert seen.shape == (3, 4, 5)
    assert targets.shape == (3, 4, 4)
    assert counted.sum(axis=1).tolist() == [2, 1, 0]
