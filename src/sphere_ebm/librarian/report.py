"""`Report`: what an evaluation found, as numbers, JSON and tables."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, final

import numpy as np
from jaxtyping import Float

from sphere_ebm.librarian.bootstrap import Interval, Statistic, means, medians
from sphere_ebm.librarian.measures import Scores, Tenth

ALONE = "student"
WITH_MAP = "student with the map"


class Figure(NamedTuple):
    """One column of the table: its title, its statistic, its digits, and which way is better."""

    title: str
    statistic: Statistic
    digits: int
    better: Literal["more", "less"]


FIGURES: dict[str, Figure] = {
    "median_angle": Figure("median angle, °", medians, 2, "less"),
    "mean_angle": Figure("mean angle, °", means, 1, "less"),
    "near": Figure("< 11.5°", means, 3, "more"),
    "top": Figure("top 1 %", means, 3, "more"),
    "bits": Figure("bits", means, 2, "more"),
    "nbr15": Figure("nbr15", means, 3, "more"),
    "same_document": Figure("same document", means, 3, "more"),
    "shell_error": Figure("shell error", means, 2, "less"),
    "cosine": Figure("embedding cosine", means, 3, "more"),
}
"""The columns by name."""


def values_of(scores: Scores, name: str) -> Float[np.ndarray, " patches"] | None:
    """The numbers that a figure is a statistic of; None where the answers say nothing of it."""
    if name in ("median_angle", "mean_angle"):
        return np.degrees(scores.angle)
    found = getattr(scores, name)
    return None if found is None else found.astype(np.float64)


class LengthClass(NamedTuple):
    """Figures of the patches of some lengths."""

    patches: int
    median_angle: float
    near: float


class Hits(NamedTuple):
    """Patches whose stated confidence is alike, and the share that was within 11.5 degrees."""

    patches: int
    stated: float
    found: float


@final
@dataclass(frozen=True, kw_only=True)
class Report:
    """What `evaluate` found.

    Attributes:
        student: name of the student; `context`: patches on either side that it saw.
        map_id: of the map.
        patches, documents: that were judged.
        unseen: whether all of them are new to the student. If not, they are those that training
            was stopped and calibrated on.
        chance_of_same_document: the share that places which know of no document have.
        figures: by row (`student`, `student with the map`, rivals, and `the labels themselves`) and
            by the names of `FIGURES`.
        gains: by row of the student, by rival and by name: the student's figure less the rival's,
            with a paired interval over documents.
        shell_rank: rank correlation of the shells by row.
        calibration, hits: by row of the student, tenths of the stated error and of the confidence.
        error_rank: by row of the student, rank correlation of the stated error with the one found.
        lengths: by row of the student, by class of patch lengths.
        patches_per_second: by row of the student, predicted in one process.
        notes: what a reader should know, one line each.
    """

    student: str
    context: int
    map_id: str
    patches: int
    documents: int
    unseen: bool
    chance_of_same_document: float
    figures: dict[str, dict[str, Interval]]
    gains: dict[str, dict[str, dict[str, Interval]]]
    shell_rank: dict[str, float]
    calibration: dict[str, tuple[Tenth, ...]]
    hits: dict[str, tuple[Hits, ...]]
    error_rank: dict[str, float]
    lengths: dict[str, dict[str, LengthClass]]
    patches_per_second: dict[str, float]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionaries for JSON; nan becomes None."""
        return {field.name: _jsonable(getattr(self, field.name)) for field in _fields(self)}

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> "Report":
        """What `to_dict` gave.

        Raises:
            ValueError: something is missing, or of another kind.
        """
        read: dict[str, Any] = {}
        for field in _fields(cls):
            try:
                read[field.name] = _READ[field.name](held[field.name])
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise ValueError(f"`{field.name}` of the report cannot be read") from error
        return cls(**read)

    @property
    def main_row(self) -> str:
        """How the student is meant to be asked: `static` with the map, where it was at hand."""
        joins = self.student == "static" and WITH_MAP in self.figures
        return WITH_MAP if joins else ALONE


def _fields(report: Any) -> Sequence[dataclasses.Field]:
    return dataclasses.fields(report)


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        return _jsonable(dataclasses.astuple(value))  # type: ignore[arg-type]
    if isinstance(value, (tuple, list)):
        return [_jsonable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _same(value: Any) -> Any:
    return value


def _numbers(held: Mapping[str, Any]) -> dict[str, float]:
    return {name: _number(value) for name, value in held.items()}


def _intervals(held: Mapping[str, Any]) -> dict[str, dict[str, Interval]]:
    return {
        row: {name: Interval(*map(_number, value)) for name, value in cells.items()}
        for row, cells in held.items()
    }


def _tenths(held: Mapping[str, Any]) -> dict[str, tuple[Tenth, ...]]:
    return {
        row: tuple(Tenth(int(n), _number(a), _number(b)) for n, a, b in parts)
        for row, parts in held.items()
    }


def _hits(held: Mapping[str, Any]) -> dict[str, tuple[Hits, ...]]:
    return {
        row: tuple(Hits(int(n), _number(a), _number(b)) for n, a, b in parts)
        for row, parts in held.items()
    }


def _lengths(held: Mapping[str, Any]) -> dict[str, dict[str, LengthClass]]:
    return {
        row: {
            name: LengthClass(int(n), _number(a), _number(b)) for name, (n, a, b) in parts.items()
        }
        for row, parts in held.items()
    }


_READ: dict[str, Any] = {
    "student": str,
    "context": int,
    "map_id": str,
    "patches": int,
    "documents": int,
    "unseen": bool,
    "chance_of_same_document": _number,
    "figures": _intervals,
    "gains": lambda held: {row: _intervals(rivals) for row, rivals in held.items()},
    "shell_rank": _numbers,
    "calibration": _tenths,
    "hits": _hits,
    "error_rank": _numbers,
    "lengths": _lengths,
    "patches_per_second": _numbers,
    "notes": tuple,
}


def figure_table(report: Report) -> str:
    """One row for the student, each rival and the labels themselves, as Markdown."""
    names = [name for name in FIGURES if any(name in row for row in report.figures.values())]
    rows = []
    for who, cells in report.figures.items():
        row = [who]
        for name in names:
            row.append(shown(cells.get(name), FIGURES[name].digits))
        rank = report.shell_rank.get(who, math.nan)
        rows.append([*row, "" if math.isnan(rank) else f"{rank:.3f}"])
    header = ["", *(FIGURES[name].title for name in names), "shell rank"]
    return markdown(header, rows)


def gain_table(report: Report, row: str) -> str:
    """By how much the student differs from each rival, with intervals, as Markdown."""
    names = ("median_angle", "near", "top", "bits", "nbr15")
    rows = [
        [rival, *(_with_ends(cells.get(name), FIGURES[name].digits) for name in names)]
        for rival, cells in report.gains[row].items()
    ]
    return markdown(["less", *(FIGURES[name].title for name in names)], rows)


def calibration_table(report: Report, row: str) -> str:
    """Stated and found errors by tenth, and confidences, as Markdown."""
    rows = [
        ["stated error, °", *(f"{math.degrees(t.stated):.1f}" for t in report.calibration[row])],
        ["found, °", *(f"{math.degrees(t.found):.1f}" for t in report.calibration[row])],
        ["found / stated", *(f"{t.ratio:.2f}" for t in report.calibration[row])],
        ["stated confidence", *(f"{h.stated:.2f}" for h in report.hits[row])],
        ["share < 11.5°", *(f"{h.found:.2f}" for h in report.hits[row])],
    ]
    width = max(map(len, rows))
    padded = [[*cells, *[""] * (width - len(cells))] for cells in rows]
    return markdown(["tenth", *map(str, range(1, width))], padded)


def length_table(report: Report, row: str) -> str:
    """Figures by class of patch lengths, as Markdown."""
    rows = [
        [name, f"{one.patches:,}", f"{one.median_angle:.2f}", f"{one.near:.3f}"]
        for name, one in report.lengths[row].items()
    ]
    return markdown(["patches of", "how many", "median angle, °", "< 11.5°"], rows)


def shown(found: Interval | None, digits: int) -> str:
    """The value of an interval; nothing where there is none."""
    return "" if found is None or math.isnan(found.value) else f"{found.value:.{digits}f}"


def _with_ends(found: Interval | None, digits: int) -> str:
    if found is None or math.isnan(found.value):
        return ""
    low, high = (f"{end:+.{digits}f}" for end in (found.low, found.high))
    return f"{found.value:+.{digits}f} ({low} to {high})"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def as_json(report: Report) -> str:
    """The report as JSON text with sorted keys."""
    return json.dumps(report.to_dict(), indent=1, sort_keys=True, allow_nan=False) + "\n"
