"""What the command lines of the benchmarks share."""

import argparse
from collections.abc import Sequence
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
