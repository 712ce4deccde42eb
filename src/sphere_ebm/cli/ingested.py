"""What `ingest` and `map` tell of the texts that were cut into patches."""

from typing import Any

from rich.console import Console
from rich.table import Table

from sphere_ebm.cli.output import PLAIN
from sphere_ebm.errors import one_line
from sphere_ebm.text.ingest import IngestRun, by_ending

_ENDINGS = 6  # of files passed over that the table names


def ingest_summary(run: IngestRun) -> dict[str, Any]:
    """What `--json` prints of them."""
    return {
        "output": str(run.output),
        "shards": {str(source): str(path) for source, path in run.files.items()},
        "statistics": run.statistics.to_dict(),
        "bits_per_byte": run.bits_per_byte,
        "refused": {str(refused.source): refused.reason for refused in run.refused},
        "warnings": list(run.warnings),
        "kept": run.kept,
        "passed_over": by_ending(run.passed_over),
        "excluded": len(run.excluded),
    }


def print_ingested(run: IngestRun) -> None:
    """The table of patches."""
    found = run.statistics
    table = Table(title="patches", show_header=False)
    kept = f" ({run.kept} finished files kept)" if run.kept else ""
    table.add_row(
        "patches", f"{found.patches:,} of {found.bytes:,} bytes in {_files(len(run.files))}{kept}"
    )
    table.add_row(
        "mean length",
        f"{found.mean:.1f} bytes, median {found.p50:.0f}, 95 % at most {found.p95:.0f}",
    )
    table.add_row(
        "by bytes", ", ".join(f"{name}: {count:,}" for name, count in found.size_classes.items())
    )
    table.add_row("myelination ratio", f"{found.myelination_ratio:.3f}")
    names = {"model": "this model", "bzip2": "bzip2", "xz": "xz"}
    bits = ", ".join(f"{names[name]} {value:.2f}" for name, value in run.bits_per_byte.items())
    table.add_row("bits per byte", bits)
    if run.passed_over:
        endings = by_ending(run.passed_over).items()
        listed = [f"{one_line(name) or 'no ending'} {told['count']:,}" for name, told in endings]
        more = ", ..." if len(listed) > _ENDINGS else ""
        told = f"{_files(len(run.passed_over))}: {', '.join(listed[:_ENDINGS])}{more}"
        table.add_row("passed over", told)
    if run.excluded:
        table.add_row("left out", _files(len(run.excluded)))
    Console(**PLAIN).print(table)


def _files(count: int) -> str:
    return f"{count:,} file" if count == 1 else f"{count:,} files"
