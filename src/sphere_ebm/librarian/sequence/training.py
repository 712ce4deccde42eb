"""Training of one model: optax, early stopping, and a checkpoint after every epoch.

An epoch depends on the checkpoint before it and on nothing else, so that a run that was killed ends
with the bytes of one that was not.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int64

from sphere_ebm.errors import ShardError, require
from sphere_ebm.files.atomic import atomic_write
from sphere_ebm.files.tensors import read_tensors, write_tensors
from sphere_ebm.librarian.sequence.config import SequenceConfig
from sphere_ebm.librarian.sequence.documents import Sequences
from sphere_ebm.librarian.sequence.losses import squared_errors
from sphere_ebm.librarian.sequence.model import NextVector
from sphere_ebm.librarian.sequence.windows import Frame, Windows, make_windows
from sphere_ebm.progress import StageProgress

BEST = "best.safetensors"
FINAL = "final.safetensors"
HISTORY = "history.jsonl"
CHECKPOINT = ".checkpoint.safetensors"
MODEL_FORMAT = "sphere_next_vector_v1"
_STATE_FORMAT = "sphere_next_vector_state_v1"
_END = 0.1  # of the greatest step size is left at the end


Entry = dict[str, int | float]
"""What an epoch came to, by name."""


@final
class Trained(NamedTuple):
    """A trained model as it validated best, and what every epoch came to.

    `history` has, from epoch 0, which is before training: `loss` (of training), `validation_loss`
    (mean squared error), `validation_cosine` (centred).
    """

    best: NextVector
    history: list[Entry]


@final
class Examples(NamedTuple):
    """Documents as a model sees them, and the windows to train on."""

    inputs: Float32[np.ndarray, "rows features"]
    windows: Windows

    def batch(self, chosen: Int64[np.ndarray, " batch"]) -> tuple[Any, Any, Any]:
        """Windows, the vectors after each of their steps, and which of these count.

        A window number of -1 stands for none: nothing of it counts.
        """
        counted = self.windows.counted[chosen] & (chosen >= 0)[:, None]
        steps = np.arange(counted.shape[1])
        rows = self.windows.begin[chosen][:, None] + steps
        last = len(self.inputs) - 1
        # what lies behind a document belongs to steps after all that count
        seen = self.inputs[np.minimum(rows, last)]
        return seen, self.inputs[np.minimum(rows + 1, last), :-1], counted


def make_examples(sequences: Sequences, frame: Frame, context: int) -> Examples:
    """The windows of some documents."""
    return Examples(frame.inputs(sequences.vectors), make_windows(sequences, context))


@final
class _State(NamedTuple):
    """All that training carries from epoch to epoch."""

    model: Any
    best: Any
    optimiser: Any
    epoch: Any
    best_epoch: Any


def train_model(
    model: NextVector,
    train: Examples,
    validation: Examples,
    config: SequenceConfig,
    folder: Path,
    fingerprint: str,
    progress: StageProgress | None = None,
    stage: str = "training",
) -> Trained:
    """Train a model and write it into `folder`: `BEST`, `FINAL`, `HISTORY`.

    While it trains, `CHECKPOINT` is there, too; where it belongs to the same training, that
    continues.

    Args:
        model: before training.
        train: windows to learn from.
        validation: windows of other documents.
        config: how to train.
        folder: exists.
        fingerprint: names this training, by all that it depends on.
        progress: hears of every epoch.
        stage: what that is called.

    Raises:
        MissingPackageError: optax is not installed (extra `librarian`).
        FloatingPointError: the loss is no longer finite.
        OSError: a file cannot be written.
    """
    loop = _Loop(model, train, config)
    path = folder / CHECKPOINT
    state, history = _restored(path, fingerprint, loop.begin()) or (loop.begin(), [])
    if not history:
        history.append({"epoch": 0, **loop.validated(state.model, validation)})
    while not _ended(state, config):
        if progress is not None:
            progress(stage, int(state.epoch), config.epochs)
        state, loss = loop.epoch(state)
        history.append(
            {"epoch": int(state.epoch), "loss": loss, **loop.validated(state.model, validation)}
        )
        _check_finite(history[-1], stage)
        if history[-1]["validation_cosine"] > max(e["validation_cosine"] for e in history[:-1]):
            state = state._replace(best=state.model, best_epoch=state.epoch)
        _save_state(path, fingerprint, state, history)
    if progress is not None:
        progress(stage, config.epochs, config.epochs)
    best = eqx.combine(state.best, loop.structure)
    save_model(folder / BEST, best)
    save_model(folder / FINAL, eqx.combine(state.model, loop.structure))
    lines = "".join(json.dumps(entry, sort_keys=True) + "\n" for entry in history)
    atomic_write(folder / HISTORY, lambda file: file.write(lines.encode()))
    return Trained(best, history)


def _ended(state: _State, config: SequenceConfig) -> bool:
    since = int(state.epoch) - int(state.best_epoch)
    return int(state.epoch) >= config.epochs or since >= config.patience


def _check_finite(entry: Entry, stage: str) -> None:
    if not all(math.isfinite(value) for value in entry.values()):
        raise FloatingPointError(
            f"{stage}: the loss of epoch {entry['epoch']} is not finite; take a smaller"
            " learning_rate"
        )


@final
class _Loop:
    """Compiled steps of one training, and the order of its windows."""

    def __init__(self, model: NextVector, train: Examples, config: SequenceConfig):
        self._optax = require("optax", "librarian", "training")
        self._train = train
        self._config = config
        parameters, self.structure = eqx.partition(model, eqx.is_inexact_array)
        self._first = parameters
        context = train.windows.counted.shape[1]
        self._size = max(1, min(config.batch // context, len(train.windows.begin)))
        self._steps = -(-len(train.windows.begin) // self._size)
        self._optimiser = self._make_optimiser()
        self._step = eqx.filter_jit(self._one_step)
        self._score = eqx.filter_jit(self._scored)

    def begin(self) -> _State:
        """Before the first epoch."""
        zero = jnp.zeros((), jnp.int32)
        return _State(self._first, self._first, self._optimiser.init(self._first), zero, zero)

    def _make_optimiser(self) -> Any:
        config = self._config
        total = self._steps * config.epochs
        warmup = min(total - 1, round(config.warmup * total))
        peak = config.learning_rate
        schedule = self._optax.warmup_cosine_decay_schedule(
            peak * _END, peak, max(warmup, 1), max(total, 2), peak * _END
        )
        return self._optax.chain(
            self._optax.clip_by_global_norm(config.clip),
            self._optax.adamw(
                schedule,
                weight_decay=config.weight_decay,
                mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree),
            ),
        )

    def epoch(self, state: _State) -> tuple[_State, float]:
        """One pass over all windows in a new order; returns the mean loss, too."""
        number = int(state.epoch)
        rng = np.random.default_rng([self._config.seed, number])
        order = np.full(self._steps * self._size, -1)
        order[: len(self._train.windows.begin)] = rng.permutation(len(self._train.windows.begin))
        # windows that are missing in the last batch are spread over all of them
        batches = order.reshape(self._size, self._steps).T
        key = jax.random.fold_in(jax.random.key(self._config.seed), number)
        parameters = state.model
        optimiser = state.optimiser
        losses = []
        for step, chosen in enumerate(batches):
            parameters, optimiser, loss = self._step(
                parameters, optimiser, self._train.batch(chosen), jax.random.fold_in(key, step)
            )
            losses.append(loss)
        new = state._replace(model=parameters, optimiser=optimiser, epoch=state.epoch + 1)
        return new, float(np.mean(jax.device_get(losses)))

    def _one_step(
        self, parameters: Any, optimiser: Any, batch: tuple[Any, Any, Any], key: Array
    ) -> tuple[Any, Any, Array]:
        def loss(parameters: Any) -> Array:
            model = eqx.combine(parameters, self.structure)
            error, _, count = squared_errors(model, *batch, key)
            return error / jnp.maximum(count, 1)

        value, gradients = jax.value_and_grad(loss)(parameters)
        # optax multiplies its count of steps, an integer, with real numbers
        with jax.numpy_dtype_promotion("standard"):
            updates, optimiser = self._optimiser.update(gradients, optimiser, parameters)
        return self._optax.apply_updates(parameters, updates), optimiser, value

    def validated(self, parameters: Any, validation: Examples) -> Entry:
        """Mean squared error and centred cosine over all targets of the validation windows."""
        sums = np.zeros(3)
        windows = len(validation.windows.begin)
        for start in range(0, windows, self._size):
            chosen = np.full(self._size, -1)
            numbers = np.arange(start, min(start + self._size, windows))
            chosen[: len(numbers)] = numbers
            sums += np.asarray(self._score(parameters, validation.batch(chosen)), np.float64)
        error, cosine, count = sums
        return {
            "validation_loss": float(error / max(count, 1)),
            "validation_cosine": float(cosine / max(count, 1)),
        }

    def _scored(self, parameters: Any, batch: tuple[Any, Any, Any]) -> Float[Array, " three"]:
        return jnp.stack(squared_errors(eqx.combine(parameters, self.structure), *batch))


def save_model(path: Path, model: NextVector) -> None:
    """Write the arrays of a model, atomically and alike every time."""
    leaves = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    write_tensors(path, _numbered("leaf", leaves), {"format": MODEL_FORMAT})


def load_model(path: Path, like: NextVector) -> NextVector:
    """The model that `save_model` wrote; `like` is an untrained one of the same shape.

    Raises:
        ShardError: the file is damaged, or holds another model.
    """
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != MODEL_FORMAT:
        raise ShardError(path, "is no model of next vectors", cure="train it again")
    parameters, structure = eqx.partition(like, eqx.is_inexact_array)
    try:
        return eqx.combine(_filled("leaf", tensors, parameters), structure)
    except (KeyError, ValueError) as error:
        cure = "give the options that it was trained with, or train it again"
        raise ShardError(path, "holds a model of another shape", cure=cure) from error


def _save_state(path: Path, fingerprint: str, state: _State, history: list[Any]) -> None:
    metadata = {
        "format": _STATE_FORMAT,
        "fingerprint": fingerprint,
        "history": json.dumps(history),
    }
    write_tensors(path, _numbered("state", jax.tree.leaves(state)), metadata)


def _restored(path: Path, fingerprint: str, like: _State) -> tuple[_State, list[Entry]] | None:
    """Where this very training was, or None; it then begins anew, with the same result."""
    if not path.exists():
        return None
    try:
        tensors, metadata = read_tensors(path)
        if metadata.get("format") != _STATE_FORMAT or metadata.get("fingerprint") != fingerprint:
            return None
        return _filled("state", tensors, like), json.loads(metadata["history"])
    except (ShardError, KeyError, ValueError):
        return None


def _numbered(name: str, leaves: list[Any]) -> dict[str, np.ndarray]:
    # the container of tensors has no scalars
    return {f"{name}.{i}": np.atleast_1d(np.asarray(leaf)) for i, leaf in enumerate(leaves)}


def _filled(name: str, tensors: dict[str, np.ndarray], like: Any) -> Any:
    leaves, structure = jax.tree.flatten(like)
    if len(tensors) != len(leaves):
        raise ValueError(f"`{name}` must have {len(leaves)} tensors; got {len(tensors)}.")
    found = [
        jnp.asarray(tensors[f"{name}.{i}"].reshape(leaf.shape), leaf.dtype)
        for i, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, found)
