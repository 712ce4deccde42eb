"""Names of regions at every scale: the words that are said there more often than elsewhere.

The sphere is cut into equal cells (`geometry.cells`) on several levels. In each cell every word is
scored by Dunning's log-likelihood: how surely its frequency in the cell differs from that around
it. What lies around is first the cell two levels up, so that names tell apart what one sees
together, and then the whole map. The four cells of the coarsest level are named in any
case. Where there is no text, documents name the cells that they crowd.

Source: Dunning 1993, "Accurate methods for the statistics of surprise and coincidence"; Rayson and
Garside 2000 for comparing corpora by it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from sphere_ebm.figures.page.points import PagePoints
from sphere_ebm.figures.page.words import words_of
from sphere_ebm.geometry.cells import MAX_LEVEL, cell_keys, parents

FINEST = 7
FEWEST_POINTS = 12
"""A cell with fewer points has no name, and levels with fewer in the mean are left out."""
WORDS = 2
_LEAST_SCORE = 10.83
"""Log-likelihood of a word that names a cell: chi-squared of one degree at p = .001."""
_LEAST_COUNT = 3
_COMMONPLACE = 0.4
_FEWEST_CELLS = 16
_REFERENCE_LEVELS = 2
"""So many levels up is the cell that says what is usual close around."""


class Region(NamedTuple):
    """A named cell: its level, key, name, the mean direction of its points, and their number."""

    level: int
    key: int
    name: str
    direction: tuple[float, float, float]
    points: int


def named_regions(points: PagePoints) -> list[Region]:
    """Names of cells on all levels from 1 on that have enough points, coarse ones first.

    Within a level the most populous come first. O(bytes + N) and a sort of the words.
    """
    if not len(points):
        return []
    keys = cell_keys(points.direction)
    vocabulary, word, point = _tokens(points)
    if not len(word):
        return []
    finest = 1
    while finest < FINEST and len(points) / 4 ** (finest + 1) >= FEWEST_POINTS:
        finest += 1
    cell = parents(keys, MAX_LEVEL - finest)
    # How often each word is said in each cell of the finest level; coarser ones add these up.
    pair, count = np.unique(cell[point] * len(vocabulary) + word, return_counts=True)
    counts = _Counts(pair // len(vocabulary), pair % len(vocabulary), count.astype(np.float64))
    common = _commonplaces(counts, len(vocabulary))
    found: list[Region] = []
    for level in range(1, finest + 1):
        here = counts.coarser(finest - level)
        chosen = _names(here, level, common)
        found += _regions(level, chosen, vocabulary, parents(keys, MAX_LEVEL - level), points)
    return found


class _Counts(NamedTuple):
    """Words in cells: `times[i]` times `word[i]` in `cell[i]`, in rising order of both."""

    cell: Int64[np.ndarray, " n"]
    word: Int64[np.ndarray, " n"]
    times: Float64[np.ndarray, " n"]

    def coarser(self, levels: int) -> "_Counts":
        """The same in the cells so many levels up."""
        if not levels:
            return self
        width = int(self.word.max()) + 1
        pair, index = np.unique(parents(self.cell, levels) * width + self.word, return_inverse=True)
        return _Counts(pair // width, pair % width, np.bincount(index, self.times))


def _tokens(
    points: PagePoints,
) -> tuple[list[str], Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """The vocabulary, and for every token its word and its point.

    Documents take the place of words where there are several of them and no text.
    """
    if points.text is not None and points.text_offset is not None and len(points.text):
        words = words_of(points.text, points.text_offset[points.borders[1:]])
        point = np.searchsorted(points.text_offset, words.begin, side="right") - 1
        return words.vocabulary, words.word, point.astype(np.int64)
    names = [name for name, _ in points.documents]
    if len(names) < 2:
        return names, np.zeros(0, np.int64), np.zeros(0, np.int64)
    return names, points.document.astype(np.int64), np.arange(len(points), dtype=np.int64)


def _commonplaces(counts: _Counts, vocabulary: int) -> Bool[np.ndarray, " words"]:
    """Words that are spread over the cells almost as all words together are: they name none.

    Measured by Gries' deviation of proportions, half of the sum over cells of |share of the word's
    occurrences - share of all|, from 0 (even) to 1 (Gries 2008, "Dispersions and adjusted
    frequencies in corpora").
    """
    _, cell = np.unique(counts.cell, return_inverse=True)
    usual = np.bincount(cell, counts.times) / counts.times.sum()
    said = np.bincount(counts.word, counts.times, vocabulary)
    share = counts.times / said[counts.word]
    # Cells without the word add their usual shares: all of them, less those of cells with it.
    excess = np.abs(share - usual[cell]) - usual[cell]
    deviation = (1 + np.bincount(counts.word, excess, vocabulary)) / 2
    return (deviation < _COMMONPLACE) & (len(usual) >= _FEWEST_CELLS)


def _names(here: _Counts, level: int, common: Bool[np.ndarray, " words"]) -> dict[int, list[int]]:
    """The words that name each cell, best first.

    What is said more often than close around comes before what is said more often than elsewhere.
    """
    often = (here.times >= _LEAST_COUNT) & ~common[here.word]
    score = log_likelihood(here, here.coarser(level), level, len(common))
    sure = often & (score >= _LEAST_SCORE)
    rank = sure.astype(np.int64)
    if level > _REFERENCE_LEVELS:
        near = log_likelihood(here, here.coarser(_REFERENCE_LEVELS), _REFERENCE_LEVELS, len(common))
        local = often & (near >= _LEAST_SCORE)
        rank = np.where(local, 2, rank)
        score = np.where(local, near, score)
    order = np.lexsort((here.word, -here.times, -score, -rank, here.cell))
    # No cell of the coarsest level is left without a name, be its words ever so unsure.
    order = order if level == 1 else order[rank[order] > 0]
    cells = here.cell[order]
    place = np.arange(len(order)) - np.searchsorted(cells, cells)
    best = order[(place == 0) | ((place < WORDS) & (rank[order] > 0))]
    chosen: dict[int, list[int]] = {}
    for cell, word in zip(here.cell[best].tolist(), here.word[best].tolist(), strict=True):
        chosen.setdefault(cell, []).append(word)
    return chosen


def log_likelihood(
    here: _Counts, around: _Counts, levels: int, vocabulary: int
) -> Float64[np.ndarray, " n"]:
    """Dunning's 2 (a ln(a / E) + (b - a) ln((b - a) / F)) of each word in each cell.

    a is how often the word is said in the cell, b how often in the cell `levels` up around it; E
    and F are shares of b by how much is said inside and outside. 0 for words that are rarer there.
    """
    up = parents(here.cell, levels)
    at = np.searchsorted(around.cell * vocabulary + around.word, up * vocabulary + here.word)
    everywhere = around.times[at]
    size = _total(here, here.cell)
    whole = _total(around, up)
    expected = everywhere * size / whole
    outside = everywhere - here.times
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = here.times * np.log(here.times / expected)
        outer = np.where(outside > 0, outside * np.log(outside / (everywhere - expected)), 0.0)
    rises: Bool[np.ndarray, " n"] = here.times > expected
    return np.where(rises, 2 * (inner + outer), 0.0)


def _total(counts: _Counts, cell: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """How many tokens there are in each of these cells."""
    cells, index = np.unique(counts.cell, return_inverse=True)
    sums = np.bincount(index, counts.times)
    return sums[np.searchsorted(cells, cell)]


def _regions(
    level: int,
    chosen: dict[int, list[int]],
    vocabulary: Sequence[str],
    keys: Int64[np.ndarray, " points"],
    points: PagePoints,
) -> list[Region]:
    cells, index, count = np.unique(keys, return_inverse=True, return_counts=True)
    sums = np.stack(
        [np.bincount(index, points.direction[:, k].astype(np.float64)) for k in range(3)], axis=1
    )
    found = []
    for i in np.argsort(-count, kind="stable").tolist():
        words = chosen.get(int(cells[i]))
        length = float(np.linalg.norm(sums[i]))
        if words is None or count[i] < min(FEWEST_POINTS, len(points)) or length < 1e-9:
            continue
        x, y, z = (sums[i] / length).tolist()
        name = " ".join(vocabulary[word] for word in words)
        found.append(Region(level, int(cells[i]), name, (x, y, z), int(count[i])))
    return found
