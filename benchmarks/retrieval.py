"""Looking at a map by levels: `python -m benchmarks.retrieval --data DIR`.

500 held-out queries a set. Work is what is compared and what is returned, as a share of the points.
Exit code 0 when every target is met, 1 when one is missed, 2 for wrong usage.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.arguments import add_data, parser_of
from benchmarks.report import Check, finish, machine, target_section
from benchmarks.retrieval_attention import attention_section
from benchmarks.retrieval_budgets import budget_section
from benchmarks.retrieval_recall import recall_section, speed_section
from benchmarks.retrieval_sets import Asked, texts, wordnet

PACKAGES = ("sphere-ebm", "jax", "numpy", "scipy", "faiss-cpu")
SETS = {"wordnet-10k": wordnet, "texts-60k": texts}
PARTS = ("recall", "speed", "budgets", "attention")


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser_of("retrieval", __doc__)
    add_data(cli, "wordnet-10k.npz and the librarian's Parquet files")
    cli.add_argument(
        "--maps", type=Path, metavar="DIR", help="keep shards and maps here between runs"
    )
    cli.add_argument("--sets", nargs="+", choices=tuple(SETS), default=list(SETS))
    cli.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = cli.parse_args(arguments)
    header = machine(PACKAGES)
    try:
        sets = [SETS[name](options.data, options.maps) for name in options.sets]
    except FileNotFoundError as error:
        cli.error(f"{error.filename} is missing; name the folder with --data.")
    text = []
    checks: list[Check] = []
    for title, (part, found) in _parts(options.parts, sets):
        text.append(f"## {title}\n\n{part}")
        checks += found
    report = "\n\n".join([f"# Retrieval\n\n{header}", target_section(checks), *text])
    return finish(report, options.output, checks)


def _parts(
    names: Sequence[str], sets: Sequence[Asked]
) -> Iterator[tuple[str, tuple[str, list[Check]]]]:
    """Titles and results of the chosen parts, one after another."""
    for asked in sets if "recall" in names else ():
        yield f"Recall, {asked.name}", recall_section(asked)
    if "speed" in names:
        yield "Speed", speed_section(sets)
    for asked in sets:
        if "budgets" in names and asked.document is not None:
            yield f"Budgets, {asked.name}", budget_section(asked)
        if "attention" in names and asked.training is not None:
            yield f"Cone attention, {asked.name}", attention_section(asked)


if __name__ == "__main__":
    sys.exit(main())
