"""The map at hand, without JAX: newcomers join it as `FrozenMap` lets them, to rounding.

What JAX is needed for is done once, where the student is trained, and kept beside it: the grid of
the osmotic field (`fields.py`), and with it the lists of the nearest-neighbour search.
The points themselves come from the label files.

Source: the search is that of inverted lists (Jégou, Douze & Schmid 2011), all cosines within the
lists that a query probes; the dynamics are those of `sampling.underdamped` at T = 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float32, Int32

from sphere_ebm.files.compiled import compiled
from sphere_ebm.librarian.heads import OTHER_PLACE
from sphere_ebm.librarian.students.base import Arrays, checked_array

STEPS = 60
STEP_SIZE = 0.5
FRICTION = 1.0
"""The relaxation of `maps.frozen_map`."""
KERNELS = ("cauchy", "gaussian", "harmonic")
MIN_LISTED = 8_192
"""Fewer points than this are all compared."""
PROBES = 48
_BLOCK = 4096


class Law(NamedTuple):
    """The conditional law of a newcomer: numbers of the map's configuration.

    `pressure` is 2 Π N / S, 0 without an osmotic term; `stiffness` is max(α, Π / 2).
    """

    neighbours: int
    kernel: int
    sharpness: float
    attraction: float
    pressure: float
    stiffness: float
    rows: int


class Joined(NamedTuple):
    """Where N newcomers lie, and what shows how surely.

    - `direction` (N, 3).
    - `nearest` (N, k): points of the map, -1 for none; `similarity` (N, k): their cosines.
    - `modes` (N, 2, 3), `weight` (N, 2): where the nearest gather, the newcomer's place first.
    - `dispersion` (N,): mean squared angle between the newcomer and its nearest.
    """

    direction: Float32[np.ndarray, "new 3"]
    nearest: Int32[np.ndarray, "new k"]
    similarity: Float32[np.ndarray, "new k"]
    modes: Float32[np.ndarray, "new 2 3"]
    weight: Float32[np.ndarray, "new 2"]
    dispersion: Float32[np.ndarray, " new"]


@final
@dataclass(frozen=True, eq=False)
class KnownMap:
    """N fitted points, in the order of their lists.

    Attributes:
        law: of newcomers.
        unit: (N, D) directions of the embeddings.
        direction: (N, 3) on the map.
        row: (N,) which point of the label files each is.
        centroid: (L, D) of the lists.
        begin: (L + 1,) where each list begins.
        grid: (cells, 4) the osmotic potential and its gradient, on the bordered grid.
        emptiest: (3,) where a newcomer goes that nothing pulls.
    """

    law: Law
    unit: Float32[np.ndarray, "points width"]
    direction: Float32[np.ndarray, "points 3"]
    row: Int32[np.ndarray, " points"]
    centroid: Float32[np.ndarray, "lists width"]
    begin: Int32[np.ndarray, " begins"]
    grid: Float32[np.ndarray, "cells 4"]
    emptiest: Float32[np.ndarray, " 3"]

    @classmethod
    def of(
        cls,
        law: Law,
        embeddings: Float32[np.ndarray, "points width"],
        direction: Float32[np.ndarray, "points 3"],
        arrays: Mapping[str, np.ndarray],
        keep: Bool[np.ndarray, " points"] | None = None,
    ) -> "KnownMap":
        """The map of these points, or of those to `keep`.

        Raises:
            ValueError: arrays that do not fit, or are of a map with another number of points.
        """
        width = embeddings.shape[1]
        listed = checked_array(arrays, "map.list", [len(embeddings)], np.int32)
        centroid = checked_array(arrays, "map.centroid", [None, width], np.float32)
        columns = 2 * law.rows + 3
        cells = (law.rows + 4) * columns if law.pressure > 0 else 0
        grid = checked_array(arrays, "map.grid", [cells, 4], np.float32)
        emptiest = checked_array(arrays, "map.emptiest", [3], np.float32)
        length = np.linalg.norm(embeddings, axis=1)
        usable = (length > 0) if keep is None else (length > 0) & keep
        rows = np.flatnonzero(usable)
        rows = rows[np.argsort(listed[rows], kind="stable")]
        begin = np.searchsorted(listed[rows], np.arange(len(centroid) + 1))
        unit = embeddings[rows] / length[rows, None]
        return cls(
            law,
            unit,
            direction[rows],
            rows.astype(np.int32),
            centroid,
            begin.astype(np.int32),
            grid,
            emptiest,
        )

    def join(self, embedding: Float32[np.ndarray, "new width"]) -> Joined:
        """Where newcomers of these unit embeddings come to lie; zero rows where it is emptiest."""
        nearest, similarity = self.nearest(embedding)
        count = len(embedding)
        place = np.empty((count, 3), np.float32)
        modes = np.empty((count, 2, 3), np.float32)
        weight = np.empty((count, 2), np.float32)
        dispersion = np.empty(count, np.float32)
        law = self.law
        numbers = np.array(
            [law.sharpness, law.attraction, law.pressure, law.stiffness, math.cos(OTHER_PLACE)]
        )
        _join(
            nearest,
            self.direction.astype(np.float64),
            self.grid,
            law.rows,
            law.kernel,
            numbers,
            self.emptiest.astype(np.float64),
            place,
            modes,
            weight,
            dispersion,
        )
        known = nearest >= 0
        told = np.where(known, self.row[np.maximum(nearest, 0)], -1).astype(np.int32)
        return Joined(place, told, similarity, modes, weight, dispersion)

    def nearest(
        self, embedding: Float32[np.ndarray, "new width"]
    ) -> tuple[Int32[np.ndarray, "new k"], Float32[np.ndarray, "new k"]]:
        """The nearest points by cosine, best first, numbered as they lie here; -1 for none."""
        slots = self.law.neighbours
        index = np.full((len(embedding), slots), -1, np.int32)
        cosine = np.full((len(embedding), slots), -np.inf, np.float32)
        for start in range(0, len(embedding), _BLOCK):
            part = slice(start, start + _BLOCK)
            self._search(embedding[part], index[part], cosine[part])
        nothing = ~embedding.any(axis=1)
        index[nothing] = -1
        cosine[nothing] = -np.inf
        return index, cosine

    def _search(
        self,
        query: Float32[np.ndarray, "new width"],
        index: Int32[np.ndarray, "new k"],
        cosine: Float32[np.ndarray, "new k"],
    ) -> None:
        """Look through the lists one after another, each with all queries that probe it."""
        lists = len(self.centroid)
        probes = min(PROBES, lists)
        asked = np.ones((len(query), lists), np.bool_)
        if probes < lists:
            best = np.argpartition(-(query @ self.centroid.T), probes - 1, axis=1)[:, :probes]
            asked[:] = False
            np.put_along_axis(asked, best, True, axis=1)
        for number in range(lists):
            first = int(self.begin[number])
            last = int(self.begin[number + 1])
            rows = np.flatnonzero(asked[:, number])
            if last > first and rows.size:
                found = query[rows] @ self.unit[first:last].T
                _kept(found, rows, first, index, cosine)


@compiled
def _kept(
    found: np.ndarray, rows: np.ndarray, first: int, index: np.ndarray, cosine: np.ndarray
) -> None:
    """Put what is nearer than the last of each query's nearest among them."""
    slots = index.shape[1]
    for i in range(len(rows)):
        row = rows[i]
        least = cosine[row, slots - 1]
        for j in range(found.shape[1]):
            value = found[i, j]
            if value > least:
                at = slots - 1
                while at > 0 and cosine[row, at - 1] < value:
                    cosine[row, at] = cosine[row, at - 1]
                    index[row, at] = index[row, at - 1]
                    at -= 1
                cosine[row, at] = value
                index[row, at] = first + j
                least = cosine[row, slots - 1]


@compiled
def _spline(t: float, weight: np.ndarray) -> None:
    """Weights of the cubic B-spline for the nodes -1, 0, 1 and 2."""
    rest = 1 - t
    weight[0] = rest**3 / 6
    weight[1] = (4 - 6 * t**2 + 3 * t**3) / 6
    weight[2] = (4 - 6 * rest**2 + 3 * rest**3) / 6
    weight[3] = t**3 / 6


@compiled
def _field(
    grid: np.ndarray, rows: int, here: np.ndarray, down: np.ndarray, along: np.ndarray
) -> tuple[float, float, float, float]:
    """The osmotic potential at a place, and its ambient gradient; see `hamiltonian.fields.grid`."""
    columns = 2 * rows + 3
    height = np.arctan2(np.sqrt(here[0] ** 2 + here[1] ** 2), here[2]) * (rows / np.pi) - 0.5
    turn = np.arctan2(here[1], here[0]) * (rows / np.pi)
    first_row = np.floor(height)
    first_column = np.floor(turn)
    _spline(height - first_row, down)
    _spline(turn - first_column, along)
    row = min(max(int(first_row) + 1, 0), rows)
    column = int(first_column)
    if column < 0:
        column += 2 * rows
    column = min(max(column, 0), 2 * rows - 1)
    value = 0.0
    x = 0.0
    y = 0.0
    z = 0.0
    for i in range(4):
        for j in range(4):
            cell = (row + i) * columns + column + j
            weight = down[i] * along[j]
            value += weight * grid[cell, 0]
            x += weight * grid[cell, 1]
            y += weight * grid[cell, 2]
            z += weight * grid[cell, 3]
    return value, x, y, z


@compiled
def _potential(kernel: int, x: float) -> float:
    if kernel == 0:
        return np.log1p(x)
    return -np.exp(-x) if kernel == 1 else x / 2


@compiled
def _slope(kernel: int, x: float) -> float:
    if kernel == 0:
        return 1 / (1 + x)
    return np.exp(-x) if kernel == 1 else 0.5


@compiled
def _force(
    here: np.ndarray,
    held: np.ndarray,
    grid: np.ndarray,
    rows: int,
    kernel: int,
    numbers: np.ndarray,
    down: np.ndarray,
    along: np.ndarray,
    out: np.ndarray,
) -> float:
    """The tangent force at a place into `out`; returns the energy there."""
    sharp = 2 * numbers[0] ** 2
    share = 2.0 / max(len(held), 1)
    energy = 0.0
    out[:] = 0
    for k in range(len(held)):
        cosine = here[0] * held[k, 0] + here[1] * held[k, 1] + here[2] * held[k, 2]
        x = sharp * max(1 - cosine, 0.0)
        energy += numbers[1] * share * _potential(kernel, x)
        pull = numbers[1] * share * sharp * _slope(kernel, x)
        for d in range(3):
            out[d] += pull * held[k, d]
    if numbers[2] > 0:
        value, gx, gy, gz = _field(grid, rows, here, down, along)
        energy += numbers[2] * value
        out[0] -= numbers[2] * gx
        out[1] -= numbers[2] * gy
        out[2] -= numbers[2] * gz
    radial = out[0] * here[0] + out[1] * here[1] + out[2] * here[2]
    for d in range(3):
        out[d] -= radial * here[d]
    return energy


@compiled
def _glide(here: np.ndarray, velocity: np.ndarray, time: float) -> None:
    """Along a geodesic; the velocity is carried with it."""
    speed = np.sqrt(velocity[0] ** 2 + velocity[1] ** 2 + velocity[2] ** 2)
    if speed < 1e-30:
        return
    cosine = np.cos(speed * time)
    sine = np.sin(speed * time)
    length = 0.0
    for d in range(3):
        place = here[d]
        here[d] = cosine * place + sine / speed * velocity[d]
        velocity[d] = cosine * velocity[d] - speed * sine * place
        length += here[d] ** 2
    length = np.sqrt(length)
    for d in range(3):
        here[d] /= length


@compiled
def _relaxed(
    here: np.ndarray,
    held: np.ndarray,
    grid: np.ndarray,
    rows: int,
    kernel: int,
    numbers: np.ndarray,
) -> None:
    """From the best of the neighbours' places downhill, by BAOAB at T = 0 with friction."""
    down = np.empty(4)
    along = np.empty(4)
    force = np.empty(3)
    best = np.inf
    start = 0
    for k in range(len(held)):
        energy = _force(held[k], held, grid, rows, kernel, numbers, down, along, force)
        if energy < best:
            best = energy
            start = k
    here[:] = held[start]
    velocity = np.zeros(3)
    mobility = 1 / (numbers[0] ** 2 * (numbers[3] if numbers[3] > 0 else 1.0))
    before = 0.0
    keep = np.exp(-FRICTION * STEP_SIZE)
    for _ in range(STEPS):
        _force(here, held, grid, rows, kernel, numbers, down, along, force)
        for d in range(3):
            velocity[d] += (before + STEP_SIZE) / 2 * mobility * force[d]
        before = STEP_SIZE
        _glide(here, velocity, STEP_SIZE / 2)
        for d in range(3):
            velocity[d] *= keep
        _glide(here, velocity, STEP_SIZE / 2)


@compiled
def _join(
    nearest: np.ndarray,
    direction: np.ndarray,
    grid: np.ndarray,
    rows: int,
    kernel: int,
    numbers: np.ndarray,
    emptiest: np.ndarray,
    place: np.ndarray,
    modes: np.ndarray,
    weight: np.ndarray,
    dispersion: np.ndarray,
) -> None:
    """Fill in where each newcomer rests, where else its neighbours gather, and how they scatter."""
    slots = nearest.shape[1]
    held = np.empty((slots, 3))
    here = np.empty(3)
    other = np.empty(3)
    for i in range(len(nearest)):
        known = 0
        for k in range(slots):
            if nearest[i, k] >= 0:
                held[known] = direction[nearest[i, k]]
                known += 1
        if known == 0:
            place[i] = emptiest
            modes[i, 0] = emptiest
            modes[i, 1] = emptiest
            weight[i] = 0
            dispersion[i] = np.pi**2 / 2
            continue
        _relaxed(here, held[:known], grid, rows, kernel, numbers)
        place[i] = here
        modes[i, 0] = here
        modes[i, 1] = here
        scatter = 0.0
        close = 0
        for k in range(known):
            cosine = here[0] * held[k, 0] + here[1] * held[k, 1] + here[2] * held[k, 2]
            scatter += np.arccos(min(max(cosine, -1.0), 1.0)) ** 2
            if cosine > numbers[4]:
                close += 1
        dispersion[i] = scatter / known
        weight[i, 0] = close / known
        weight[i, 1] = 0
        most = 0
        for k in range(known):
            if here[0] * held[k, 0] + here[1] * held[k, 1] + here[2] * held[k, 2] > numbers[4]:
                continue
            count = 0
            total = np.zeros(3)
            for j in range(known):
                apart = here[0] * held[j, 0] + here[1] * held[j, 1] + here[2] * held[j, 2]
                cosine = held[k, 0] * held[j, 0] + held[k, 1] * held[j, 1] + held[k, 2] * held[j, 2]
                if cosine > numbers[4] and apart <= numbers[4]:
                    count += 1
                    total += held[j]
            if count > most:
                most = count
                other[:] = total / max(np.sqrt((total**2).sum()), 1e-30)
        if most > 0:
            modes[i, 1] = other
            weight[i, 1] = most / known


def arrays_of(
    listed: Int32[np.ndarray, " points"],
    centroid: Float32[np.ndarray, "lists width"],
    grid: Float32[np.ndarray, "cells 4"],
    emptiest: Sequence[float],
) -> Arrays:
    """What `KnownMap.of` wants, under its names."""
    return {
        "map.list": listed,
        "map.centroid": centroid,
        "map.grid": grid,
        "map.emptiest": np.asarray(emptiest, np.float32),
    }
