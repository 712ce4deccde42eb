"""What a student is compared with: guesses that know less than it, and some that know more.

- `chance`: the label of a training patch, drawn at random; of cells, what the map holds of each.
- `ridge`: a linear map from hashed n-grams of the patch to its place. It fails where a label may be
  in two places: their mean is neither.
- `knn`: an oracle. The true embeddings of the patches are known, and their place is where their 15
  nearest gather on the map.
- `seed`: the floor. The same patches on the map of another seed, in the best common frame: nobody
  can be expected to learn what the map's own noise has decided.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, UInt8
from scipy.sparse import csr_array
from scipy.sparse.linalg import lsqr

from sphere_ebm.geometry.frames import robust_frame, turned
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.exact import exact_neighbours
from sphere_ebm.librarian.measures import Answers, LabelCell, cells_around, looked_up
from sphere_ebm.maps.frozen_map import FrozenMap
from sphere_ebm.maps.loading import load_placement
from sphere_ebm.maps.placement import Placement

NAMES = ("chance", "ridge", "knn", "seed")
NEIGHBOURS = 15

_GRAMS = (1, 2, 3, 4, 5)
_BUCKETS = 2**18
_DAMPING = 1.0
_ITERATIONS = 40
_ROWS = 2048
_SOFT = 0.05
"""A neighbour whose cosine is this much less than the nearest one's has 1/e of its weight."""
_GATHERING = math.radians(6)
"""Places within about this angle speak for each other."""


@final
@dataclass(frozen=True, eq=False)
class Ground:
    """What rivals may know: the labels of the map, and bytes and embeddings of the judged patches.

    `texts` and `known_texts` are the bytes of the patches, `judged` their labels, which are looked
    up in distributions and never learned from.
    """

    direction: Float32[np.ndarray, "known 3"]
    shell: Int[np.ndarray, " known"]
    embeddings: Float32[np.ndarray, "known width"]
    known_texts: "Spans"
    prior: Float64[np.ndarray, " cells"]
    judged: Float32[np.ndarray, "patches 3"]
    judged_embeddings: Float32[np.ndarray, "patches width"]
    texts: "Spans"
    seed: int


class Spans(NamedTuple):
    """N patches: octets[first_i:last_i] each."""

    octets: UInt8[np.ndarray, " bytes"]
    first: Int[np.ndarray, " patches"]
    last: Int[np.ndarray, " patches"]


def chance(ground: Ground) -> Answers:
    """Labels of the map, drawn at random."""
    rng = np.random.default_rng([ground.seed, 1])
    drawn = rng.integers(0, len(ground.direction), len(ground.judged))
    flat = np.log(ground.prior).astype(np.float32)
    cells = np.broadcast_to(flat, (len(ground.judged), len(flat)))
    return Answers(
        direction=ground.direction[drawn],
        shell=ground.shell[drawn],
        cell=looked_up(cells, ground.judged),
    )


def ridge(ground: Ground) -> Answers:
    """Ridge regression of the place and the shell from hashed n-grams of the patch."""
    known = gram_counts(ground.known_texts)
    asked = gram_counts(ground.texts)
    targets = np.column_stack([ground.direction, ground.shell]).astype(np.float64)
    mean = targets.mean(axis=0)
    fitted = np.empty_like(targets)
    found = np.empty((len(ground.judged), 4))
    for column in range(4):
        solved = lsqr(
            known, targets[:, column] - mean[column], damp=_DAMPING, iter_lim=_ITERATIONS
        )[0]
        fitted[:, column] = known @ solved + mean[column]
        found[:, column] = asked @ solved + mean[column]
    left = np.linalg.norm(unit_rows(fitted[:, :3]) - ground.direction, axis=1)
    spread = np.full(len(found), float(np.sqrt(np.mean(left**2))))
    direction = unit_rows(found[:, :3]).astype(np.float32)
    return Answers(
        direction=direction,
        shell=_whole(found[:, 3], ground.shell),
        cell=_cell(direction[:, None], np.ones((len(direction), 1)), spread, ground),
    )


def knn(ground: Ground) -> Answers:
    """Where the 15 nearest by the true embedding gather; an oracle."""
    unit = unit_rows(ground.embeddings.astype(np.float64)).astype(np.float32)
    asked = unit_rows(ground.judged_embeddings.astype(np.float64)).astype(np.float32)
    return from_neighbours(ground, unit, asked)


def from_neighbours(
    ground: Ground,
    known: Float32[np.ndarray, "known width"],
    asked: Float32[np.ndarray, "patches width"],
) -> Answers:
    """Places where the 15 nearest of `asked` among `known`, unit rows, gather on the map."""
    k = min(NEIGHBOURS, len(known))
    hidden = np.flatnonzero(~known.any(axis=1))
    nearest = exact_neighbours(known, asked, k, hidden=hidden)
    cosine = np.einsum("pd,pkd->pk", asked, known[nearest])
    weight = np.exp((cosine - cosine.max(axis=1, keepdims=True)) / _SOFT).astype(np.float64)
    places = ground.direction[nearest]
    return Answers(
        direction=gathered(places, weight),
        shell=_weighted_median(ground.shell[nearest], weight),
        cell=_cell(places, weight, np.full(len(asked), _GATHERING), ground),
    )


def gathered(
    places: Float[np.ndarray, "patches places 3"], weight: Float[np.ndarray, "patches places"]
) -> Float32[np.ndarray, "patches 3"]:
    """The densest of some weighted places each: the mean of those around the most spoken for."""
    held = places.astype(np.float64)
    near = np.exp((np.einsum("pkc,plc->pkl", held, held) - 1) / _GATHERING**2)
    best = np.einsum("pkl,pl->pk", near, weight).argmax(axis=1)
    pull = near[np.arange(len(held)), best] * weight
    mean = np.einsum("pk,pkc->pc", pull, held)
    return unit_rows(mean).astype(np.float32)


def other_seed(ground: Ground, other: Placement, own: Float32[np.ndarray, "points 3"]) -> Answers:
    """The judged patches on another map of the same points, in the frame of the map.

    Nothing is said of shells, which do not depend on the seed.

    Args:
        ground: what is judged.
        other: the other map, with its embeddings.
        own: where its points lie on the map.

    Raises:
        ValueError: it is not of the same points.
    """
    joined = FrozenMap(other).place(ground.judged_embeddings)
    frame = robust_frame(own, other.direction)
    direction = turned(joined.direction, frame)
    spread = np.clip(joined.angle_std, 0, math.pi).astype(np.float64)
    return Answers(
        direction=direction,
        cell=_cell(direction[:, None], np.ones((len(direction), 1)), spread, ground),
    )


def replica_of(folder: Path) -> Placement | None:
    """An independent run of the map in `folder`, from other random numbers, if it had one.

    In the frame of the map, as `label` keeps it.
    """
    placement = load_placement(folder)
    held = placement.replicas
    if held is None or not len(held):
        return None
    return dataclasses.replace(placement, direction=held[0], replicas=held[:0])


def gram_counts(spans: Spans) -> csr_array:
    """Hashed n-grams of 1 to 5 bytes within each patch; rows of norm 1."""
    columns = []
    rows = []
    for owner, hashed in _grams(spans):
        rows.append(owner)
        columns.append(hashed)
    shape = (len(spans.first), _BUCKETS)
    ones = np.ones(sum(map(len, rows)))
    counts = csr_array((ones, (np.concatenate(rows), np.concatenate(columns))), shape=shape)
    counts.sum_duplicates()
    counts.data = np.sqrt(counts.data)
    norms = np.sqrt(np.maximum(np.asarray(counts.multiply(counts).sum(axis=1)).ravel(), 1e-12))
    return csr_array(counts.multiply(1 / norms[:, None]))


def _grams(spans: Spans) -> Iterator[tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]]:
    """Owner and bucket of every n-gram, by length: the same hash everywhere."""
    length = spans.last - spans.first
    owner = np.repeat(np.arange(len(length)), length)
    begins = np.cumsum(length) - length
    place = np.arange(len(owner)) - begins[owner] + spans.first[owner]
    left = spans.last[owner] - place
    for size in _GRAMS:
        whole = left >= size
        at = place[whole]
        hashed = np.full(len(at), size, np.uint64)
        for step in range(size):
            # FNV-1a's prime: whatever overflows 64 bits is dropped
            hashed = (hashed ^ spans.octets[at + step]) * np.uint64(1099511628211)
        mixed = hashed ^ (hashed >> np.uint64(29))
        yield owner[whole], (mixed % np.uint64(_BUCKETS)).astype(np.int64)


def _cell(
    places: Float[np.ndarray, "patches places 3"],
    weight: Float[np.ndarray, "patches places"],
    spread: Float[np.ndarray, " patches"],
    ground: Ground,
) -> LabelCell:
    """What the mixtures around these places say of the labels' cells, block by block."""
    parts = [
        looked_up(
            cells_around(places[rows], weight[rows], spread[rows], ground.prior),
            ground.judged[rows],
        )
        for rows in _blocks(len(places))
    ]
    return LabelCell(*map(np.concatenate, zip(*parts, strict=True)))


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, max(count, 1), _ROWS):
        yield slice(start, start + _ROWS)


def _whole(
    value: Float[np.ndarray, " patches"], shell: Int[np.ndarray, " known"]
) -> Int[np.ndarray, " patches"]:
    return np.clip(np.rint(value), 0, int(shell.max(initial=0))).astype(np.int64)


def _weighted_median(
    shell: Int[np.ndarray, "patches k"], weight: Float[np.ndarray, "patches k"]
) -> Int[np.ndarray, " patches"]:
    order = np.argsort(shell, axis=1, kind="stable")
    summed = np.cumsum(np.take_along_axis(weight, order, axis=1), axis=1)
    middle = np.argmax(summed >= summed[:, -1:] / 2, axis=1)
    return np.take_along_axis(shell, order, axis=1)[np.arange(len(shell)), middle].astype(np.int64)


GUESSES: dict[str, Callable[[Ground], Answers]] = {"chance": chance, "ridge": ridge, "knn": knn}
"""The rivals that need nothing but the ground."""
