"""The model card: README.md in a student's folder, which says plainly what it can and cannot do."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sphere_ebm.errors import LabelError
from sphere_ebm.files.atomic import atomic_write
from sphere_ebm.librarian.bootstrap import Interval
from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.report import (
    ALONE,
    FIGURES,
    WITH_MAP,
    Report,
    as_json,
    calibration_table,
    figure_table,
    gain_table,
    length_table,
)

CARD = "README.md"
REPORT = "evaluation.json"
LOW = 0.67
HIGH = 1.5
"""Found over stated errors within which a tenth counts as told rightly."""

_STUDENTS = {
    "static": "a linear model of byte n-grams that gives the embedding of a patch, and its place"
    " among the places of the training patches that are nearest to it",
    "direct": "a bag of byte n-grams and a small network that give the place itself",
    "cone": "a transformer over bytes whose heads attend within cones",
    "conv": "a convolutional network over bytes",
}


class Finding(NamedTuple):
    """A claim, whether it held, and the figures it rests on."""

    claim: str
    held: bool
    figures: str


def findings(report: Report) -> list[Finding]:
    """What the figures say for and against the student, claim by claim."""
    row = report.main_row
    found = [
        _beats(report, row, "chance", "bits", "its places are better than the prior"),
        _beats(report, row, "ridge", "near", "it is right more often than ridge regression"),
        _beats(report, row, "seed", "near", "it is as near as another run of the map"),
        _beats(report, row, "knn", "near", "it is as near as the true embedding's neighbours"),
        _map_helps(report),
        _errors_hold(report, row),
        _short_patches(report, row),
    ]
    return [one for one in found if one is not None]


def _beats(report: Report, row: str, rival: str, name: str, claim: str) -> Finding | None:
    """Whether the student's figure is above the rival's; for those who know more, not below it."""
    gain = report.gains.get(row, {}).get(rival, {}).get(name)
    if gain is None or math.isnan(gain.value):
        return None
    held = gain.high >= 0 if rival in ("seed", "knn") else gain.above_zero
    return Finding(claim, held, f"{FIGURES[name].title} {_signed(gain, FIGURES[name].digits)}")


def _map_helps(report: Report) -> Finding | None:
    alone = report.figures.get(ALONE, {}).get("median_angle")
    joined = report.figures.get(WITH_MAP, {}).get("median_angle")
    if alone is None or joined is None:
        return None
    figures = f"median angle {joined.value:.1f}° with the map, {alone.value:.1f}° without"
    return Finding("the map at hand helps it", joined.value < alone.value, figures)


def _errors_hold(report: Report, row: str) -> Finding | None:
    tenths = report.calibration.get(row)
    if not tenths:
        return None
    ratios = [tenth.ratio for tenth in tenths]
    right = sum(LOW <= ratio <= HIGH for ratio in ratios)
    figures = (
        f"{right} of {len(ratios)} tenths have found over stated within {LOW} to {HIGH}"
        f" ({min(ratios):.2f} to {max(ratios):.2f})"
    )
    return Finding("its stated errors hold", right == len(ratios), figures)


def _short_patches(report: Report, row: str) -> Finding | None:
    classes = list(report.lengths.get(row, {}).items())
    filled = [(name, one) for name, one in classes if one.patches]
    if len(filled) < 2:
        return None
    (name, short), (_, long) = filled[0], filled[-1]
    figures = f"share < 11.5° {short.near:.3f} of patches of {name}, {long.near:.3f} of the longest"
    return Finding("it places short patches as well as long ones", short.near >= long.near, figures)


def card_text(report: Report, config: LibrarianConfig, further: Sequence[Finding] = ()) -> str:
    """The card as Markdown.

    Args:
        report: what an evaluation found.
        config: how the student was trained.
        further: findings that need more than this one student, such as what context is worth.
    """
    row = report.main_row
    held = [*findings(report), *further]
    parts = [
        f"# A Librarian: `{report.student}`",
        _about(report, config),
        "## What held and what did not\n\n" + _verdicts(held),
        "## Figures\n\n" + figure_table(report) + "\n\n" + _legend(report),
        f"## {_capital(row)}, less each rival\n\nWith 95 % intervals over documents.\n\n"
        + gain_table(report, row),
    ]
    if row in report.calibration and row in report.hits:
        parts.append(
            "## How sure it is\n\nTenths of the stated error, surest first, and of the stated"
            f" confidence, least sure first. Rank correlation of stated and found error:"
            f" {report.error_rank[row]:.2f}.\n\n" + calibration_table(report, row)
        )
    parts.append("## By length\n\n" + length_table(report, row))
    parts.append("## Configuration\n\n```json\n" + config.to_json() + "\n```")
    return "\n\n".join(parts) + "\n"


def _about(report: Report, config: LibrarianConfig) -> str:
    sees = {0: "the patch alone", 2: f"the patch and {config.near} bytes on either side"}
    context = sees.get(report.context, f"the patch and {config.far} bytes on either side")
    documents = (
        "documents that it has not seen"
        if report.unseen
        else "the validation documents: **training was stopped and calibrated on them**, so that"
        " figures flatter"
    )
    speed = ", ".join(f"{value:,.0f} ({name})" for name, value in report.patches_per_second.items())
    notes = "".join(f"\n- note: {note}" for note in report.notes)
    return (
        f"Given the bytes of a patch of text, this says where on the map `{report.map_id[:12]}` it"
        f" belongs, how far out, and how sure it is. It is {_STUDENTS[report.student]}.\n\n"
        f"- sees {context}; trained with seed {config.seed}\n"
        f"- judged on {report.patches:,} patches of {report.documents} {documents}\n"
        f"- patches a second: {speed}{notes}"
    )


def _verdicts(held: Sequence[Finding]) -> str:
    return "\n".join(
        f"- **{'yes' if one.held else 'no'}**: {one.claim} ({one.figures})" for one in held
    )


def _legend(report: Report) -> str:
    return (
        "*bits*: gain over the share of the map's patches in each of 1 024 cells. *top 1 %*: the"
        " label's cell is among the first 10. *nbr15*: share of the label's 15 nearest fitted"
        " patches that are nearest to the answer. *same document*: share of the 15 nearest other"
        f" answers that are of the patch's document (chance {report.chance_of_same_document:.3f})."
        " *knn* is an oracle: it knows the true embedding. *seed* is another run of the same map."
    )


def _signed(gain: Interval, digits: int) -> str:
    ends = f"{gain.low:+.{digits}f} to {gain.high:+.{digits}f}"
    return f"{gain.value:+.{digits}f}, interval {ends}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def write_card(
    folder: Path | str,
    report: Report,
    config: LibrarianConfig,
    further: Sequence[Finding] = (),
) -> tuple[Path, Path]:
    """Write `README.md` and `evaluation.json` into the folder of a model, atomically.

    Raises:
        LabelError: there is no such folder.
        OSError: it cannot be written.
    """
    target = Path(folder)
    if not target.is_dir():
        raise LabelError(f"{target} is no folder of a student; train one there first")
    texts: Mapping[str, str] = {
        REPORT: as_json(report),
        CARD: card_text(report, config, further),
    }
    for name, text in texts.items():
        atomic_write(target / name, _writer(text.encode()))
    return target / CARD, target / REPORT


def _writer(octets: bytes) -> Callable[[BinaryIO], object]:
    return lambda file: file.write(octets)
