"""What the command prints, whichever subcommand it is: lines, and the table of a map."""

import io
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import numpy as np
from rich.console import Console
from rich.table import Table

from sphere_ebm.errors import one_line
from sphere_ebm.files.formats import ENERGY, FIGURE, MAP, PAGE
from sphere_ebm.files.shards.columns import COLUMNS
from sphere_ebm.files.shards.labels import Labels
from sphere_ebm.labelling.label import LabelRun
from sphere_ebm.labelling.summary import final_energy
from sphere_ebm.quality.report import QualityReport
from sphere_ebm.quality.trust import chance_share

OK = 0
UNREAD = 1
NOTHING = 3
PARTLY = 4
INTERRUPTED = 130
_NAMED_LEVEL = 1
_NAMED = 4
# Names from outside are not to be read as markup or emoji codes, nor broken into lines.
PLAIN: Any = {"highlight": False, "soft_wrap": True, "markup": False, "emoji": False}


@final
class UnprintedError(Exception):
    """Standard output took no more, and why; what was made before is whole."""


@contextmanager
def printing() -> Iterator[None]:
    """Tell standard output's own errors from those of the files that a command writes.

    Raises:
        BrokenPipeError: whoever read the output has gone.
        UnprintedError: any other reason why it cannot be written.
    """
    try:
        yield
        if sys.stdout is not None:  # there is none where it was closed when Python began
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UnprintedError(error.strerror or str(error)) from error


def escape_unknown_characters() -> None:
    """Let terminals and files take what their encoding lacks: it is escaped, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(console: Console, text: str) -> None:
    """One line, whatever names from outside are in it."""
    console.print(one_line(text))


def run_summary(run: LabelRun, seconds: float) -> dict[str, Any]:
    """What `--json` prints of a map."""
    sure = run.placement.certainty
    return {
        "map": run.map_id,
        "output": str(run.output),
        "points": run.points,
        "fitted": len(run.placement),
        "places": run.placement.places,
        "shells_used": run.placement.shells_used,
        "steps": int(run.placement.step[-1]) if run.placement.step.size else 0,
        "converged": run.placement.converged,
        "energy": final_energy(run.placement),
        "quality": run.quality.to_dict(),
        "certainty": None if sure is None else sure._asdict(),
        "labels": {str(source): str(path) for source, path in run.files.items()},
        "refused": {str(refused.source): refused.reason for refused in run.refused},
        "warnings": list(run.warnings),
        "kept": run.kept,
        "regions": [region.name for region in run.regions if region.level == _NAMED_LEVEL],
        "seconds": round(seconds, 3),
    }


def print_run(run: LabelRun, seconds: float) -> None:
    """The table of a map."""
    placement = run.placement
    table = Table(title=f"map {run.map_id[:8]}", show_header=False)
    table.add_row("points", f"{run.points:,} in {len(run.files)} files")
    if run.points > len(placement):
        table.add_row("of these fitted", f"{len(placement):,} landmarks")
    if placement.places < len(placement):
        shared = len(placement) - placement.places
        table.add_row("exact copies", f"{shared:,} share the place of another point")
    table.add_row("shells used", f"{placement.shells_used} of {placement.shells.count}")
    for name, value in final_energy(placement).items():
        table.add_row(f"energy per point, {name}", f"{value / max(placement.places, 1):.4f}")
    add_quality(table, run.quality)
    sure = placement.certainty
    if sure is not None:
        table.add_row("error of a direction, median", f"{sure.median:.1f}°")
        table.add_row("error of a direction, 90 % below", f"{sure.p90:.1f}°")
        if sure.two_modes is not None:
            table.add_row("points with two places", f"{sure.two_modes:.1%}")
    if names := [region.name for region in run.regions if region.level == _NAMED_LEVEL]:
        table.add_row("regions", one_line("; ".join(names[:_NAMED])))
    end = "converged" if placement.converged else "all taken"
    table.add_row("steps", f"{int(placement.step[-1]) if placement.step.size else 0} ({end})")
    table.add_row(
        "seconds", f"{seconds:.1f}" + (f" ({run.kept} finished files kept)" if run.kept else "")
    )
    console = Console(**PLAIN)
    console.print(table)
    written = ["labels", MAP, ENERGY, FIGURE, *([PAGE] if (run.output / PAGE).exists() else [])]
    say(console, f"{', '.join(written[:-1])} and {written[-1]} are in {run.output}")


def label_facts(labels: Labels | None) -> dict[str, Any]:
    """What `inspect` tells of a label file beyond its tensors, for `--json` too.

    `columns`: least, median and greatest of every column with one number per patch, by the names of
    the tensors; `chance_share`: see `sphere_ebm.quality.chance_share`. Nothing without patches.
    """
    if labels is None or not len(labels):
        return {}
    held = {name: vars(labels)[name] for name, column in COLUMNS.items() if not column.row}
    ranges = {
        "radii" if name == "radius" else name: {
            "least": float(values.min()),
            "median": float(np.median(values)),
            "greatest": float(values.max()),
        }
        for name, values in held.items()
        if values is not None
    }
    p_value = labels.kept_p_value
    told = {} if p_value is None else {"chance_share": chance_share(p_value)}
    return {"columns": ranges} | told


def add_quality(table: Table, quality: QualityReport) -> None:
    """A row for every measure that is defined for these points."""
    by_size = {
        "recall": quality.recall,
        "trustworthiness": quality.trustworthiness,
        "continuity": quality.continuity,
    }
    rows = [
        (f"{name}@{k}", value, ".3f")
        for name, values in by_size.items()
        for k, value in values.items()
    ]
    rows += [
        ("distance correlation (Spearman)", quality.distance_spearman, ".3f"),
        ("occupied cells / uniform", quality.evenness.occupied, ".3f"),
        ("largest empty cap / uniform", quality.evenness.empty_cap, ".2f"),
    ]
    if quality.prominence_spearman is not None:
        rows.append(("prominence and radius (Spearman)", quality.prominence_spearman, ".4f"))
    if quality.shell_deviation is not None:
        rows.append(("shell deviation, most points", quality.shell_deviation.max_points, ".1f"))
    if quality.chance_share is not None:
        rows.append(("points no better than chance", quality.chance_share, ".1%"))
    for name, value, form in rows:
        if not math.isnan(value):
            table.add_row(name, format(value, form))
