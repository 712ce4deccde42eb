"""The engine of water-filling: passes over all points, compiled once for all calls of one shape.

Nothing here loops over points or compares them in pairs. A pass sees points through tables: per
shell (count, mean and spread of the prominence), per shell and bin of prominence (who is promoted,
and how far), and per group of shells and cell of the sphere (mean features and density).

The distance of the shells from their capacities is D = mean over shells of |count - N c_s| / (N
c_s). Promotion takes no more points from a shell than it has too many, and moves them outwards
only; where capacities grow outwards, D cannot rise by it, but for the rounding of the tables.
Osmotic flow may raise D for a while. Of all passes the one with the smallest D is returned, the
start included.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Int32, UInt32

from sphere_ebm.filling.lateral_search import LateralPlan, lateral_search

_BINS = 256
# bins of prominence, in standard deviations of the shell
_LOWEST = -4.0
_HIGHEST = 8.0
_SLOTS = 64  # entries per shell in the table of destinations
_SUBSTEPS = 64  # of the osmotic flow, per shell and pass


class Points(NamedTuple):
    """What stays of the points: prominence, and what tells which of them are alike."""

    prominence: Float[Array, " n"]
    """Standardised: mean 0, standard deviation 1."""
    features: Float[Array, "features n"]
    """Unit vectors that tell which points are alike, one row per feature."""
    offset: Float[Array, ""]
    """The mean of the prominence before it was standardised, in its standard deviations: thresholds
    in means need it.
    """


class Filling(NamedTuple):
    """What moves: the shell of every point, and its direction, one row per component."""

    shell: Int32[Array, " n"]
    direction: Float[Array, "3 n"]


class Law(NamedTuple):
    """Numbers of a `sphere_ebm.filling.presets.Preset`, which explains them, and of the run.

    Changing one does not recompile.
    """

    threshold: Float[Array, ""]
    relative_to_mean: Bool[Array, ""]
    """Whether `threshold` is in means of a shell's prominence (`relative_to` of the preset) rather
    than in its standard deviations.
    """
    overload_limit: Float[Array, ""]
    push: Float[Array, ""]
    excess_gain: Float[Array, ""]
    lateral_threshold: Float[Array, ""]
    osmotic_rate: Float[Array, ""]
    """Strength of the flow. Whether there is any at all says `osmotic` of `fill`, which spares its
    cost.
    """
    passes: Int32[Array, ""]
    """The most that are made."""
    patience: Int32[Array, ""]
    """Passes in a row after which the run ends if none of them gained more than a thousandth of
    D.
    """
    tolerance: Float[Array, ""]
    """Largest distance of a shell from its capacity at which the run ends, as a share of it."""
    seed: UInt32[Array, ""]


class Tally(NamedTuple):
    """Counters of a run, and D of what it returns."""

    passes: Int32[Array, ""]
    """Passes over all points."""
    promotions: Int32[Array, ""]
    """Points that were promoted to a shell further out; one that is promoted twice counts
    twice.
    """
    lateral_moves: Int32[Array, ""]
    """Points that were to be promoted and stayed on their shell, since a search found a better
    direction there.
    """
    osmotic_moves: Int32[Array, ""]
    """Points that osmotic flow moved to another shell."""
    deviation: Float[Array, ""]
    """The smallest D of all passes, the start included."""


class _Shells(NamedTuple):
    """Counts of a filling, and mean and standard deviation of the prominence in every shell."""

    number: Float[Array, " shells"]
    mean: Float[Array, " shells"]
    std: Float[Array, " shells"]


class _Progress(NamedTuple):
    now: Filling
    best: Filling
    """The one with the smallest D so far."""
    worst: Float[Array, ""]
    """Largest relative distance of a shell of `best` from its capacity; see `_worst`."""
    tally: Tally
    stale: Int32[Array, ""]
    """Passes in a row that gained less than a thousandth of D."""
    moved: Bool[Array, ""]
    """Whether the last pass moved any point."""


@eqx.filter_jit
def fill(
    points: Points,
    start: Filling,
    capacity: Float[Array, " shells"],
    gap: Float[Array, " shells"],
    law: Law,
    lateral: LateralPlan | None,
    osmotic: bool,
) -> tuple[Filling, Tally]:
    """Passes from `start` until every shell is close to its capacity, or nothing is gained.

    Close is within `law.tolerance`.

    `capacity` is N c_s and `gap` the thickness of every shell; `lateral` and `osmotic` tell whether
    there is a lateral search, and osmotic flow. Returns the filling with the smallest D, and
    counters.
    """
    zero = jnp.asarray(0, jnp.int32)
    number = _counts(start.shell, capacity)
    tally = Tally(zero, zero, zero, zero, _deviation(number, capacity))

    def unfinished(progress: _Progress) -> Bool[Array, ""]:
        going = (
            progress.moved & (progress.tally.passes < law.passes) & (progress.stale < law.patience)
        )
        return going & (progress.worst > law.tolerance)

    def one_pass(progress: _Progress) -> _Progress:
        after, moves = _one_pass(
            points, progress.now, capacity, gap, law, lateral, osmotic, progress.tally.passes
        )
        before = progress.tally
        number = _counts(after.shell, capacity)
        deviation = _deviation(number, capacity)
        better = deviation <= before.deviation
        gained = deviation < 0.999 * before.deviation
        best = jax.tree.map(lambda a, b: jnp.where(better, a, b), after, progress.best)
        worst = jnp.where(better, _worst(number, capacity), progress.worst)
        promotions, searched, flowed = moves
        tally = Tally(
            before.passes + 1,
            before.promotions + promotions,
            before.lateral_moves + searched,
            before.osmotic_moves + flowed,
            jnp.minimum(deviation, before.deviation),
        )
        stale = jnp.where(gained, zero, progress.stale + 1)
        return _Progress(after, best, worst, tally, stale, promotions + searched + flowed > 0)

    begun = _Progress(start, start, _worst(number, capacity), tally, zero, jnp.asarray(True))
    end = jax.lax.while_loop(unfinished, one_pass, begun)
    return end.best, end.tally


def _one_pass(
    points: Points,
    now: Filling,
    capacity: Float[Array, " shells"],
    gap: Float[Array, " shells"],
    law: Law,
    lateral: LateralPlan | None,
    osmotic: bool,
    index: Int32[Array, ""],
) -> tuple[Filling, tuple[Int32[Array, ""], Int32[Array, ""], Int32[Array, ""]]]:
    """Promotion, with a lateral search before it, then osmotic flow.

    Returns where points are then, and how many were moved by promotion, by search and by flow.
    """
    chance = _chance(now.shell.size, law.seed, 2 * index)
    promoted, destination = _promotion(points, now.shell, capacity, law, chance)
    searched = flowed = jnp.asarray(0, jnp.int32)
    direction = now.direction
    if lateral is not None:
        promoted, direction, searched = lateral_search(
            points.features, now.shell, direction, promoted, law.lateral_threshold, lateral
        )
    shell = jnp.where(promoted, destination, now.shell)
    promotions = jnp.sum(promoted, dtype=jnp.int32)
    if osmotic:
        chance = _chance(now.shell.size, law.seed, 2 * index + 1)
        settled = _osmotic_flow(points, shell, capacity, gap, law, chance)
        flowed = jnp.sum(settled != shell, dtype=jnp.int32)
        shell = settled
    return Filling(shell, direction), (promotions, searched, flowed)


def _counts(shell: Int[Array, " n"], capacity: Float[Array, " shells"]) -> Float[Array, " shells"]:
    return jnp.zeros(capacity.shape, jnp.int32).at[shell].add(1).astype(capacity.dtype)


def _deviation(
    count: Float[Array, " shells"], capacity: Float[Array, " shells"]
) -> Float[Array, ""]:
    return jnp.mean(jnp.abs(count - capacity) / capacity)


def _worst(count: Float[Array, " shells"], capacity: Float[Array, " shells"]) -> Float[Array, ""]:
    """Largest |count - N c_s| / (N c_s); a difference of one point counts as none."""
    off = jnp.abs(count - capacity)
    return jnp.max(jnp.where(off <= 1, 0.0, off / capacity))


def _chance(n: int, seed: UInt32[Array, ""], index: Int32[Array, ""]) -> Float[Array, " n"]:
    """A number in [0, 1) for every point, another one in every pass.

    It is Wang's 32-bit integer hash (2007).
    """
    stream = seed * jnp.uint32(0x9E3779B9) + index.astype(jnp.uint32) * jnp.uint32(0x85EBCA6B)
    x = jnp.arange(n, dtype=jnp.uint32) ^ stream
    x = (x ^ jnp.uint32(61)) ^ (x >> 16)
    x = x * jnp.uint32(9)
    x = (x ^ (x >> 4)) * jnp.uint32(0x27D4EB2D)
    x = x ^ (x >> 15)
    return (x >> 8).astype(jnp.float32) * jnp.float32(2**-24)


def _shell_statistics(
    x: Float[Array, " n"], shell: Int[Array, " n"], capacity: Float[Array, " shells"]
) -> _Shells:
    count = _counts(shell, capacity)
    held = jnp.maximum(count, 1)
    mean = jnp.zeros_like(capacity).at[shell].add(x) / held
    square = jnp.zeros_like(capacity).at[shell].add(x * x) / held
    return _Shells(count, mean, jnp.sqrt(jnp.maximum(square - mean**2, 0)))


def _bins(x: Float[Array, " n"], shell: Int[Array, " n"], stats: _Shells) -> Int[Array, " n"]:
    """Index of every point into tables (shells, bins), ordered by prominence within its shell."""
    std = jnp.maximum(stats.std, jnp.finfo(x.dtype).tiny)
    z = jnp.clip((x - stats.mean[shell]) / std[shell], _LOWEST, _HIGHEST)
    bin_ = ((z - _LOWEST) * (_BINS / (_HIGHEST - _LOWEST))).astype(jnp.int32)
    return shell * _BINS + jnp.minimum(bin_, _BINS - 1)


def _promotion(
    points: Points,
    shell: Int[Array, " n"],
    capacity: Float[Array, " shells"],
    law: Law,
    chance: Float[Array, " n"],
) -> tuple[Bool[Array, " n"], Int[Array, " n"]]:
    """Which points are promoted, and the shell that each of them goes to.

    Candidates exceed the threshold, or sit in a shell that is overloaded beyond the limit. The most
    prominent go, as many as the shell has too many; in the last bin, of which not all can go, by
    chance, so that the number is right on average; like spilled water they settle in the first
    shell outside that has room, in order of their shells and within a shell the more prominent
    further, but no further than their push reaches.
    """
    x = points.prominence
    shells = capacity.size
    stats = _shell_statistics(x, shell, capacity)
    overload = (stats.number - capacity) / capacity
    scale = jnp.where(law.relative_to_mean, jnp.abs(stats.mean + points.offset), stats.std)
    smallest = jnp.finfo(x.dtype).tiny
    needed = jnp.maximum(law.threshold * jnp.maximum(scale, smallest), smallest)[shell]
    prominence = x - stats.mean[shell]
    candidate = (prominence > needed) | (overload > law.overload_limit)[shell]

    surplus = jnp.floor(jnp.maximum(stats.number - capacity, 0)).at[-1].set(0.0)
    slot = _bins(x, shell, stats)
    found = (
        jnp.zeros(shells * _BINS, jnp.int32)
        .at[slot]
        .add(candidate.astype(jnp.int32))
        .astype(x.dtype)
    )
    found = found.reshape(shells, _BINS)
    above = jnp.cumsum(found[:, ::-1], axis=1)[:, ::-1] - found
    going = jnp.clip(surplus[:, None] - above, 0, found)
    share = (going / jnp.maximum(found, 1)).ravel()
    promoted = candidate & (chance < share[slot])

    leaving = going.sum(axis=1)
    room = jnp.maximum(capacity - stats.number, 0)
    order = jnp.cumsum(leaving)[:, None] - above  # place in the queue of the last point of each bin
    place = order.ravel()[slot] - chance * found.ravel()[slot]
    target = _look_up(jnp.cumsum(_settling(leaving, room)), place)
    excess = jnp.maximum(prominence / needed - 1, 0)
    reach = jnp.maximum(jnp.floor(law.push * (1 + law.excess_gain * excess)), 1)
    furthest = shell + jnp.minimum(reach, shells).astype(jnp.int32)
    return promoted, jnp.minimum(jnp.clip(target, shell + 1, furthest), shells - 1)


def _settling(
    leaving: Float[Array, " shells"], room: Float[Array, " shells"]
) -> Float[Array, " shells"]:
    """How many of the points that left shells further in settle in each shell.

    The last one takes what is left.
    """

    def pour(carried: Float[Array, ""], here: tuple[Array, Array]) -> tuple[Array, Array]:
        settled = jnp.minimum(carried, here[1])
        return carried - settled + here[0], settled

    left, settled = jax.lax.scan(pour, jnp.zeros((), room.dtype), (leaving, room))
    return settled.at[-1].add(left)


def _look_up(cumulative: Float[Array, " shells"], place: Float[Array, " n"]) -> Int[Array, " n"]:
    """The first shell whose cumulative number reaches `place`.

    It is looked up in a table of `_SLOTS` entries per shell.
    """
    slots = _SLOTS * cumulative.size
    total = jnp.maximum(cumulative[-1], 1)
    middle = (jnp.arange(slots, dtype=place.dtype) + 0.5) * (total / slots)
    table = jnp.minimum(jnp.searchsorted(cumulative, middle), cumulative.size - 1).astype(jnp.int32)
    entry = jnp.clip(place * (slots / total), 0, slots - 1).astype(jnp.int32)
    return table[entry]


def _osmotic_flow(
    points: Points,
    shell: Int[Array, " n"],
    capacity: Float[Array, " shells"],
    gap: Float[Array, " shells"],
    law: Law,
    chance: Float[Array, " n"],
) -> Int[Array, " n"]:
    """Points flow between adjacent shells, down the pressure.

    Who is more prominent in a shell is further out in it.

    With the density d_s = count / capacity and its mean d over the shells, the pressure is P_s =
    (d_s - d) / d - (d_{s+1} - d_{s-1}) / (4 d): deviation less half of the gradient. Through the
    wall between two shells flow rate · exp(-gap / mean gap) · (mean capacity of both) · (difference
    of P), never more than half of what would make both equally dense. `_SUBSTEPS` x S such steps
    are taken for the counts; then the points move at once, in the order of shells and prominence,
    to where the counts have them.
    """
    stats = _shell_statistics(points.prominence, shell, capacity)
    inner = capacity[:-1]
    outer = capacity[1:]
    wall = (gap[:-1] + gap[1:]) / 2
    permeability = (
        law.osmotic_rate * jnp.exp(-wall / jnp.mean(wall)) * (inner + outer) / 2
        if capacity.size > 1
        else wall
    )

    def step(_: Int[Array, ""], count: Float[Array, " shells"]) -> Float[Array, " shells"]:
        density = count / capacity
        mean = jnp.mean(density)
        padded = jnp.concatenate([density[:1], density, density[-1:]])
        pressure = (density - mean) / mean - (padded[2:] - padded[:-2]) / (4 * mean)
        flow = permeability * (pressure[:-1] - pressure[1:])
        even = (density[:-1] - density[1:]) / (2 * (1 / inner + 1 / outer))
        flow = jnp.where(
            even > 0,
            jnp.clip(flow, 0, jnp.maximum(even, 0)),
            jnp.clip(flow, jnp.minimum(even, 0), 0),
        )
        return count.at[:-1].add(-flow).at[1:].add(flow)

    count = jax.lax.fori_loop(0, _SUBSTEPS * capacity.size, step, stats.number)
    slot = _bins(points.prominence, shell, stats)
    held = jnp.zeros(capacity.size * _BINS, jnp.int32).at[slot].add(1).astype(count.dtype)
    place = jnp.cumsum(held)[slot] - chance * held[slot]
    return _look_up(jnp.cumsum(count), place)
