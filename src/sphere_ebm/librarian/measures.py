"""How near to the labels a student's answers come: one number for every patch, and their means.

The measures know nothing of models: a student, a rival and a planted answer are judged alike.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

from sphere_ebm.geometry.cells import cell_centres, cell_keys
from sphere_ebm.geometry.frames import angles_between
from sphere_ebm.quality.points import nearest_on_map, rank_correlation
from sphere_ebm.quality.trust import MapNeighbours

LEVEL = 5
"""Of the cells that a student's distribution is over: 4^5 = 1 024 of equal area."""
NEAR = math.radians(11.5)
"""An answer this near to its label counts as right: .01 of the sphere lies within it."""
NEIGHBOURS = 15
FIRST = 10
"""Cells among which that of the label counts as found: the first hundredth of 1 024."""
TENTHS = 10
LENGTHS = (12, 32)
"""Upper ends of the classes of patch lengths, in bytes; the last class has none."""
OWN_SHARE = 0.9
"""Of an answer's probability that is its own; the rest is the prior's, lest a miss cost all."""

_CELL_STD = 0.6 * math.sqrt(4 * math.pi / 4**LEVEL)
"""What the width of a cell adds to the spread of a distribution over cells, in radians."""
_ROWS = 4096


@final
@dataclass(frozen=True, eq=False)
class Judged:
    """Labels that answers are judged by, and the fitted points of the map that they are on.

    `length` is in bytes. `document` numbers the patches' documents; `prior` is the share of the
    fitted points in each of the 4^`LEVEL` cells, see `prior_of`.
    """

    direction: Float32[np.ndarray, "patches 3"]
    shell: Int[np.ndarray, " patches"]
    angle_std: Float[np.ndarray, " patches"]
    document: Int[np.ndarray, " patches"]
    length: Int[np.ndarray, " patches"]
    fitted: Float32[np.ndarray, "fitted 3"]
    prior: Float64[np.ndarray, " cells"]

    def __len__(self) -> int:
        return len(self.direction)


class LabelCell(NamedTuple):
    """What an answer says of the cell that holds the label."""

    log_probability: Float64[np.ndarray, " patches"]
    rank: Float64[np.ndarray, " patches"]
    """0 for the likeliest of all cells; the middle one of those that are as likely."""


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Answers:
    """What a student says of the same patches.

    `spread`: root mean square error that it states, in radians. `confidence`: the probability that
    it states of being within 11.5 degrees. `cell`: what it says of the label's cell, see
    `looked_up`. `cosine`: of its embedding and the true one. What it says nothing of is None.
    """

    direction: Float32[np.ndarray, "patches 3"]
    spread: Float[np.ndarray, " patches"] | None = None
    confidence: Float[np.ndarray, " patches"] | None = None
    shell: Int[np.ndarray, " patches"] | None = None
    cell: LabelCell | None = None
    cosine: Float[np.ndarray, " patches"] | None = None


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Scores:
    """One number for every patch; None where the answers say nothing of it.

    - `angle`: between answer and label, radians.
    - `near`: whether it is below 11.5 degrees.
    - `top`: whether the label's cell is among the first hundredth of the answer's cells.
    - `bits`: by how much the answer's probability of the label's cell is above the prior's, log2.
    - `nbr15`: share of the label's 15 nearest fitted points that are nearest to the answer.
    - `same_document`: share of the 15 nearest other answers that are of the patch's document.
    - `shell_error`: shells between answer and label.
    - `cosine`: of the embedding that the answer gives and the true one.
    """

    angle: Float64[np.ndarray, " patches"]
    near: Bool[np.ndarray, " patches"]
    nbr15: Float64[np.ndarray, " patches"]
    same_document: Float64[np.ndarray, " patches"]
    top: Bool[np.ndarray, " patches"] | None = None
    bits: Float64[np.ndarray, " patches"] | None = None
    shell_error: Int[np.ndarray, " patches"] | None = None
    cosine: Float[np.ndarray, " patches"] | None = None
    shell_rank: float = math.nan
    """Rank correlation of the shells, of all patches together."""


def prior_of(direction: Float[np.ndarray, "fitted 3"]) -> Float64[np.ndarray, " cells"]:
    """The share of points in each cell, each cell with one point more than it has."""
    counts = np.bincount(cell_keys(direction, LEVEL), minlength=4**LEVEL) + 1.0
    return counts / counts.sum()


def cells_around(
    direction: Float[np.ndarray, "patches places 3"],
    weight: Float[np.ndarray, "patches places"],
    spread: Float[np.ndarray, " patches"],
    prior: Float64[np.ndarray, " cells"],
) -> Float32[np.ndarray, "patches cells"]:
    """Log probabilities of the cells for answers that are places with a spread.

    A mixture of von Mises-Fisher laws around the places, each with the variance spread² / 2 and
    (0.6 cell)² in either direction, with `OWN_SHARE` of the probability, and of the prior.

    Args:
        direction: unit vectors.
        weight: of each place, not negative and not all zero in a row.
        spread: root mean square angle around a place, in radians.
        prior: see `prior_of`.
    """
    centres = cell_centres(np.arange(4**LEVEL), LEVEL)
    found = np.empty((len(direction), len(centres)), np.float32)
    share = weight / weight.sum(axis=1, keepdims=True)
    sharpness = 1 / (spread.astype(np.float64) ** 2 / 2 + _CELL_STD**2)
    for start in range(0, len(direction), _ROWS // max(direction.shape[1], 1) + 1):
        rows = slice(start, start + _ROWS // max(direction.shape[1], 1) + 1)
        cosine = direction[rows].astype(np.float64) @ centres.T
        law = np.exp((cosine - 1) * sharpness[rows, None, None])
        law /= np.maximum(law.sum(axis=2, keepdims=True), np.finfo(np.float64).tiny)
        own = np.einsum("pm,pmc->pc", share[rows], law)
        found[rows] = np.log(OWN_SHARE * own + (1 - OWN_SHARE) * prior)
    return found


def score(answers: Answers, judged: Judged) -> Scores:
    """Every measure of every patch. Raises ValueError where there are not as many answers."""
    if len(answers.direction) != len(judged):
        raise ValueError(
            f"`answers` must be about the {len(judged)} patches judged; got"
            f" {len(answers.direction)}."
        )
    angle = angles_between(answers.direction, judged.direction)
    held: dict[str, Any] = {"cosine": answers.cosine}
    if answers.cell is not None:
        prior = np.log(judged.prior[cell_keys(judged.direction, LEVEL)])
        held["top"] = answers.cell.rank < FIRST
        held["bits"] = (answers.cell.log_probability - prior) / math.log(2)
    if answers.shell is not None:
        held["shell_error"] = np.abs(answers.shell.astype(np.int64) - judged.shell)
        held["shell_rank"] = rank_correlation(answers.shell, judged.shell)
    return Scores(
        angle=angle,
        near=angle < NEAR,
        nbr15=shared_neighbours(answers.direction, judged),
        same_document=same_document(answers.direction, judged.document),
        **held,
    )


def looked_up(
    log_cells: Float32[np.ndarray, "patches cells"], direction: Float32[np.ndarray, "patches 3"]
) -> LabelCell:
    """What distributions over all cells say of those that hold the labels.

    Args:
        log_cells: natural logarithms of the probabilities of the 4^`LEVEL` cells, by key.
        direction: of the labels.
    """
    cell = cell_keys(direction, LEVEL)
    own = log_cells[np.arange(len(cell)), cell]
    before = np.sum(log_cells > own[:, None], axis=1)
    alike = np.sum(log_cells == own[:, None], axis=1)
    # of cells that are alike half come first, so that a flat distribution has no luck
    return LabelCell(own.astype(np.float64), before + (alike - 1) / 2)


def shared_neighbours(
    direction: Float[np.ndarray, "patches 3"], judged: Judged
) -> Float64[np.ndarray, " patches"]:
    """Share of the label's 15 nearest fitted points that are the 15 nearest to `direction`."""
    near = MapNeighbours(judged.fitted)
    wanted = near.nearest(judged.direction, NEIGHBOURS)
    found = near.nearest(direction, NEIGHBOURS)
    both = (wanted[:, :, None] == found[:, None, :]) & (wanted >= 0)[:, :, None]
    return both.any(axis=2).sum(axis=1) / np.maximum((wanted >= 0).sum(axis=1), 1)


def same_document(
    direction: Float[np.ndarray, "patches 3"], document: Int[np.ndarray, " patches"]
) -> Float64[np.ndarray, " patches"]:
    """Share of each patch's 15 nearest others, all at `direction`, that are of its document."""
    nearest = nearest_on_map(direction.astype(np.float64), NEIGHBOURS, seed=0)
    if not nearest.shape[1]:
        return np.zeros(len(direction))
    return np.mean(document[nearest] == document[:, None], axis=1)


def chance_of_same_document(document: Int[np.ndarray, " patches"]) -> float:
    """The share that places which know of no document have in the mean; nan for one patch."""
    counts = np.bincount(document).astype(np.float64)
    points = counts.sum()
    return (
        float(np.sum(counts * (counts - 1)) / (points * (points - 1))) if points > 1 else math.nan
    )


@final
@dataclass(frozen=True)
class Tenth:
    """Patches whose stated errors are alike: root mean squares in radians."""

    patches: int
    stated: float
    found: float

    @property
    def ratio(self) -> float:
        """Found over stated."""
        return self.found / self.stated if self.stated > 0 else math.inf


def calibration(
    spread: Float[np.ndarray, " patches"], angle: Float[np.ndarray, " patches"]
) -> list[Tenth]:
    """Stated and found errors in each tenth of the stated ones, surest first."""
    parts = np.array_split(np.argsort(spread, kind="stable"), TENTHS)
    return [
        Tenth(len(part), _root_mean_square(spread[part]), _root_mean_square(angle[part]))
        for part in parts
        if len(part)
    ]


def _root_mean_square(values: Float[np.ndarray, " values"]) -> float:
    return float(np.sqrt(np.mean(values.astype(np.float64) ** 2)))


def length_classes(length: Int[np.ndarray, " patches"]) -> dict[str, Bool[np.ndarray, " patches"]]:
    """Which patches are in each class of lengths, by the name of the class."""
    found = dict[str, Bool[np.ndarray, " patches"]]()
    low = 0
    for high in (*LENGTHS, None):
        name = f"{low + 1} to {high} bytes" if high else f"{low + 1} bytes and more"
        found[name] = (length > low) & (length <= high if high else True)
        low = high or low
    return found


def taken(scores: Scores, rows: Bool[np.ndarray, " patches"]) -> Scores:
    """The scores of some patches; the rank correlation is not theirs."""
    values = {field.name: getattr(scores, field.name) for field in dataclasses.fields(scores)}
    kept = {
        name: value[rows] if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }
    return Scores(**(kept | {"shell_rank": math.nan}))
