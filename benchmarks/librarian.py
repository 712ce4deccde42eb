"""Can the labels be learned? Students beside chance, oracle and floor, with the project's targets.

`python -m benchmarks.librarian --data DIR`, with librarian-fit, -more and -test.parquet in DIR.

Every stage is kept under `--work` and passed over when it is asked for again, so that the same
command continues a run that was stopped. Exit code 0 when every target is met, 1 when one is
missed, 2 for wrong usage.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.arguments import RESULTS, add_counts, add_data, parser_of, positive
from benchmarks.librarian_extras import (
    KILLS,
    LOADED,
    MEGABYTES,
    compare_labels,
    killed_runs,
    loading,
    next_vectors,
    speeds,
)
from benchmarks.librarian_runs import (
    NEEDED,
    Judgement,
    default_map,
    figure,
    judged,
    paired,
    runs,
    shell_rank,
    tenths,
)
from benchmarks.librarian_sets import make_labels, other_labels, prepare
from benchmarks.report import Check, finish, machine, markdown_table, say, target_section
from sphere_ebm import PlacementConfig
from sphere_ebm.librarian.bootstrap import DRAWS, Interval
from sphere_ebm.librarian.card import HIGH, LOW
from sphere_ebm.librarian.report import ALONE, FIGURES, WITH_MAP
from sphere_ebm.librarian.rivals import NAMES

PACKAGES = ("sphere-ebm", "jax", "optax", "numpy", "numba")
PARTS = ("students", "labels", "sequence", "kills", "loading")
HEURISTICS = ("pca", "lateral_jit", "random")
LIMIT = 1200.0
"""Processor seconds that a student may train for: ten minutes on two cores."""
SHORT = 12
"""Bytes up to which a patch counts as short."""

Found = Mapping[str, Sequence[Judgement]]


def checks_of(found: Found) -> list[Check]:
    """The targets that the students there are can be held to."""
    checks = []
    if "static more" in found:
        checks += _static(found["static more"])
    if "direct more" in found:
        checks += _direct(found["direct more"])
    if {"direct", "direct context 0"} <= found.keys():
        checks += _context(found["direct"], found["direct context 0"])
    checks += _shells(found)
    if "direct random" in found:
        checks += _random(found["direct random"])
    checks += _confidence(found)
    if {"direct", "direct unweighted"} <= found.keys():
        checks += _weighting(found["direct"], found["direct unweighted"])
    for name, several in found.items():
        seconds = max(one.processor_seconds for one in several)
        checks.append(Check(f"{name}: training, processor seconds", seconds, "<=", LIMIT))
    return checks


def _static(found: Sequence[Judgement]) -> list[Check]:
    bounds = (("cosine", ">=", 0.78), ("median_angle", "<=", 2.0), ("near", ">=", 0.58))
    return [
        Check(f"static more, with map: {FIGURES[name].title}", figure(found, WITH_MAP, name), r, b)
        for name, r, b in (*bounds, ("nbr15", ">=", 0.43))
    ]


def _direct(found: Sequence[Judgement]) -> list[Check]:
    bounds = (("median_angle", "<=", 15.0), ("top", ">=", 0.55), ("bits", ">=", 3.6))
    return [
        Check(f"direct more: {FIGURES[name].title}", figure(found, ALONE, name), rule, bound)
        for name, rule, bound in bounds
    ]


def _context(wide: Sequence[Judgement], none: Sequence[Judgement]) -> list[Check]:
    gain = paired(wide, none, "near", where=wide[0].length <= SHORT)
    name = f"context 19 over 0, patches up to {SHORT} bytes, share < 11.5°"
    return [
        Check(name, gain.value, ">=", 0.1),
        Check(f"{name}: lower end of the interval", gain.low, ">=", 0.0),
    ]


def _shells(found: Found) -> list[Check]:
    """Of the student whose shells err least."""
    rows = [
        (figure(several, row, "shell_error"), name, row)
        for name, several in found.items()
        for row in (ALONE, WITH_MAP)
        if "random" not in name and not math.isnan(figure(several, row, "shell_error"))
    ]
    if not rows:
        return []
    error, name, row = min(rows)
    return [
        Check(f"shell, {name}, {row}: mean error of 32", error, "<=", 3.7),
        Check(f"shell, {name}, {row}: rank correlation", shell_rank(found[name], row), ">=", 0.82),
    ]


def _random(found: Sequence[Judgement]) -> list[Check]:
    bits = figure(found, ALONE, "bits")
    top = figure(found, ALONE, "top")
    return [
        Check("random labels: bits, distance from 0", abs(bits), "<=", 0.02),
        Check("random labels: top 1 %", top, ">=", 0.008),
        Check("random labels: top 1 %", top, "<=", 0.012),
    ]


def _confidence(found: Found) -> list[Check]:
    checks = []
    for name, row in (("static more", WITH_MAP), ("direct more", ALONE)):
        ratios = [tenth.ratio for tenth in tenths(found.get(name, ()), row)]
        if ratios:
            told = f"{name}, {row}: found over stated error of a tenth"
            checks += [
                Check(f"{told}, smallest", min(ratios), ">=", LOW),
                Check(f"{told}, largest", max(ratios), "<=", HIGH),
            ]
    return checks


def _weighting(weighted: Sequence[Judgement], plain: Sequence[Judgement]) -> list[Check]:
    sure = weighted[0].angle_std <= np.median(weighted[0].angle_std)
    gain = paired(weighted, plain, "bits", where=sure)
    name = "weighting by the label's spread, bits on labels of low spread"
    return [Check(f"{name}: lower end of the interval", gain.low, ">=", 0.0)]


def student_table(found: Found) -> str:
    """One row for each student, alone and with the map, and for each rival of the first."""
    names = list(FIGURES)
    rows = []
    for name, several in found.items():
        for row in (ALONE, WITH_MAP):
            told = name if row == ALONE else f"{name}, with the map"
            rows.append([told, *_cells(several, row, names)])
    first = next((several for name, several in found.items() if "random" not in name), ())
    for row in dict.fromkeys(row for one in first for row in one.report.figures):
        if row not in (ALONE, WITH_MAP):
            rows.append([f"*{row}*", *_cells(first, row, names)])
    header = ["", *(FIGURES[name].title for name in names), "shell rank", "processor s"]
    return markdown_table(header, rows)


def _cells(several: Sequence[Judgement], row: str, names: Sequence[str]) -> list[str]:
    cells = []
    for name in names:
        value = figure(several, row, name)
        cells.append("" if math.isnan(value) else f"{value:.{FIGURES[name].digits}f}")
    rank = shell_rank(several, row)
    seconds = np.mean([one.processor_seconds for one in several])
    own = row == ALONE
    return [*cells, "" if math.isnan(rank) else f"{rank:.3f}", f"{seconds:.0f}" if own else ""]


PAIRS = (
    ("more labels", "direct more", "direct"),
    ("context 19 instead of 0", "direct", "direct context 0"),
    ("weighting by the spread", "direct", "direct unweighted"),
    ("the loss of the embedding", "direct", "direct no embedding"),
    ("the loss of the shell", "direct", "direct no shell"),
    ("the loss of the prominence", "direct", "direct no prominence"),
)
"""What is worth how much: a name, the student with it, and the one without."""


def pair_table(found: Found) -> str:
    """What each part of the students is worth, with intervals over documents."""
    rows = []
    for what, one, other in PAIRS:
        if one in found and other in found:
            names = ("near", "bits", "shell_error")
            gains = [paired(found[one], found[other], name) for name in names]
            rows.append([what, *map(_ends, gains, names)])
    return markdown_table(["what", "< 11.5°", "bits", "shell error"], rows)


def _ends(gain: Interval, name: str) -> str:
    digits = FIGURES[name].digits + 1
    if math.isnan(gain.value):
        return ""
    return f"{gain.value:+.{digits}f} ({gain.low:+.{digits}f} to {gain.high:+.{digits}f})"


def tenth_rows(found: Found) -> str:
    """Found over stated error by tenth of the stated one, surest first."""
    rows = []
    for name, several in found.items():
        for row in (ALONE, WITH_MAP):
            ratios = [f"{tenth.ratio:.2f}" for tenth in tenths(several, row)]
            if len(ratios) == 10:
                rows.append([f"{name}, {row}", *ratios])
    return markdown_table(["tenth", *map(str, range(1, 11))], rows)


def _epochs(number: int | None) -> str:
    return "" if number is None else f" of {number} epochs"


def parser() -> argparse.ArgumentParser:
    cli = parser_of("librarian", __doc__)
    add_data(cli, "librarian-fit.parquet, librarian-more.parquet and librarian-test.parquet")
    cli.add_argument(
        "--work",
        type=Path,
        default=RESULTS / "librarian",
        metavar="DIR",
        help="folder for shards, labels and students; what is there is used again",
    )
    known = list(runs())
    cli.add_argument(
        "--students",
        nargs="+",
        default=list(NEEDED),
        choices=known,
        metavar="NAME",
        help=f"of {', '.join(known)} (default: {', '.join(NEEDED)})",
    )
    cli.add_argument(
        "--epochs",
        type=positive,
        metavar="N",
        help="so many for every student, kept apart from those of others (default: its own)",
    )
    cli.add_argument(
        "--rivals",
        nargs="*",
        default=list(NAMES),
        choices=NAMES,
        metavar="NAME",
        help=f"who is judged beside each student, of {', '.join(NAMES)} (default: all)",
    )
    cli.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS), help="what to do")
    cli.add_argument(
        "--killed",
        nargs="+",
        default=list(KILLS),
        choices=KILLS,
        metavar="NAME",
        help=f"whose training is killed, of {', '.join(KILLS)} (default: all)",
    )
    add_counts(cli, {"seeds": (2, "students of each kind"), "draws": (DRAWS, "of documents")})
    return cli


def prepared(cli: argparse.ArgumentParser, asked: argparse.Namespace) -> None:
    """Make the folders of shards and labels that are needed; a missing file ends the command.

    Those of other seeds and placements only where a part or a student that is asked for needs them.
    """
    config = default_map()
    try:
        prepare(asked.data, asked.work, config)
    except FileNotFoundError as error:
        cli.error(f"{error.filename} is missing; name the folder with --data.")
    learned = {runs()[name].labels for name in asked.students if "students" in asked.parts}
    if "fit-labels" in learned and "seed" in asked.rivals:
        make_labels(asked.data, asked.work, PlacementConfig(seed=1, replicas=0), "seed-labels")
    for method in HEURISTICS:
        if "labels" in asked.parts or f"{method}-labels" in learned:
            other_labels(asked.data, asked.work, method, config)


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser()
    asked = cli.parse_args(arguments)
    prepared(cli, asked)
    found: dict[str, list[Judgement]] = {}
    if "students" in asked.parts:
        for name in asked.students:
            run = runs()[name].of_epochs(asked.epochs)
            each = [
                judged(asked.work, run, seed, asked.draws, asked.rivals)
                for seed in range(asked.seeds)
            ]
            found[name] = each
            say(f"librarian: {name}, {figure(each, ALONE, 'median_angle'):.1f} degrees")
    checks = checks_of(found)
    sections = []
    if found:
        sections += [
            ("Students", student_table(found)),
            ("What is worth how much", pair_table(found)),
            ("Found over stated error, by tenth of the stated one", tenth_rows(found)),
        ]
    if "labels" in asked.parts:
        table, more = compare_labels(asked.work, runs()["static more"], asked.seeds)
        sections.append(("The same student, labels of other placements", table))
        checks += more
    if "sequence" in asked.parts:
        table, more = next_vectors(asked.work)
        sections.append(("Next vectors", table))
        checks += more
    if "kills" in asked.parts:
        checks += killed_runs(asked.work, asked.killed)
    if "loading" in asked.parts:
        folder = runs()["static more"].folder(asked.work, 0)
        checks += loading(folder, LOADED, MEGABYTES)
        checks += speeds(asked.work, folder)
    body = "\n\n".join(f"## {title}\n\n{table}" for title, table in sections)
    text = f"""# Students of the labels

{machine(PACKAGES)}
- means of {asked.seeds} training seeds{_epochs(asked.epochs)}; patches of unseen documents;
  intervals by bootstrap over documents

{target_section(checks)}

{body}"""
    return finish(text, asked.output, checks)


if __name__ == "__main__":
    sys.exit(main())
