"""What the command lines of the benchmarks share."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.datasets import Dataset, load

RESULTS = Path(__file__).parent / "results"


def parser_of(
    name: str, description: str | None, output: str = "Markdown file to write"
) -> argparse.ArgumentParser:
    """The parser of the benchmark `name`, with the option `--output`."""
    cli = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    cli.add_argument(
        "--output", type=Path, default=RESULTS / f"{name}.md", metavar="FILE", help=output
    )
    return cli


def add_data(cli: argparse.ArgumentParser, what: str = "NAME.npz for every set") -> None:
    """The option `--data`, which has to be given."""
    cli.add_argument("--data", type=Path, required=True, metavar="DIR", help=f"folder with {what}")


def add_sets(cli: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """The option `--sets`; `names` are measured where it is not given."""
    cli.add_argument(
        "--sets",
        nargs="+",
        default=list(names),
        metavar="NAME",
        help=f"default: {' '.join(names)}",
    )


def add_sizes(cli: argparse.ArgumentParser, sizes: Sequence[int]) -> None:
    """The option `--points`, sizes of the maps; those of `sizes` where it is not given."""
    cli.add_argument(
        "--points", nargs="*", type=int, default=list(sizes), metavar="N", help="sizes of the maps"
    )


def add_counts(cli: argparse.ArgumentParser, counts: Mapping[str, tuple[int, str]]) -> None:
    """Options for whole numbers of at least 1: name -> default, and what is counted."""
    for name, (default, what) in counts.items():
        cli.add_argument(
            f"--{name}",
            type=positive,
            default=default,
            metavar="N",
            help=f"{what} (default {default})",
        )


def positive(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {number}")
    return number


def loaded(
    cli: argparse.ArgumentParser, names: Sequence[str], folder: Path, option: str = "--sets"
) -> list[Dataset]:
    """The sets of these names. A missing file is wrong usage, and ends the command."""
    try:
        return [load(name, folder) for name in names]
    except FileNotFoundError as error:
        cli.error(
            f"{error.filename} is missing; name the folder with --data or choose with {option}."
        )
