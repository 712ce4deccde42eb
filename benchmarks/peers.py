"""Our default and what a user would pick instead, side by side.

`python -m benchmarks.peers --data DIR`.

A peer that is not installed is skipped. Exit code 0 when every target is met, 1 when one is missed,
2 for wrong usage.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks.arguments import add_counts, add_data, add_sets, loaded, parser_of
from benchmarks.datasets import Dataset
from benchmarks.peer_methods import CONTENDERS, OURS, PEERS, Contender
from benchmarks.process import run_apart
from benchmarks.report import Check, machine, markdown_table, publish, say, target_section
from sphere_ebm.quality.neighbours import Neighbourhood, neighbourhood

DEFAULT_SETS = ("wordnet-10k", "glosses-50k")
PACKAGES = (
    "sphere-ebm",
    "jax",
    "numpy",
    "numba",
    "torch",
    *dict.fromkeys(peer.package for peer in PEERS),
)
SIZES = (15, 50)
QUERIES = 10_000
SLOW_SECONDS = 60.0
SLOWEST_SECONDS = 300.0
RECALL_RATIOS = {"wordnet-10k": 1.25, "glosses-50k": 2.0}
NEAR_BEST = 0.8


@dataclass(frozen=True)
class Race:
    """One method on one set.

    `first` is the run that compiles and `warm` are those after it, in seconds, neighbour search
    included; `near` was measured on the last run; `peak_mb` is the peak memory of a process of its
    own in 10^6 bytes, None where not run.
    """

    data: str
    name: str
    first: float
    warm: tuple[float, ...]
    near: Neighbourhood
    peak_mb: float | None = None

    @property
    def seconds(self) -> tuple[float, ...]:
        """What counts: the warm runs, or the first where there was no other."""
        return self.warm or (self.first,)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def recall(self) -> float:
        return self.near.recall[15]


def chosen(keys: Sequence[str]) -> list[Contender]:
    """The contenders of these keys that are installed, in the order of the table.

    One line for each that is not.
    """
    wanted = [contender for key, contender in CONTENDERS.items() if key in keys]
    for contender in wanted:
        if not contender.installed:
            say(f"skipped: {contender.name} (pip install {contender.package})")
    return [contender for contender in wanted if contender.installed]


def warm_runs(first: float, repeats: int) -> int:
    """How many runs follow a first one of so many seconds.

    `repeats`, one for slow methods, none for the slowest.
    """
    if first > SLOWEST_SECONDS:
        return 0
    return 1 if first > SLOW_SECONDS else repeats


def race(
    contenders: Sequence[Contender], data: Dataset, repeats: int, folder: Path | None
) -> list[Race]:
    """Each method once to compile, then all in turn, in this process.

    Then each in a process of its own.

    Without a `folder` to load the set from, memory is not measured.
    """
    first: dict[str, float] = {}
    last: dict[str, Float[np.ndarray, "points 3"]] = {}
    warm: dict[str, list[float]] = {contender.key: [] for contender in contenders}
    for contender in contenders:
        first[contender.key], last[contender.key] = _timed(contender, data)
    for repeat in range(repeats):
        for contender in contenders:
            if repeat < warm_runs(first[contender.key], repeats):
                seconds, last[contender.key] = _timed(contender, data)
                warm[contender.key].append(seconds)
    return [
        Race(
            data.name,
            contender.name,
            first[contender.key],
            tuple(warm[contender.key]),
            neighbourhood(data.embeddings, last[contender.key], SIZES, queries=QUERIES),
            None if folder is None else peak_alone(contender, data.name, folder),
        )
        for contender in contenders
    ]


def peak_alone(contender: Contender, name: str, folder: Path) -> float:
    """Peak memory (10^6 bytes) of a fresh process that runs one method once on one set."""
    say(f"memory: {contender.name} on {name}, in a process of its own")
    printed = run_apart("peer_methods", contender.key, name, str(folder.resolve()))
    return float(printed.splitlines()[-1])


def _timed(contender: Contender, data: Dataset) -> tuple[float, Float[np.ndarray, "points 3"]]:
    start = time.perf_counter()
    direction = contender.method(data.embeddings)
    seconds = time.perf_counter() - start
    say(f"time: {contender.name} on {data.name}, {seconds:.2f} s")
    return seconds, direction


def race_table(races: Sequence[Race]) -> str:
    """One row per set and method."""
    header = [
        "set",
        "method",
        "recall@15",
        "recall@50",
        "trustworthiness@15",
        "median s",
        "range s",
        "timed runs",
    ]
    rows = [
        [
            race.data,
            race.name,
            *(f"{race.near.recall[k]:.3f}" for k in SIZES),
            f"{race.near.trustworthiness[15]:.3f}",
            f"{race.median:.2f}",
            f"{min(race.seconds):.2f}..{max(race.seconds):.2f}",
            f"{len(race.warm)} warm" if race.warm else "the first",
            f"{race.first:.1f}",
            "–" if race.peak_mb is None else f"{race.peak_mb:.0f}",
        ]
        for race in races
    ]
    return markdown_table([*header, "first run s", "peak MB"], rows)


def race_checks(races: Sequence[Race]) -> list[Check]:
    """Recall beside the best peer's, and time beside the fastest peer's of those whose recall comes
    near it.

    Only on sets that have targets, and where we and at least one peer were measured.
    """
    checks = []
    for data, bound in RECALL_RATIOS.items():
        mine = [race for race in races if race.data == data and race.name == OURS.name]
        peers = [race for race in races if race.data == data and race.name != OURS.name]
        if not mine or not peers:
            continue
        best = max(peers, key=lambda race: race.recall)
        fastest = min(
            (race for race in peers if race.recall >= NEAR_BEST * best.recall),
            key=lambda race: race.median,
        )
        time_target = (
            f"{data}: seconds / those of {fastest.name}, the fastest peer with 80 % of the best"
            " one's recall"
        )
        checks += [
            Check(
                f"{data}: recall@15 / that of {best.name}, the best peer",
                mine[0].recall / best.recall,
                ">=",
                bound,
            ),
            Check(time_target, mine[0].median / fastest.median, "<=", 1.0),
        ]
    return checks


def draw(races: Sequence[Race], output: Path) -> None:
    """Recall@15 against seconds, one panel per set.

    A dashed line at the recall that the target asks for.
    """
    sets = list(dict.fromkeys(race.data for race in races))
    by_set = [[race for race in races if race.data == data] for data in sets]
    size = (5.5 * len(sets), 4.4)
    figure, axes = plt.subplots(
        1, len(sets), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    for panel, found in zip(axes[0], by_set, strict=True):
        _panel(panel, found)
    axes[0, 0].set_ylabel("recall@15")
    top = [race.recall for race in races] + [
        bound for bound in map(_needed, by_set) if bound is not None
    ]
    axes[0, 0].set_ylim(0, 1.15 * max(top))
    figure.savefig(output, dpi=150)
    plt.close(figure)


def _panel(panel: Axes, races: Sequence[Race]) -> None:
    medians = [race.median for race in races]
    panel.set(xscale="log", title=races[0].data, xlabel="seconds, neighbour search included")
    panel.set_xlim(min(medians) / 2, max(medians) * 2)
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_locator(NullLocator())
    middle = (min(medians) * max(medians)) ** 0.5
    for race in races:
        mine = race.name == OURS.name
        colour = "tab:red" if mine else "tab:blue"
        panel.plot(
            [min(race.seconds), max(race.seconds)], [race.recall] * 2, color=colour, alpha=0.5
        )
        panel.plot(race.median, race.recall, "o", color=colour, markersize=9 if mine else 6)
        right = race.median <= middle
        panel.annotate(
            race.name.replace("`", ""),
            (race.median, race.recall),
            (
                3 if right else -3,
                6 if mine else 4,
            ),  # above the range, which is a line through the point
            textcoords="offset points",
            ha="left" if right else "right",
            va="bottom",
            fontsize=9,
            color=colour,
        )
    needed = _needed(races)
    if needed is not None:
        panel.axhline(needed, color="0.5", linestyle="--", linewidth=1)
        words = f"target: {RECALL_RATIOS[races[0].data]:g} x best peer"
        place = panel.get_yaxis_transform()
        panel.text(
            0.99, needed, words, transform=place, ha="right", va="bottom", fontsize=8, color="0.4"
        )
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)


def _needed(races: Sequence[Race]) -> float | None:
    """The recall@15 that the target of one set asks of us; None without a target or a peer."""
    bound = RECALL_RATIOS.get(races[0].data)
    peers = [race.recall for race in races if race.name != OURS.name]
    return None if bound is None or not peers else bound * max(peers)


def build_report(
    races: Sequence[Race], header: str, repeats: int, skipped: Sequence[str], figure: str
) -> str:
    """The report in Markdown."""
    missing = f"\n- not installed, skipped: {', '.join(skipped)}" if skipped else ""
    return f"""# Peers, side by side

{header}{missing}
- peers: documented defaults, cosine, 15 neighbours where a library has such a number; 3-D layouts
  are centred and normalised

{target_section(race_checks(races))}

## Recall, time and memory

One process, neighbour search included: each method runs once to compile ("first run", in this
order), then all in turn,
{repeats} times. A method whose first run took more than {SLOW_SECONDS:.0f} s runs once more; after
more than
{SLOWEST_SECONDS:.0f} s it does not, and its first run counts. Recall and trustworthiness are those
of the last run: up
to {QUERIES} points, chosen at random, ask for their neighbours among all. Peak memory is that of a
fresh process that runs the method once.

{race_table(races)}

![recall@15 against seconds]({figure})"""


def parser() -> argparse.ArgumentParser:
    cli = parser_of("peers", __doc__, "Markdown; PNG beside it")
    add_data(cli)
    add_sets(cli, DEFAULT_SETS)
    add_counts(cli, {"repeats": (3, "timed runs per method")})
    cli.add_argument(
        "--methods",
        nargs="+",
        default=list(CONTENDERS),
        choices=list(CONTENDERS),
        metavar="NAME",
        help=f"default: {' '.join(CONTENDERS)}",
    )
    cli.add_argument(
        "--no-memory", action="store_true", help="leave the processes out that measure peak memory"
    )
    return cli


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser()
    options = cli.parse_args(arguments)
    contenders = chosen(options.methods)
    if not contenders:
        cli.error("none of the methods chosen with --methods is installed.")
    datasets = loaded(cli, options.sets, options.data)
    header = machine(PACKAGES)
    folder = None if options.no_memory else options.data
    races = [
        found for data in datasets for found in race(contenders, data, options.repeats, folder)
    ]
    skipped = [CONTENDERS[key].name for key in options.methods if CONTENDERS[key] not in contenders]
    figure = options.output.with_suffix(".png")
    publish(build_report(races, header, options.repeats, skipped, figure.name), options.output)
    draw(races, figure)
    return 0 if all(check.passed for check in race_checks(races)) else 1


if __name__ == "__main__":
    sys.exit(main())
