"""The heuristics with the project's targets: `python -m benchmarks.heuristics --data DIR`.

Water-filling and the exact sort on millions of points, transforms of spherical harmonics, and the
navigator. Exit code 0 when every target is met, 1 when one is missed, 2 for wrong usage.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.arguments import add_counts, parser_of
from benchmarks.filling import POINTS, SHELLS, filling_section
from benchmarks.navigator import SET, navigator_section
from benchmarks.report import finish, machine, target_section
from benchmarks.transforms import transform_section

PACKAGES = ("sphere-ebm", "jax", "numpy", "scipy", "faiss-cpu")
PARTS = ("filling", "transforms", "navigator")


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser_of("heuristics", __doc__)
    cli.add_argument(
        "--data", type=Path, metavar="DIR", help=f"folder with {SET}.npz, for the navigator"
    )
    cli.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=list(PARTS),
        help="what to measure (default: all)",
    )
    counts = {
        "points": (POINTS, "points of the filling"),
        "shells": (SHELLS, "shells of the filling"),
        "repeats": (3, "timed runs of the filling"),
    }
    add_counts(cli, counts)
    options = cli.parse_args(arguments)
    if "navigator" in options.parts and (
        options.data is None or not (options.data / f"{SET}.npz").is_file()
    ):
        cli.error(
            f"the navigator needs {SET}.npz: name its folder with --data, or leave it out with"
            " --parts."
        )
    header = machine(PACKAGES)
    sections = {
        "filling": lambda: filling_section(options.points, options.shells, options.repeats),
        "transforms": transform_section,
        "navigator": lambda: navigator_section(options.data, ()),
    }
    done = {name: sections[name]() for name in PARTS if name in options.parts}
    checks = [check for _, found in done.values() for check in found]
    parts = "\n\n".join(f"## {name.capitalize()}\n\n{text}" for name, (text, _) in done.items())
    text = f"# Heuristics\n\n{header}\n\n{target_section(checks)}\n\n{parts}"
    return finish(text, options.output, checks)


if __name__ == "__main__":
    sys.exit(main())
