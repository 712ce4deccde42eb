"""What the models and baselines of a comparison reached, row by row, and the verdict on them."""

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Float, Int64

from sphere_ebm.librarian.sequence.measure import Interval, bootstrap

STANDARD = "weighted_means"
"""The baseline that a trained model is held against."""


@final
class Measured(NamedTuple):
    """Cosine and rank of every target, for one model and context.

    `parameters`: how many numbers were fitted. `trained`: whether by gradients.
    """

    model: str
    context: int
    parameters: int
    trained: bool
    cosine: Float[np.ndarray, " targets"]
    rank: Float[np.ndarray, " targets"]

    @property
    def name(self) -> str:
        """Model and context in one word, as its folder is called."""
        return f"{self.model}-{self.context}"


@final
class Row(NamedTuple):
    """One line of the table.

    `cosine`, `mrr` with intervals over documents; `over`: for each context that was compared, by
    how much cosine and mean reciprocal rank exceed those of the weighted means, paired.
    """

    measured: Measured
    cosine: Interval
    mrr: Interval
    median_rank: float
    over: dict[int, dict[str, Interval]]

    @property
    def beats(self) -> bool:
        """Whether it is a trained model, and better than the weighted means of its own context.

        Better means that the paired intervals of both measures lie above 0.
        """
        return self.measured.trained and _above(self.over[self.measured.context])

    @property
    def beats_all(self) -> bool:
        """The same for the weighted means of all contexts that were compared."""
        return self.measured.trained and all(_above(found) for found in self.over.values())

    def to_dict(self) -> dict[str, Any]:
        """The row for JSON."""
        return {
            "model": self.measured.model,
            "context": self.measured.context,
            "parameters": self.measured.parameters,
            "trained": self.measured.trained,
            "cosine": self.cosine.to_dict(),
            "mrr": self.mrr.to_dict(),
            "median_rank": self.median_rank,
            "over_weighted_means": {
                str(context): {name: one.to_dict() for name, one in found.items()}
                for context, found in self.over.items()
            },
            "beats_weighted_means": self.beats,
            "beats_weighted_means_of_all_contexts": self.beats_all,
        }


def make_rows(
    measured: Sequence[Measured],
    document: Int64[np.ndarray, " targets"],
    resamples: int,
    seed: int,
) -> list[Row]:
    """A row for everything that was measured on the same targets.

    Args:
        measured: the weighted means of every context among them.
        document: of each target.
        resamples: draws of the bootstrap over documents.
        seed: of the draws, which are the same for all rows.
    """
    standards = {one.context: one for one in measured if one.model == STANDARD}
    rows = []
    for one in measured:
        over = {
            context: _differences(one, other, document, resamples, seed)
            for context, other in standards.items()
        }
        cosine = bootstrap(one.cosine.astype(np.float64), document, resamples, seed)
        mrr = bootstrap(1 / one.rank, document, resamples, seed)
        rows.append(Row(one, cosine, mrr, float(np.median(one.rank)), over))
    return rows


def long_context(
    measured: Sequence[Measured],
    document: Int64[np.ndarray, " targets"],
    resamples: int,
    seed: int,
) -> dict[str, dict[str, Interval]]:
    """By how much the longest context exceeds the shortest, for each model; empty with one."""
    contexts = sorted({one.context for one in measured})
    if len(contexts) < 2:
        return {}
    by_name = {(one.model, one.context): one for one in measured}
    names = [name for name in dict.fromkeys(one.model for one in measured) if name != "mean"]
    return {
        name: _differences(
            by_name[name, contexts[-1]], by_name[name, contexts[0]], document, resamples, seed
        )
        for name in names
    }


def _differences(
    one: Measured,
    other: Measured,
    document: Int64[np.ndarray, " targets"],
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    cosine = one.cosine.astype(np.float64) - other.cosine
    reciprocal = 1 / one.rank - 1 / other.rank
    return {
        "cosine": bootstrap(cosine, document, resamples, seed),
        "mrr": bootstrap(reciprocal, document, resamples, seed),
    }


def verdict(rows: Sequence[Row], longer: dict[str, dict[str, Interval]]) -> list[str]:
    """The answers in whole sentences: does training pay, and does a long context?"""
    trained = [row for row in rows if row.measured.trained]
    contexts = sorted({row.measured.context for row in rows})
    said = []
    if trained:
        said.append(_winning(trained, [row for row in trained if row.beats], "the same context"))
    if trained and len(contexts) > 1:
        everywhere = [row for row in trained if row.beats_all]
        said.append(_winning(trained, everywhere, "every context"))
    if longer:
        said += [_longer(name, found, contexts) for name, found in _told(rows, longer)]
    return said


def _winning(trained: Sequence[Row], winners: Sequence[Row], where: str) -> str:
    measures = "in centred cosine and in mean reciprocal rank, intervals above 0"
    if not winners:
        return (
            f"None of {len(trained)} trained models beats the weighted means of {where} {measures}."
        )
    names = ", ".join(row.measured.name for row in winners)
    verb = "beats" if len(winners) == 1 else "beat"
    return (
        f"{len(winners)} of {len(trained)} trained models {verb} the weighted means of {where}"
        f" {measures}: {names}."
    )


def _above(found: dict[str, Interval]) -> bool:
    return min(one.low for one in found.values()) > 0


def _told(
    rows: Sequence[Row], longer: dict[str, dict[str, Interval]]
) -> list[tuple[str, dict[str, Interval]]]:
    """The weighted means, and the trained model of greatest cosine."""
    told = [(STANDARD, longer[STANDARD])]
    trained = [row for row in rows if row.measured.trained]
    if trained:
        best = max(trained, key=lambda row: row.cosine.mean).measured.model
        told.append((best, longer[best]))
    return told


def _longer(name: str, found: dict[str, Interval], contexts: Sequence[int]) -> str:
    cosine = found["cosine"]
    mrr = found["mrr"]
    return (
        f"A context of {contexts[-1]} instead of {contexts[0]} vectors changes the cosine of"
        f" {name} by {_signed(cosine)} and its mean reciprocal rank by {_signed(mrr)}:"
        f" {_direction(cosine)} in direction, {_direction(mrr)} in rank."
    )


def _signed(interval: Interval) -> str:
    return f"{interval.mean:+.4f} ({interval.low:+.4f} to {interval.high:+.4f})"


def _direction(interval: Interval) -> str:
    if interval.low > 0:
        return "better"
    return "worse" if interval.high < 0 else "no difference that the documents bear out"
