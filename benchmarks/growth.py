"""Maps that grow: each document in turn as the newcomer, and all of them one after another.

`python -m benchmarks.growth --data DIR`.

Exit code 0 when every target is met, 1 when one is missed, 2 for wrong usage.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.arguments import add_data, parser_of
from benchmarks.report import (
    Check,
    finish,
    machine,
    markdown_table,
    mean,
    say,
    target_section,
)
from sphere_ebm import FrozenMap, Placement, PlacementConfig, place, read_shard
from sphere_ebm.figures.colours import STYLE
from sphere_ebm.figures.map import save_figure
from sphere_ebm.geometry.frames import robust_frame
from sphere_ebm.graph.index import nearest_neighbours
from sphere_ebm.maps.anchors import STRENGTH
from sphere_ebm.maps.growth import Drift, degrees_moved, grow

K = 15
STRENGTHS = (0.03, 0.1, STRENGTH, 0.5, 1.0, 3.0)
"""λ of the frontier."""
PACKAGES = ("sphere-ebm", "jax", "thrml", "numpy")
ALONE = PlacementConfig(replicas=0)
"""Replicas tell how sure directions are, and change none."""
SHARE_TARGET = 0.88
SHARE_REACH = 0.93
MOVED_TARGET = 2.0
FAR_TARGET = 5.0
LOST_TARGET = 0.003
CHAIN_TARGET = 0.97


class Document(NamedTuple):
    """One document: its name and its points."""

    name: str
    embeddings: Float32[np.ndarray, "points width"]
    prominence: Float32[np.ndarray, " points"]


@dataclass(frozen=True)
class Outcome:
    """One way of adding a document: recall@15 and how far the old points moved, in degrees.

    `new` and `old` are over all points of the map, `among_old` counts the old points' neighbours
    among each other alone, as on the parent.
    """

    how: str
    document: str
    new: float
    old: float
    among_old: float
    moved: Drift


def nearest(rows: Float[np.ndarray, "points width"]) -> Int[np.ndarray, "points k"]:
    """The K nearest by angle, without the point itself."""
    return nearest_neighbours(rows.astype(np.float32), K, search="exact").index


def recall(
    wanted: Int[np.ndarray, "points k"], direction: Float[np.ndarray, "points 3"]
) -> Float64[np.ndarray, " points"]:
    """Share of each point's K nearest that are its K nearest on the map."""
    found = nearest(direction)
    return (wanted[:, :, None] == found[:, None, :]).any(axis=2).mean(axis=1)


def joined_rows(
    documents: Sequence[Document],
) -> tuple[Float32[np.ndarray, "points width"], Float32[np.ndarray, " points"]]:
    """Embeddings and prominence of several documents."""
    return (
        np.concatenate([document.embeddings for document in documents]),
        np.concatenate([document.prominence for document in documents]),
    )


def added(old: Sequence[Document], new: Document) -> list[Outcome]:
    """`new` added to a map of `old`: joined, updated with every λ, and all fitted again."""
    parent = place(*joined_rows(old), ALONE)
    embeddings, prominence = joined_rows([*old, new])
    wanted = nearest(embeddings)
    among = nearest(embeddings[: len(parent)])
    is_old = np.arange(len(embeddings)) < len(parent)

    def judged(how: str, direction: Float32[np.ndarray, "points 3"], frame: Any = None) -> Outcome:
        found = recall(wanted, direction)
        held = direction[is_old] if frame is None else direction[is_old] @ frame
        moved = Drift.of(degrees_moved(parent.direction, held.astype(np.float32)))
        among_old = float(recall(among, direction[is_old]).mean())
        outcome = Outcome(how, new.name, *_means(found, is_old), among_old, moved)
        say(f"growth: {new.name}, {how}: {outcome.new:.3f}, moved {moved.median:.2f} degrees")
        return outcome

    fresh = place(embeddings, prominence, ALONE).direction
    frame = robust_frame(parent.direction, fresh[is_old])
    joined = FrozenMap(parent).place(new.embeddings, new.prominence).direction
    before = float(recall(among, parent.direction).mean())
    outcomes = [
        Outcome("parent", new.name, float("nan"), float("nan"), before, Drift(0.0, 0.0)),
        judged("fitted again", fresh, frame),
        judged("joined", np.concatenate([parent.direction, joined])),
    ]
    for strength in STRENGTHS:
        grown = grow(parent, new.embeddings, new.prominence, strength=strength)
        outcomes.append(judged(f"λ = {strength:g}", grown.direction))
    return outcomes


def _means(
    found: Float64[np.ndarray, " points"], is_old: Bool[np.ndarray, " points"]
) -> tuple[float, float]:
    return float(found[~is_old].mean()), float(found[is_old].mean())


class Link(NamedTuple):
    """One step of a chain of updates.

    `share` is the recall of the map over that of one fit of the same points, `moved` how far the
    first document's points are from where they were first, `step` from where they were before.
    """

    document: str
    points: int
    recall: float
    share: float
    moved: Drift
    step: Drift


def chained(documents: Sequence[Document]) -> list[Link]:
    """One document after another added to a map that begins with the first."""
    grown: Placement = place(*joined_rows(documents[:1]), ALONE)
    first = grown.direction
    links = []
    for count in range(2, len(documents) + 1):
        new = documents[count - 1]
        before = grown.direction[: len(first)]
        grown = grow(grown, new.embeddings, new.prominence)
        embeddings, prominence = joined_rows(documents[:count])
        wanted = nearest(embeddings)
        whole = float(recall(wanted, place(embeddings, prominence, ALONE).direction).mean())
        own = float(recall(wanted, grown.direction).mean())
        here = grown.direction[: len(first)]
        links.append(
            Link(
                new.name,
                len(grown),
                own,
                own / whole,
                Drift.of(degrees_moved(first, here)),
                Drift.of(degrees_moved(before, here)),
            )
        )
        say(f"growth: {count} documents, recall {own:.3f}, {own / whole:.3f} of one fit")
    return links


def shares(outcomes: Sequence[Outcome], how: str) -> list[float]:
    """Recall of the new points over that of a fit of all, document by document."""
    full = {o.document: o.new for o in outcomes if o.how == "fitted again"}
    return [o.new / full[o.document] for o in outcomes if o.how == how]


def of(outcomes: Sequence[Outcome], how: str, value: Callable[[Outcome], float]) -> list[float]:
    """One number of every document."""
    return [value(o) for o in outcomes if o.how == how]


def frontier_table(outcomes: Sequence[Outcome]) -> str:
    """Means over the documents, one row for each way."""
    rows = []
    for how in dict.fromkeys(o.how for o in outcomes):
        new = mean(of(outcomes, how, lambda o: o.new))
        rows.append(
            [
                how + (" (default)" if how == f"λ = {STRENGTH:g}" else ""),
                "–" if how == "parent" else f"{new:.3f}",
                "–" if how == "parent" else f"{mean(shares(outcomes, how)):.3f}",
                "–" if how == "parent" else f"{mean(of(outcomes, how, lambda o: o.old)):.3f}",
                f"{mean(of(outcomes, how, lambda o: o.among_old)):.3f}",
                f"{mean(of(outcomes, how, lambda o: o.moved.median)):.2f}°",
                f"{mean(of(outcomes, how, lambda o: o.moved.p90)):.2f}°",
            ]
        )
    return markdown_table(
        [
            "how",
            "recall@15, new",
            "of a full fit's",
            "recall@15, old",
            "old among old",
            "old moved, median",
            "p90",
        ],
        rows,
    )


def document_table(outcomes: Sequence[Outcome], how: str) -> str:
    """One row for each newcomer."""
    joined = shares(outcomes, "joined")
    rows = [
        [
            o.document,
            f"{o.new:.3f}",
            f"{share:.3f}",
            f"{before:.3f}",
            f"{o.moved.median:.2f}°",
            f"{o.moved.p90:.2f}°",
        ]
        for o, share, before in zip(
            [o for o in outcomes if o.how == how], shares(outcomes, how), joined, strict=True
        )
    ]
    header = ["newcomer", "recall@15, new", "of a full fit's", "joined", "old moved", "p90"]
    return markdown_table(header, rows)


def chain_table(links: Sequence[Link]) -> str:
    """One row for each document that was added."""
    rows = [
        [
            link.document,
            f"{link.points}",
            f"{link.recall:.3f}",
            f"{link.share:.3f}",
            f"{link.step.median:.2f}°, {link.step.p90:.2f}°",
            f"{link.moved.median:.2f}°, {link.moved.p90:.2f}°",
        ]
        for link in links
    ]
    moved = "first document moved in this step: median, p90"
    header = ["added", "points", "recall@15", "of one fit's", moved, "since it was fitted"]
    return markdown_table(header, rows)


def checks_of(outcomes: Sequence[Outcome], links: Sequence[Link]) -> list[Check]:
    """The targets, at the default λ."""
    how = f"λ = {STRENGTH:g}"
    lost = mean(of(outcomes, "parent", lambda o: o.among_old)) - mean(
        of(outcomes, how, lambda o: o.among_old)
    )
    share = mean(shares(outcomes, how))
    checks = [
        Check("recall of new points over a full fit's", share, ">=", SHARE_TARGET),
        Check("the same, reached for", share, ">=", SHARE_REACH),
    ]
    medians = of(outcomes, how, lambda o: o.moved.median)
    tails = of(outcomes, how, lambda o: o.moved.p90)
    checks += [
        Check("old points moved, median, mean", mean(medians), "<=", MOVED_TARGET, "°"),
        Check("old points moved, median, worst document", max(medians), "<=", MOVED_TARGET, "°"),
        Check("old points moved, p90, mean", mean(tails), "<=", FAR_TARGET, "°"),
        Check("old points moved, p90, worst document", max(tails), "<=", FAR_TARGET, "°"),
        Check("recall that old points lose among each other", lost, "<=", LOST_TARGET),
    ]
    if links:
        last = links[-1]
        text = f"{len(links) + 1} documents one after another: recall over one fit's"
        checks.append(Check(text, last.share, ">=", CHAIN_TARGET))
    return checks


def frontier_figure(outcomes: Sequence[Outcome]) -> Figure:
    """What new points keep against how far old ones move: each document thin, their mean thick."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.4), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        ways = [f"λ = {strength:g}" for strength in STRENGTHS]
        moved = np.asarray([of(outcomes, how, lambda o: o.moved.median) for how in ways])
        kept = np.asarray([shares(outcomes, how) for how in ways])
        axes.plot(moved, kept, color="0.75", linewidth=0.8)
        axes.plot(moved.mean(axis=1), kept.mean(axis=1), "o-", color="C0", label="update")
        for how, x, y in zip(ways, moved.mean(axis=1), kept.mean(axis=1), strict=True):
            axes.annotate(how, (x, y), (4, -11), textcoords="offset points", fontsize=8)
        joined = mean(shares(outcomes, "joined"))
        axes.axhline(joined, color="C1", linestyle="--", label="join: old points do not move")
        fresh = mean(of(outcomes, "fitted again", lambda o: o.moved.median))
        axes.axhline(
            1, color="C2", linestyle=":", label=f"fit again: old points move {fresh:.0f}° (median)"
        )
        axes.set_xscale("log")
        axes.set_xlabel("how far old points moved, median, degrees")
        axes.set_ylabel("recall@15 of new points / a full fit's")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 0.15), frameon=False)
    return figure


def report(header: str, outcomes: Sequence[Outcome], links: Sequence[Link]) -> str:
    """Everything that was measured, as Markdown."""
    checks = checks_of(outcomes, links)
    sections = [
        "# Maps that grow",
        header,
        "## Each document as the newcomer, means",
        frontier_table(outcomes),
        f"## Each document as the newcomer, λ = {STRENGTH:g}",
        document_table(outcomes, f"λ = {STRENGTH:g}"),
    ]
    if links:
        sections += ["## One document after another", chain_table(links)]
    return "\n\n".join([*sections, target_section(checks)])


def read_documents(folder: Path) -> list[Document]:
    """Every shard of a folder, by name."""
    tables = {path.stem: read_shard(path) for path in sorted(folder.glob("*.safetensors"))}
    return [Document(name, table.embeddings, table.prominence) for name, table in tables.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser_of("growth", __doc__)
    add_data(cli, "two shards or more, *.safetensors, each a document")
    cli.add_argument(
        "--newcomers", nargs="+", metavar="NAME", help="documents to add (default: each in turn)"
    )
    cli.add_argument("--no-chain", action="store_true", help="leave the chain of updates out")
    options = cli.parse_args(arguments)
    documents = read_documents(options.data)
    names = [document.name for document in documents]
    newcomers = options.newcomers or names
    unknown = sorted(set(newcomers) - set(names))
    if len(documents) < 2 or unknown:
        cli.error(f"--data must hold two documents or more, and {unknown or 'newcomers'} of them.")
    header = machine(PACKAGES)
    outcomes = []
    for new in (document for document in documents if document.name in newcomers):
        outcomes += added([each for each in documents if each is not new], new)
    links = [] if options.no_chain else chained(documents)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    save_figure(frontier_figure(outcomes), options.output.with_suffix(".png"))
    return finish(report(header, outcomes, links), options.output, checks_of(outcomes, links))


if __name__ == "__main__":
    sys.exit(main())
