"""Recall at equal work: the cascade beside inverted lists, a graph, and the harmonic navigator."""

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Float32

from benchmarks.report import Check, markdown_table, say
from benchmarks.retrieval_sets import Asked
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.retrieval.cascade import Cascade
from sphere_ebm.retrieval.navigator.config import NavigatorConfig
from sphere_ebm.retrieval.navigator.guides import CellGuide, FieldGuide
from sphere_ebm.retrieval.navigator.search import Navigator
from sphere_ebm.retrieval.pyramid import MapPyramid
from sphere_ebm.retrieval.recall import RecallCurve, found_share
from sphere_ebm.retrieval.visitors import with_visitors

WORKS = (0.03, 0.048, 0.07, 0.096)
TARGETS = {0.048: 0.86, 0.07: 0.92, 0.096: 0.95}
SHARES = (0.01, 0.02, 0.05, 0.1)
AHEAD = 0.05
LISTS = {"wordnet-10k": (50, 100, 150, 200, 300), "texts-60k": (250, 500, 1000, 1500)}
PROBED = (1, 2, 3, 4, 6, 8, 11, 15, 20, 27, 36, 48, 64, 90, 128)
MILLISECONDS = {10_000: 0.3, 100_000: 1.0}
SETUP_SECONDS = 2.0
MILLION_SECONDS = 10.0
WIDTH = 256
Curve = list[tuple[float, float]]
"""Work and recall, work rising."""


def recall_section(asked: Asked) -> tuple[str, list[Check]]:
    """The tables of one set, in Markdown, and its targets."""
    pyramid = MapPyramid.build(asked.placement)
    plain = Cascade.build(pyramid)
    without = [_asked(plain, asked, work) for work in WORKS]
    begun = time.process_time()
    cascade = Cascade.build(with_visitors(pyramid, asked.unit))
    spent = time.process_time() - begun
    ours = [_asked(cascade, asked, work) for work in WORKS]
    say(f"{asked.name}: cascade {ours}, without visitors {without}")
    lists = {count: _inverted_lists(asked, count) for count in LISTS[asked.name]}
    say(f"{asked.name}: inverted lists")
    rows = [
        ["cascade over cells, with visitors", *_told(ours)],
        ["cascade over cells, without", *_told(without)],
    ]
    for count, curve in lists.items():
        rows.append([f"faiss IVF, {count} lists", *(f"{_at(curve, w):.3f}" for w, _ in ours)])
    best = [max(_at(curve, work) for curve in lists.values()) for work, _ in ours]
    rows.append(["faiss IVF, best number of lists", *(f"{recall:.3f}" for recall in best)])
    table = markdown_table(["recall@10 at equal work", *(f"{w:.1%}" for w in WORKS)], rows)
    guests = len(cascade.lists.points) - len(asked)
    text = f"{table}\n\n{guests} visitors, found in {spent:.1f} processor seconds with compilation."
    text += f"\n\n{_graph_row(asked)}\n\n{_tried(asked, plain, without)}"
    least = min(recall - other for (_, recall), other in zip(ours, best, strict=True))
    if asked.name != "wordnet-10k":
        text += "\n\n" + _windows(asked)
        return text, [Check(f"{asked.name}: least lead over IVF at equal work", least, ">=", 0)]
    checks = [
        Check(f"{asked.name}: recall@10 at {work:.1%} of work", recall, ">=", TARGETS[work])
        for work, (_, recall) in zip(WORKS, ours, strict=True)
        if work in TARGETS
    ]
    checks.append(Check("least lead over IVF at equal work, 3 to 10 %", least, ">=", AHEAD))
    table, lead = _navigators(asked, cascade)
    told = "least lead over the harmonic navigator at equal shares returned"
    checks.append(Check(told, lead, ">=", 0))
    return f"{text}\n\n{table}\n\n{_calibrated(asked, cascade)}", checks


def _told(curve: Curve) -> list[str]:
    """Recall at work, in words."""
    return [f"{recall:.3f} at {work:.2%}" for work, recall in curve]


def _asked(cascade: Cascade, asked: Asked, work: float) -> tuple[float, float]:
    """Mean work and recall."""
    reached = cascade.find(asked.queries, work=work)
    return float(reached.work.mean()), float(found_share(asked.truth, reached.points).mean())


def _inverted_lists(asked: Asked, count: int) -> Curve:
    """faiss IVF: centres and the points of the lists that are probed."""
    import faiss

    quantizer = faiss.IndexFlatIP(asked.unit.shape[1])
    index = faiss.IndexIVFFlat(quantizer, asked.unit.shape[1], count, faiss.METRIC_INNER_PRODUCT)
    index.train(asked.unit)
    index.add(asked.unit)
    sizes = np.array([index.invlists.list_size(i) for i in range(count)])
    curve = []
    for probed in (n for n in PROBED if n <= count):
        index.nprobe = probed
        found = index.search(asked.queries, 10)[1]
        scanned = sizes[quantizer.search(asked.queries, probed)[1]].sum(axis=1)
        work = float((count + scanned).mean() / len(asked))
        curve.append((work, float(found_share(asked.truth, found).mean())))
    return curve


def _at(curve: Curve, work: float) -> float:
    """Recall at a work, by a straight line; nan where the curve begins later."""
    works, recalls = zip(*curve, strict=True)
    return float(np.interp(work, works, recalls, left=0.0))


def _graph_row(asked: Asked) -> str:
    """faiss HNSW and what it compares."""
    import faiss

    index = faiss.IndexHNSWFlat(asked.unit.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.add(asked.unit)
    told = []
    for depth in (16, 64):
        index.hnsw.efSearch = depth
        faiss.cvar.hnsw_stats.reset()
        found = index.search(asked.queries, 10)[1]
        compared = faiss.cvar.hnsw_stats.ndis / len(asked.queries) / len(asked)
        told.append(
            f"{found_share(asked.truth, found).mean():.3f} at {compared:.2%} (depth {depth})"
        )
    return f"faiss HNSW with 16 links, points compared: {', '.join(told)}."


def _navigators(asked: Asked, cascade: Cascade) -> tuple[str, float]:
    """Navigators beside a cascade that returns as many points; its least lead over the field's."""
    made = Navigator.build(asked.placement, NavigatorConfig(where="field", enough=1.0))
    theirs = _navigated(made, asked)
    ours = [_asked(cascade, asked, _work_returning(cascade, share)) for share in SHARES]
    cells = Navigator.build(asked.placement, NavigatorConfig(enough=1.0))
    by_cells = _navigated(cells, asked)
    say(f"{asked.name}: navigator by field {theirs}, by cells {by_cells}")
    assert isinstance(made.guide, FieldGuide)
    landmarks = len(made.guide.landmarks) / len(asked)
    assert isinstance(cells.guide, CellGuide)
    walk = cells.guide.cascade
    looking = walk.find(asked.queries, work=cells.config.work).work.mean()
    compared = float(looking - walk.plan(cells.config.work).returned / len(walk.pyramid))
    rows = [
        ["cascade", *_told(ours)],
        ["navigator by cells", *_told([(s + compared, r) for s, r in by_cells])],
        ["navigator by the field", *_told([(s + landmarks, r) for s, r in theirs])],
    ]
    header = ["recall@10 at work, by points returned", *(f"{share:.0%}" for share in SHARES)]
    lead = min(recall - other for (_, recall), (_, other) in zip(ours, theirs, strict=True))
    return markdown_table(header, rows), lead


def _navigated(made: Navigator, asked: Asked) -> Curve:
    """Shares returned, and recall."""
    found = []
    for share in SHARES:
        points = made.with_share(share).find(asked.queries).points
        found.append((share, float(found_share(asked.truth, points).mean())))
    return found


def _work_returning(cascade: Cascade, share: float) -> float:
    """The work whose plan returns this share of the points."""
    wanted = share * len(cascade.pyramid)
    works = np.linspace(0.002, 1, 4000)
    works = works[works * len(cascade.pyramid) > 40]
    returned = np.array([cascade.plan(float(work)).returned for work in works])
    return float(works[np.argmin(np.abs(returned - wanted))])


def _calibrated(asked: Asked, cascade: Cascade) -> str:
    """What `RecallCurve` promises from points of the map, and what held-out queries find."""
    curve = RecallCurve.measure(asked.placement, visitors=True)
    rows = []
    for wanted in (0.8, 0.9, 0.95):
        work = curve.work_for(wanted)
        spent, recall = _asked(cascade, asked, work)
        error = float(np.interp(work, curve.work, curve.error))
        rows.append([f"{wanted:.2f} ± {error:.3f}", f"{spent:.2%}", f"{recall:.3f}"])
    table = markdown_table(["recall wanted", "work", "recall of held-out queries"], rows)
    return (
        f"Widths from a wanted recall, calibrated on {curve.trials} points of the map:\n\n{table}"
    )


def _windows(asked: Asked) -> str:
    """The same cascade over windows of documents in place of cells."""
    windows = Cascade.build(MapPyramid.over_time(asked.placement, asked.document))
    told = [_asked(windows, asked, work) for work in WORKS]
    found = ", ".join(f"{recall:.3f} at {work:.2%}" for work, recall in told)
    return f"The same cascade over windows of documents (4, 16, 64 ... patches): {found}."


def _tried(asked: Asked, cascade: Cascade, ours: Curve) -> str:
    """Other ways down the same pyramid at the same works: none is kept unless it finds more."""
    ways: dict[str, Callable[[float], tuple[float, float]]] = {
        "means as they are, not their directions": lambda work: _walk(asked, cascade, work, 0.0),
        "parents by the weighted mean of their children": lambda work: _walk(
            asked, cascade, work, 1.0, weighted=True
        ),
        "best first, whatever the level, down to 16 points": lambda work: _best_first(
            asked, cascade, work
        ),
    }
    rows = [["cascade", *(f"{recall:.3f} at {work:.2%}" for work, recall in ours)]]
    for name, way in ways.items():
        rows.append([name, *("{1:.3f} at {0:.2%}".format(*way(work)) for work in WORKS)])
        say(f"{asked.name}: {rows[-1]}")
    return markdown_table(["tried", *(f"{work:.1%}" for work in WORKS)], rows)


def _scores(
    asked: Asked, cascade: Cascade, power: float
) -> list[Float32[np.ndarray, "queries nodes"]]:
    """Products with the means of every level, over their norms to the power."""
    found = []
    for level in cascade.pyramid.levels:
        norm = np.linalg.norm(level.embedding, axis=1)
        found.append(asked.queries @ level.embedding.T / np.maximum(norm, 1e-12) ** power)
    return found


def _walk(
    asked: Asked, cascade: Cascade, work: float, power: float, weighted: bool = False
) -> tuple[float, float]:
    """The plan's walk with other scores.

    Weighted: a node is judged by the mean of its children's scores, weighted by their softmax at
    .1. They are compared for that, and count: the walk begins one level higher and keeps a quarter
    as many nodes, so that it costs as much.
    """
    plan = cascade.plan(work)
    levels = cascade.pyramid.levels
    scores = _scores(asked, cascade, power)
    judged = [_by_children(scores[i + 1], levels[i].below) for i in range(len(levels) - 1)]
    first = plan.first - weighted
    widths = plan.widths
    if weighted:
        widths = (*(max(1, width // 4) for width in widths), widths[-1])
    rank = np.empty(len(asked), int)
    rank[cascade.pyramid.order] = np.arange(len(asked))
    recalls = []
    spent = []
    for query in range(len(asked.queries)):
        nodes = np.arange(len(levels[first]))
        paid = 0 if weighted else len(nodes)
        for place, width in enumerate(widths, first):
            if weighted:
                paid += int(np.diff(levels[place].below)[nodes].sum())
            score = (judged if weighted else scores)[place][query, nodes]
            kept = nodes[np.argsort(-score, kind="stable")[:width]]
            nodes = np.concatenate([np.arange(*levels[place].below[n : n + 2]) for n in kept])
            paid += 0 if weighted else len(nodes)
        nodes = nodes[np.argsort(-scores[-1][query, nodes], kind="stable")]
        places = np.concatenate([np.arange(*levels[-1].first[n : n + 2]) for n in nodes])
        places = places[: max(1, round(work * len(asked)) - paid)]
        recalls.append(np.isin(rank[asked.truth[query]], places).mean())
        spent.append((paid + len(places)) / len(asked))
    return float(np.mean(spent)), float(np.mean(recalls))


def _by_children(
    score: Float32[np.ndarray, "queries children"], below: np.ndarray
) -> Float[np.ndarray, "queries nodes"]:
    weight = np.exp((score - score.max(axis=1, keepdims=True)) / 0.1)
    sums = np.add.reduceat(weight * score, below[:-1], axis=1)
    return sums / np.add.reduceat(weight, below[:-1], axis=1)


def _best_first(asked: Asked, cascade: Cascade, work: float) -> tuple[float, float]:
    """Always the best node of all levels next, .05 a level in favour of wide ones.

    It is split while it holds more than 16 points, and else returned: an adaptive cascade.
    """
    import heapq

    levels = cascade.pyramid.levels
    scores = _scores(asked, cascade, 1.0)
    rank = np.empty(len(asked), int)
    rank[cascade.pyramid.order] = np.arange(len(asked))
    recalls = []
    for query in range(len(asked.queries)):
        left = round(work * len(asked)) - len(levels[2])
        heap = [(-float(scores[2][query, n]), 2, n) for n in range(len(levels[2]))]
        heapq.heapify(heap)
        found = 0
        true = np.sort(rank[asked.truth[query]])
        while heap and left > 0:
            _, place, node = heapq.heappop(heap)
            begin, end = levels[place].first[node : node + 2]
            if end - begin <= 16 or place == len(levels) - 1:
                end = min(end, begin + left)
                found += np.searchsorted(true, end) - np.searchsorted(true, begin)
                left -= end - begin
                continue
            for child in range(*levels[place].below[node : node + 2]):
                score = float(scores[place + 1][query, child])
                heapq.heappush(heap, (0.05 * (place - 1) - score, place + 1, child))
                left -= 1
        recalls.append(found / len(true))
    return work, float(np.mean(recalls))


def speed_section(sets: Sequence[Asked]) -> tuple[str, list[Check]]:
    """Processor time of queries and of set-up; points at random for sizes that have no set here."""
    rows = []
    checks = []
    for asked in sets[:1]:
        setup, taken = _timed(lambda a=asked: MapPyramid.build(a.placement), asked.queries)
        rows.append([asked.name, f"{len(asked):,}", f"{setup:.2f} s", f"{taken:.3f} ms"])
        learned, guided = _timed(
            lambda a=asked: with_visitors(MapPyramid.build(a.placement), a.unit), asked.queries
        )
        name = f"{asked.name}, finding visitors anew"
        rows.append([name, f"{len(asked):,}", f"{learned:.2f} s", f"{guided:.3f} ms"])
        checks += _speed_checks(10_000, setup, max(taken, guided))
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((512, WIDTH), dtype=np.float32)
    setups = {}
    for points in (100_000, 1_000_000):
        direction = unit_rows(rng.standard_normal((points, 3), dtype=np.float32))
        rows_of = rng.standard_normal((points, WIDTH), dtype=np.float32)
        radius = np.ones(points, np.float32)
        work = 0.03 if points == 100_000 else 0.003
        setups[points], taken = _timed(
            lambda d=direction, r=radius, e=rows_of: MapPyramid.of_points(d, r, e), queries, work
        )
        rows.append(["at random", f"{points:,}", f"{setups[points]:.2f} s", f"{taken:.3f} ms"])
        if points == 100_000:
            checks += _speed_checks(points, setups[points], taken)
        say(f"speed: {rows[-1]}")
    checks.append(Check("pyramid of a million points", setups[1_000_000], "<=", 10, "s"))
    table = markdown_table(["set", "points", "set-up", "a query, batches of 64"], rows)
    return table, checks


def _timed(
    build: Callable[[], MapPyramid],
    queries: Float32[np.ndarray, "queries width"],
    work: float = 0.048,
) -> tuple[float, float]:
    """Processor seconds of set-up, and processor milliseconds a query once compiled: medians."""
    Cascade.build(build())
    begun = time.process_time()
    cascade = Cascade.build(build())
    setup = time.process_time() - begun
    cascade.find(queries[:64], work=work)
    taken = []
    for start in range(0, len(queries) - 63, 64):
        begun = time.process_time()
        cascade.find(queries[start : start + 64], work=work)
        taken.append((time.process_time() - begun) / 64 * 1e3)
    return setup, float(np.median(taken)) if taken else math.nan


def _speed_checks(points: int, setup: float, taken: float) -> list[Check]:
    return [
        Check(f"a query at {points:,} points", taken, "<=", MILLISECONDS[points], "ms"),
        Check(f"set-up at {points:,} points", setup, "<=", SETUP_SECONDS, "s"),
    ]
