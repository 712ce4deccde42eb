"""`LibrarianConfig`: every choice that a student of the labels depends on, besides its data."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Literal, final

from sphere_ebm.rules import Range, checked_fields

StudentName = Literal["static", "direct", "cone", "conv"]
STUDENTS: tuple[str, ...] = ("static", "direct", "cone", "conv")
Size = Literal["small", "full"]
SIZES: tuple[str, ...] = ("small", "full")
CONTEXTS = (0, 2, 19)
"""Patches on either side that a student may see a part of: none, the near ones, the far ones."""


@final
@dataclass(frozen=True, kw_only=True)
class LibrarianConfig:
    """Configuration of `train`.

    Integers and real numbers of any type are accepted, NumPy's too, and kept as `int` and `float`.

    Student:
        student: What learns the labels, `"static"`, `"direct"`, `"cone"` or `"conv"`.
        size: `"small"` for two cores, `"full"` for a device; of students that come in both.
        context: A student sees the patch alone with 0, `near` bytes on either side with 2, and
            `far` bytes too with 19: about so many patches.
        near, far: Bytes on either side of a patch, near at most far; a word that a window cuts is
            read to its end.
        seed: Random numbers come from this non-negative integer. The same labels, seed and machine
            give the same bits.

    Bag:
        rows: A bag of n-grams keeps a vector for so many of them, the most frequent ones. A student
            that reads bytes has so many rows, into which n-grams fall by their hash.
        drop: This share of the n-grams is left out of each batch, drawn anew, in [0, 1).
        hidden: Units of the hidden layer between a vector and the heads.

    Losses:
        level: Directions are learned as one of 4^level equal-area cells.
        cells_weight, shell_weight, embedding_weight, prominence_weight, cone_weight: Weights >= 0
            of the losses: cells, shell, embedding, rank of the prominence, diversity of cones.
        weigh_by_spread: Whether labels that are unsure count less.

    Training:
        epochs: The training documents are read so often, at most.
        batch: Patches in a batch.
        accumulate: Gradients of so many batches make one step.
        learning_rate: At its peak, of the nets.
        bag_rate: Of the bag, by row-wise Adagrad.
        weight_decay: Of AdamW, for the nets.
        warmup: The learning rate rises during this share of the steps.
        end: The learning rate falls to this share of its peak, along a cosine.
        clip: Gradients are scaled down to this norm.
        validation: This share of the documents is held out to stop and to calibrate on.
        patience: Training ends after so many evaluations without a gain.
        evaluate_every: Steps between two evaluations; 0: one epoch.
        save_every: Steps between two checkpoints; 0: one epoch.
        memory: Bytes of embeddings that are held; where there are more, they are read again.
    """

    student: StudentName = "static"
    size: Size = "small"
    context: int = 19
    near: int = 60
    far: int = 600
    seed: int = 0
    rows: int = 76_000
    drop: float = 0.5
    hidden: int = 768
    level: int = 5
    cells_weight: float = 1.0
    shell_weight: float = 0.5
    embedding_weight: float = 1.0
    prominence_weight: float = 1.0
    cone_weight: float = 0.1
    weigh_by_spread: bool = True
    epochs: int = 12
    batch: int = 1024
    accumulate: int = 1
    learning_rate: float = 2e-3
    bag_rate: float = 0.1
    weight_decay: float = 0.01
    warmup: float = 0.01
    end: float = 0.1
    clip: float = 1.0
    validation: float = 0.1
    patience: int = 5
    evaluate_every: int = 0
    save_every: int = 0
    memory: int = 2 * 2**30

    def __post_init__(self) -> None:
        """Check every field, and keep numbers as Python's own.

        Raises:
            ValueError: naming the field, its rule and what was received.
        """
        for name, value in checked_fields(self, choices=_CHOICES, ranges=_RANGES).items():
            object.__setattr__(self, name, value)
        if self.context not in CONTEXTS:
            known = ", ".join(map(str, CONTEXTS))
            raise ValueError(f"`context` must be one of {known} patches; got {self.context}.")
        if self.near > self.far:
            raise ValueError(f"`near` must be at most `far`={self.far} bytes; got {self.near}.")
        if not isinstance(self.weigh_by_spread, bool):
            raise ValueError(f"`weigh_by_spread` must be a bool; got {self.weigh_by_spread!r}.")

    @property
    def reach(self) -> int:
        """Bytes on either side of a patch that the student may see at all."""
        return {0: 0, 2: self.near, 19: self.far}[self.context]

    def to_json(self) -> str:
        """One JSON object with all fields; `from_json` reads it."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "LibrarianConfig":
        """Read what `to_json` wrote.

        Raises:
            ValueError: no JSON object, unknown fields, or values that break a rule.
        """
        held = json.loads(text)
        if not isinstance(held, dict):
            raise ValueError("the configuration is not a JSON object")
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(held) - known):
            raise ValueError(f"unknown fields {', '.join(unknown)}")
        return cls(**held)


def _count(least: int) -> Range:
    return Range(least, 2**62, f"an integer >= {least}", whole=True)


_TINY = math.ulp(0.0)
_LARGEST = 1e300
_POSITIVE = Range(_TINY, _LARGEST, "a number > 0")
_WEIGHT = Range(0, _LARGEST, "a number >= 0")
_SHARE = Range(0, 1, "a number in [0, 1]")
_CHOICES: dict[str, Any] = {"student": STUDENTS, "size": SIZES}
_RANGES = {
    "context": _count(0),
    "near": _count(0),
    "far": _count(0),
    "seed": _count(0),
    "rows": _count(1),
    "drop": Range(0, 1 - 1e-6, "a number in [0, 1)"),
    "hidden": _count(1),
    "level": Range(1, 7, "an integer in [1, 7]", whole=True),
    "cells_weight": _WEIGHT,
    "shell_weight": _WEIGHT,
    "embedding_weight": _WEIGHT,
    "prominence_weight": _WEIGHT,
    "cone_weight": _WEIGHT,
    "epochs": _count(1),
    "batch": _count(1),
    "accumulate": _count(1),
    "learning_rate": _POSITIVE,
    "bag_rate": _POSITIVE,
    "weight_decay": _WEIGHT,
    "warmup": _SHARE,
    "end": _SHARE,
    "clip": _POSITIVE,
    "validation": Range(_TINY, 1 - 1e-9, "a number in (0, 1)"),
    "patience": _count(1),
    "evaluate_every": _count(0),
    "save_every": _count(0),
    "memory": _count(0),
}
