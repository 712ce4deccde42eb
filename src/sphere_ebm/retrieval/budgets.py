"""What to show of a map for a query when a reader has room for so much and no more.

Points are patches in the order of their documents; each has a relevance and a size in units of the
caller: bytes, tokens, or 1 for points. `choose` spends a total on *pieces*: a piece begins with the
most relevant patch that is left, its seed, and takes in patches before and after it, the more
relevant side first, until it has its size. With variable sizes that is between `smallest` and
`largest` by the seed's relevance, with equal ones it is fixed. Pieces that touch are one passage.

`allocate` divides a total over the map instead of over a list: a cell is split while relevance
varies within it and it has more to spend than one piece, and its children share its budget in
proportion to their relevance. Given to `choose`, its regions keep any one of them from taking all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import ArrayLike

from sphere_ebm.maps.checks import real_array
from sphere_ebm.retrieval.pyramid import MapPyramid
from sphere_ebm.rules import Range, checked_fields

TOTAL = 5120
"""Units that are spent unless the caller says otherwise."""
REGION_FLOOR = 0.99
"""Quantile of relevance from which on regions are worth something, likewise."""


@final
@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """How a total is divided.

    Attributes:
        total: units to spend in all.
        smallest, largest: units of a piece around the least and the most relevant seed; equal ones
            make all pieces alike.
        floor: relevance, as a quantile of all, that gets the smallest piece: what a patch is worth
            is measured from there up to the best one. None: that of the last patch for which the
            total pays if pieces are of middle size, so that few pieces are large; and .99 where
            regions are compared.
        threshold: of `allocate`: standard deviation of worth, 1 for the best patch, below which a
            region is not split.
    """

    total: int = TOTAL
    smallest: int = 64
    largest: int = 400
    floor: float | None = None
    threshold: float = 0.02

    def __post_init__(self) -> None:
        """Raises ValueError naming the parameter, its rule and what was received."""
        checked_fields(self, choices={}, ranges=_RANGES, hint=" See `BudgetConfig`.")
        if self.largest < self.smallest:
            raise ValueError(
                f"`largest` must be at least `smallest`={self.smallest}; got {self.largest}. Swap"
                " the two."
            )


_RANGES = {
    "total": Range(1, 1e9, "an integer >= 1", whole=True),
    "smallest": Range(1, 1e9, "an integer >= 1", whole=True),
    "largest": Range(1, 1e9, "an integer >= 1", whole=True),
    "floor": Range(0, 1, "a number in [0, 1], or None", optional=True),
    "threshold": Range(0, 1, "a number in [0, 1]"),
}


class Region(NamedTuple):
    """A cell of a map and what may be spent on it.

    Attributes:
        level, key: the cell, see `sphere_ebm.geometry.cells`.
        budget: units.
        points: (n,) the points in it.
    """

    level: int
    key: int
    budget: float
    points: Int64[np.ndarray, " points"]


class Passage(NamedTuple):
    """Patches `first` to `last`, both included, of one document.

    Attributes:
        first, last: points.
        document: its number.
        units: their sizes together.
        score: the largest relevance among them.
    """

    first: int
    last: int
    document: int
    units: float
    score: float


@final
@dataclass(frozen=True, eq=False)
class Chosen:
    """What is shown.

    Attributes:
        passages: most relevant first.
        taken: (N,) whether a point is shown.
        spent: units in all, at most the total.
    """

    passages: tuple[Passage, ...]
    taken: Bool[np.ndarray, " points"]
    spent: float


def worth(relevance: ArrayLike, floor: float = REGION_FLOOR) -> Float64[np.ndarray, " points"]:
    """Relevance from a quantile of all up to the best, scaled to [0, 1].

    Points of relevance -inf are not to be shown and get 0. All are worth 1 where none stands out.
    Raises ValueError for NaN or infinity, or no point that may be shown.
    """
    values = real_array("relevance", relevance).astype(np.float64)
    known = values[values != -np.inf]
    if values.ndim != 1 or not len(known) or not np.isfinite(known).all():
        raise ValueError(
            "`relevance` must hold one number per point, at least one of them finite, -inf for"
            f" points to leave out; got shape {values.shape}."
        )
    low = np.quantile(known, floor)
    best = known.max()
    if best == low:
        return (values >= best).astype(np.float64)
    return np.clip((values - low) / (best - low), 0, 1)


def allocate(
    pyramid: MapPyramid, relevance: ArrayLike, config: BudgetConfig | None = None
) -> list[Region]:
    """Divide the total over the cells of a map: regions, the largest budget first.

    From the whole sphere down: a region is split while the worth of its points varies by more
    than `threshold` and it may spend more than one piece (`largest`). Its children share its
    budget in proportion to the worth of their points together; children that are worth nothing
    get none. O(N) for the sums and O(regions).

    Raises ValueError for relevance that does not fit the pyramid.
    """
    config = BudgetConfig() if config is None else config
    value = worth(relevance, REGION_FLOOR if config.floor is None else config.floor)
    if len(value) != len(pyramid):
        raise ValueError(
            f"`relevance` must have one number for each of {len(pyramid)} points; got {len(value)}."
        )
    levels = pyramid.levels
    summaries = pyramid.summarise(value)
    sums = [mean * level.count for level, (mean, _) in zip(levels, summaries, strict=True)]
    regions = []
    waiting = [(0, node, config.total * share) for node, share in enumerate(sums[0] / value.sum())]
    while waiting:
        place, node, budget = waiting.pop()
        level = levels[place]
        varied = summaries[place][1][node] > config.threshold**2
        if budget > config.largest and varied and place + 1 < len(levels):
            below = slice(*level.below[node : node + 2])
            part = sums[place + 1][below] / sums[place][node]
            waiting += [
                (place + 1, below.start + child, budget * share)
                for child, share in enumerate(part)
                if share > 0
            ]
            continue
        points = pyramid.order[slice(*level.first[node : node + 2])]
        regions.append(Region(level.level, int(level.key[node]), budget, points))
    return sorted(regions, key=lambda region: -region.budget)


def choose(
    relevance: ArrayLike,
    document: ArrayLike,
    size: ArrayLike | None = None,
    config: BudgetConfig | None = None,
    *,
    regions: Sequence[Region] | None = None,
) -> Chosen:
    """What to show for a query, within a budget.

    Args:
        relevance: (N,) of each patch, larger is better; -inf for patches that are not to be shown.
        document: (N,) the number of each patch's document; patches come in its order.
        size: (N,) positive units of each patch; None: 1, so that budgets count points.
        config: how much, and in pieces of what size.
        regions: of `allocate`: seeds are taken region by region, each as far as its budget goes;
            what is left over goes to the most relevant seeds of all.

    A seed that does not fit into what is left is passed over. O(N log N).

    Raises:
        ValueError: arrays of different length, sizes that are not positive, bad relevance.
    """
    config = BudgetConfig() if config is None else config
    values = real_array("relevance", relevance).astype(np.float64)
    worths = worth(values, _floor(config, int(np.count_nonzero(values != -np.inf))))
    spender = _Spender(values, worths, *_checked(document, size, len(values)), config)
    for region in regions or ():
        seeds = region.points[np.argsort(-values[region.points], kind="stable")]
        spender.spend(seeds, region.budget)
    spender.spend(np.argsort(-values, kind="stable"), float(config.total))
    return Chosen(spender.passages(), spender.taken, float(spender.spent))


def _floor(config: BudgetConfig, points: int) -> float:
    """The quantile of relevance that gets the smallest piece."""
    if config.floor is not None:
        return config.floor
    pieces = 2 * config.total / (config.smallest + config.largest)
    return max(0.0, 1 - pieces / max(points, 1))


def _checked(
    document: ArrayLike, size: ArrayLike | None, points: int
) -> tuple[Int64[np.ndarray, " points"], Float64[np.ndarray, " points"]]:
    """Documents and sizes, one for each point."""
    number = real_array("document", document).astype(np.int64)
    units = np.ones(points) if size is None else real_array("size", size).astype(np.float64)
    if number.shape != (points,) or units.shape != (points,):
        raise ValueError(
            f"`document` and `size` must have shape ({points},), that of `relevance`; got"
            f" {number.shape} and {units.shape}."
        )
    if not ((units > 0) & np.isfinite(units)).all():
        raise ValueError(
            f"`size` must be positive; got {units[~(units > 0)][:1]}. Empty patches have no size:"
            " drop them."
        )
    return number, units


@final
class _Spender:
    """Pieces in the making."""

    def __init__(
        self,
        relevance: Float64[np.ndarray, " points"],
        worths: Float64[np.ndarray, " points"],
        document: Int64[np.ndarray, " points"],
        size: Float64[np.ndarray, " points"],
        config: BudgetConfig,
    ) -> None:
        self.taken = np.zeros(len(relevance), bool)
        self.spent = 0.0
        self._relevance = relevance
        self._worth = worths
        self._document = document
        self._size = size
        self._config = config
        self._least = size.min(initial=np.inf)

    def spend(self, seeds: Int64[np.ndarray, " seeds"], budget: float) -> None:
        """Make pieces around seeds, in their order, until no more fits into the budget."""
        end = min(self.spent + budget, self._config.total)
        for seed in seeds.tolist():
            if self.spent + self._least > end or self._relevance[seed] == -np.inf:
                return
            if not self.taken[seed] and self.spent + self._size[seed] <= end:
                self._grow(seed, end - self.spent)

    def _grow(self, seed: int, room: float) -> None:
        """One piece: the seed, then the more relevant side as long as it fits."""
        smallest = self._config.smallest
        wide = smallest + (self._config.largest - smallest) * self._worth[seed]
        left = min(wide, room) - self._size[seed]
        self._take(seed)
        before = seed - 1
        after = seed + 1
        while True:
            options = [i for i in (before, after) if self._open(i, seed, left)]
            if not options:
                return
            best = max(options, key=lambda i: self._relevance[i])
            left -= self._size[best]
            self._take(best)
            before -= best == before
            after += best == after

    def _open(self, point: int, seed: int, left: float) -> bool:
        """Whether a piece may take in a patch: of its document, not shown yet, and it fits."""
        return bool(
            0 <= point < len(self.taken)
            and not self.taken[point]
            and self._document[point] == self._document[seed]
            and self._size[point] <= left
            and self._relevance[point] > -np.inf
        )

    def _take(self, point: int) -> None:
        self.taken[point] = True
        self.spent += float(self._size[point])

    def passages(self) -> tuple[Passage, ...]:
        """Runs of neighbouring patches that are shown, most relevant first."""
        shown = np.flatnonzero(self.taken)
        if not len(shown):
            return ()
        number = self._document[shown]
        parted = (np.diff(shown) > 1) | (np.diff(number) != 0)
        runs = np.split(shown, np.flatnonzero(parted) + 1)
        made = [
            Passage(
                int(run[0]),
                int(run[-1]),
                int(self._document[run[0]]),
                float(self._size[run].sum()),
                float(self._relevance[run].max()),
            )
            for run in runs
        ]
        return tuple(sorted(made, key=lambda passage: -passage.score))
