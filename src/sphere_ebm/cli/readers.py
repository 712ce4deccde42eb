"""Subcommands that write nothing: `inspect` and `quality`."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sphere_ebm.cli.options import add_command, add_report
from sphere_ebm.cli.output import NOTHING, OK, PLAIN, add_quality, label_facts, printing, say
from sphere_ebm.cli.progress import working
from sphere_ebm.errors import one_line
from sphere_ebm.files.shards.layouts import LABEL_FORMAT, PLACEMENT_FORMAT
from sphere_ebm.files.shards.summary import ShardSummary, inspect_shard
from sphere_ebm.labelling.label import measure_map


def add_readers(commands: Any) -> None:
    """Add the commands that write nothing."""
    inspect = add_command(
        commands,
        "inspect",
        "FILE",
        "what is in a shard or label file",
        "Print what is in a shard, a label file or a placement.",
        ["data/luke.safetensors", "labels/luke.sphere.safetensors --json"],
    )
    inspect.add_argument("file", type=Path, metavar="FILE", help="The file to look into.")
    add_report(inspect)
    inspect.set_defaults(run=_inspect)

    quality = add_command(
        commands,
        "quality",
        "DIR",
        "check the files of a finished map and measure it again",
        "Check every file of a finished map against its hash, and measure its labels again.",
        ["labels"],
    )
    quality.add_argument("folder", type=Path, metavar="DIR", help="Folder of the map.")
    add_report(quality)
    quality.set_defaults(run=_quality)


def _inspect(options: argparse.Namespace, errors: Console) -> int:
    with working("inspect", options, errors):
        summary = inspect_shard(options.file)
    with printing():
        if options.json:
            print(json.dumps(_summary_dict(summary), indent=1))
        elif not options.quiet:
            _print_summary(summary)
    return OK if summary.problem is None else NOTHING


def _summary_dict(summary: ShardSummary) -> dict[str, Any]:
    return {
        "file": str(summary.path),
        "layout": summary.layout,
        "patches": summary.patches,
        "width": summary.dim,
        "documents": list(summary.documents),
        "tensors": {
            info.name: {"dtype": info.dtype, "shape": list(info.shape)} for info in summary.tensors
        },
        "metadata": summary.metadata,
        "warnings": list(summary.warnings),
        "problem": None if summary.problem is None else str(summary.problem),
    } | label_facts(summary.labels)


def _print_summary(summary: ShardSummary) -> None:
    console = Console(**PLAIN)
    own = {LABEL_FORMAT: "labels, format ", PLACEMENT_FORMAT: "a placement, format "}
    kind = own.get(summary.layout or "", "layout ")
    say(console, f"{summary.path}: {kind}{summary.layout or 'unknown'}")
    if summary.patches is not None:
        facts = [f"{summary.patches:,} patches"]
        facts += [] if summary.dim is None else [f"width {summary.dim}"]
        facts += [f"documents: {', '.join(summary.documents)}"] if summary.documents else []
        say(console, ", ".join(facts))
    told = label_facts(summary.labels)
    ranges = told.get("columns", {})
    table = Table("tensor", "dtype", "shape", *(["least, median, greatest"] if ranges else []))
    for info in summary.tensors:
        shape = " x ".join(map(str, info.shape)) or "scalar"
        numbers = ", ".join(f"{value:.4g}" for value in ranges.get(info.name, {}).values())
        cells = [one_line(info.name), one_line(info.dtype), shape, *([numbers] if ranges else [])]
        table.add_row(*cells)
    console.print(table)
    if "chance_share" in told:
        say(console, f"points no better than chance: {told['chance_share']:.1%}")
    for key, value in sorted(summary.metadata.items()):
        say(console, f"{key}: {value if len(value) <= 120 else value[:117] + '...'}")
    for warning in summary.warnings:
        say(console, f"warning: {warning}")
    if summary.problem is not None:
        say(console, f"cannot be used: {summary.problem}")


def _quality(options: argparse.Namespace, errors: Console) -> int:
    with working("quality", options, errors):
        report = measure_map(options.folder)
    with printing():
        if options.json:
            print(json.dumps(report.to_dict(), indent=1, sort_keys=True))
        if options.json or options.quiet:
            return OK
        table = Table(title=one_line(str(options.folder)), show_header=False)
        table.add_row("points", f"{report.points:,}")
        add_quality(table, report)
        Console(**PLAIN).print(table)
    return OK
