"""How newcomers come to rest among their neighbours on a map, by compiled loops.

The dynamics are those of `sampling.underdamped` at T = 0. `numbers` are the sharpness, the
strengths of attraction and pressure, the stiffness, and the cosine above which two places are the
same.
"""

import functools

import numpy as np

from sphere_ebm.files.compiled import compiled as _compiled

compiled = functools.partial(_compiled, extra="librarian")

STEPS = 60
STEP_SIZE = 0.5
FRICTION = 1.0
"""The relaxation of `maps.frozen_map`."""


@compiled
def keep_nearest(
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
def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


@compiled
def _other_gathering(here: np.ndarray, held: np.ndarray, close: float, other: np.ndarray) -> int:
    """Where most neighbours gather away from here, into `other`; returns how many they are.

    Two places are the same where their cosine is above `close`.
    """
    most = 0
    for k in range(len(held)):
        if _cosine(here, held[k]) > close:
            continue
        count = 0
        total = np.zeros(3)
        for j in range(len(held)):
            if _cosine(held[k], held[j]) > close and _cosine(here, held[j]) <= close:
                count += 1
                total += held[j]
        if count > most:
            most = count
            other[:] = total / max(np.sqrt((total**2).sum()), 1e-30)
    return most


@compiled
def _scatter(here: np.ndarray, held: np.ndarray, close: float) -> tuple[float, float]:
    """Mean squared angle from `here` to all of `held`, and the share of them that are near."""
    squares = 0.0
    near = 0
    for k in range(len(held)):
        cosine = _cosine(here, held[k])
        squares += np.arccos(min(max(cosine, -1.0), 1.0)) ** 2
        if cosine > close:
            near += 1
    return squares / len(held), near / len(held)


@compiled
def join_points(
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
            here[:] = emptiest
        else:
            _relaxed(here, held[:known], grid, rows, kernel, numbers)
        place[i] = here
        modes[i, 0] = here
        modes[i, 1] = here
        weight[i] = 0
        dispersion[i] = np.pi**2 / 2
        if known == 0:
            continue
        dispersion[i], weight[i, 0] = _scatter(here, held[:known], numbers[4])
        most = _other_gathering(here, held[:known], numbers[4], other)
        if most > 0:
            modes[i, 1] = other
            weight[i, 1] = most / known
