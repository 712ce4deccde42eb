"""`SequenceConfig`: every choice that a comparison of next-vector models depends on."""

import dataclasses
import json
from dataclasses import dataclass
from typing import final

from sphere_ebm.rules import Range, checked_choice, checked_fields

MODELS: tuple[str, ...] = (
    "lstm",
    "gru",
    "transformer",
    "amn",
    "hierarchical_gru",
    "memory_gru",
)
"""Names of the models that are trained; `sphere_ebm.librarian.sequence.model` says what each is."""

SIZES: tuple[str, ...] = ("small", "full")

_COUNT = "an integer >= 1"
_RANGES = {
    "seed": Range(0, 2**31 - 1, "an integer from 0 to 2^31 - 1", whole=True),
    "epochs": Range(1, 10**6, _COUNT, whole=True),
    "batch": Range(1, 10**9, _COUNT, whole=True),
    "learning_rate": Range(1e-12, 1e3, "a number from 1e-12 to 1000"),
    "warmup": Range(0.0, 1.0, "a share from 0 to 1"),
    "clip": Range(1e-12, 1e12, "a number > 0"),
    "weight_decay": Range(0.0, 1e3, "a number from 0 to 1000"),
    "dropout": Range(0.0, 0.95, "a share from 0 to .95"),
    "patience": Range(1, 10**6, _COUNT, whole=True),
    "resamples": Range(1, 10**6, _COUNT, whole=True),
}


@final
@dataclass(frozen=True, kw_only=True)
class SequenceConfig:
    """Configuration of `compare_sequences`.

    What is compared:
        models: Names of the models to train, of `MODELS`.
        contexts: A model sees so many vectors in front of the one that it predicts.
        size: `"small"` for two cores, `"full"` for an accelerator.
        seed: Documents are divided, models begin and windows are ordered by this number.
        resamples: Intervals come from so many draws of documents with replacement.

    Training:
        epochs: At most so many passes over the training documents.
        batch: An optimiser's step sees windows of about so many vectors together.
        learning_rate: The greatest step size of AdamW.
        warmup: The share of all steps in which the step size grows; then it falls as a cosine to
            a tenth.
        clip: Gradients are scaled down to at most this norm.
        weight_decay: AdamW's, on matrices alone.
        dropout: This share of a network's last states is left out while it trains.
        patience: Training ends after so many epochs without a better validation.

    Integers and real numbers of any type are accepted, NumPy's too, and kept as `int` and `float`.

    Raises:
        ValueError: naming the field, its rule and what was received.
    """

    models: tuple[str, ...] = MODELS
    contexts: tuple[int, ...] = (5, 100)
    size: str = "small"
    seed: int = 0
    resamples: int = 2000
    epochs: int = 20
    batch: int = 800
    learning_rate: float = 3e-3
    warmup: float = 0.05
    clip: float = 1.0
    weight_decay: float = 0.01
    dropout: float = 0.1
    patience: int = 3

    def __post_init__(self) -> None:
        checked = checked_fields(self, choices={"size": SIZES}, ranges=_RANGES)
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        models = tuple(checked_choice("models", name, MODELS) for name in self.models)
        rule = Range(1, 10**6, "integers >= 1", whole=True)
        contexts = tuple(int(rule.checked("contexts", one) or 0) for one in self.contexts)
        for name, found in (("models", models), ("contexts", contexts)):
            if not found or len(set(found)) < len(found):
                raise ValueError(f"`{name}` must be at least one, each once; got {found}.")
            object.__setattr__(self, name, found)
        object.__setattr__(self, "contexts", tuple(sorted(contexts)))

    def to_json(self) -> str:
        """All fields as one JSON object, keys sorted."""
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True)
