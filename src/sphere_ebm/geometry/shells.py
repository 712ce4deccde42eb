"""Radial shells.

Spacings, capacities, the ideal radius of every point, and which shell a radius lies in.

Shell s is the interval (edges[s], edges[s+1]] and R_s = edges[s+1] is its radius. Its capacity is
the share of all points that it should hold, c_s ∝ R_s^p. With equal gaps and p = 1.5 the density of
points along r goes like r^1.5; far from the first shell their number within r therefore goes like
r^2.5, not like r^1.5.

Edges are kept in float64 but are float32 values, so that a float32 radius lies in the shell it was
made for.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Float, Float64, Int, Shaped

RadiusOrder = Literal["outer", "core"]


@final
@dataclass(frozen=True, eq=False)
class Shells:
    """S concentric shells.

    Attributes:
        edges: (S+1,) strictly increasing radii > 0 in float64, each of them a float32 value; shell
            s is (edges[s], edges[s+1]].
        capacity: (S,) share of all points that belongs in each shell; positive, the sum is 1.

    Raises:
        ValueError: an array breaks one of these rules.
    """

    edges: Float[np.ndarray, " edges"]
    capacity: Float[np.ndarray, " shells"]

    def __post_init__(self) -> None:
        edges = self.edges
        capacity = self.capacity
        if edges.size != capacity.size + 1 or capacity.size < 1:
            raise ValueError(
                f"`edges` must be one longer than `capacity`; got {edges.size} and {capacity.size}."
            )
        if not (np.isfinite(edges).all() and edges[0] > 0 and (np.diff(edges) > 0).all()):
            raise ValueError("`edges` must be finite, positive and strictly increasing.")
        if (edges != edges.astype(np.float32)).any():
            raise ValueError(
                "`edges` must be float32 values; round them with `edges.astype(np.float32)`."
            )
        if not ((capacity > 0).all() and abs(capacity.sum() - 1.0) < 1e-9):
            raise ValueError(
                f"`capacity` must be positive and sum to 1; got the sum {capacity.sum()}."
            )

    @property
    def count(self) -> int:
        """Number of shells S."""
        return self.capacity.size

    @property
    def radius(self) -> Float[np.ndarray, " shells"]:
        """R_s, the outer edge of every shell."""
        return self.edges[1:]


def _linear(
    step: Float[np.ndarray, " shells"], inner: float, outer: float
) -> Float[np.ndarray, " shells"]:
    return inner + (outer - inner) * step


def _sqrt(
    step: Float[np.ndarray, " shells"], inner: float, outer: float
) -> Float[np.ndarray, " shells"]:
    return inner + (outer - inner) * np.sqrt(step)


def _geometric(
    step: Float[np.ndarray, " shells"], inner: float, outer: float
) -> Float[np.ndarray, " shells"]:
    return inner * (outer / inner) ** step


def _quadratic(
    step: Float[np.ndarray, " shells"], inner: float, outer: float
) -> Float[np.ndarray, " shells"]:
    return inner + (outer - inner) * step**2


def _golden(
    step: Float[np.ndarray, " shells"], inner: float, outer: float
) -> Float[np.ndarray, " shells"]:
    return inner + (outer - inner) * (_GOLDEN_RATIO**step - 1) / (_GOLDEN_RATIO - 1)


def _prime_like(
    step: Float[np.ndarray, " shells"], inner: float, outer: float
) -> Float[np.ndarray, " shells"]:
    number = 1 + step * max(step.size - 1, 1)
    grown = number * np.log1p(number) - math.log(2)
    return inner + (outer - inner) * grown / max(grown[-1], 1.0)


def _logarithmic(
    step: Float[np.ndarray, " shells"], inner: float, outer: float
) -> Float[np.ndarray, " shells"]:
    return inner + (outer - inner) * np.log1p((math.e - 1) * step)


_GOLDEN_RATIO = (1 + math.sqrt(5)) / 2

Spacing = Literal["linear", "sqrt", "geometric", "golden", "prime-like", "quadratic", "logarithmic"]

SPACINGS: dict[
    str, Callable[[Float[np.ndarray, " shells"], float, float], Float[np.ndarray, " shells"]]
] = {
    "linear": _linear,
    "sqrt": _sqrt,
    "geometric": _geometric,
    "golden": _golden,
    "prime-like": _prime_like,
    "quadratic": _quadratic,
    "logarithmic": _logarithmic,
}
"""Spacing by name: step = s / (S - 1) in [0, 1], inner and outer radius -> R_s, increasing from
inner to outer.
"""


def minimum_radius(n_points: int, count: int) -> float:
    """Inner radius for a map of `n_points` on `count` shells, from the data's scale.

    The heuristics choose it so:

    max(16, 0.25 sqrt(S)) below 10^5 points, max(32, 0.5 sqrt(S)) below 10^7, max(64, 0.1 S) below
    10^9, then max(128, 0.125 S). `make_shells` does not know the number of points and takes the
    first of them.
    """
    if n_points < 10**5:
        return max(16.0, 0.25 * math.sqrt(count))
    if n_points < 10**7:
        return max(32.0, 0.5 * math.sqrt(count))
    return max(64.0, 0.1 * count) if n_points < 10**9 else max(128.0, 0.125 * count)


def make_shells(
    count: int = 32,
    *,
    spacing: str = "linear",
    inner_radius: float | None = None,
    outer_radius: float | None = None,
    capacity_exponent: float = 1.5,
) -> Shells:
    """Shells with radii from `inner_radius` to `outer_radius` and capacities c_s ∝ R_s^p.

    The innermost shell is as thick as the one above it, but never reaches below half its own
    radius; a single shell is one unit thick. Radii are rounded to float32.

    Args:
        count: number of shells S >= 1.
        spacing: a key of `SPACINGS`. `geometric` is a (b / a)^t, all others are a + (b - a) g(t), t
            = s / (S - 1), with g = t for `linear`, sqrt(t) for `sqrt`, t² for `quadratic`, log(1 +
            (e - 1) t) for `logarithmic`, (Φ^t - 1) / (Φ - 1) with the golden ratio Φ for `golden`
            (the last gap is about Φ times the first), and for `prime-like` n log(1 + n), n = s + 1,
            as prime numbers grow, shifted and scaled to [0, 1].
        inner_radius: a = R_0 > 0; by default max(16, 0.25 sqrt(S)).
        outer_radius: b = R_{S-1} > a; by default a + S - 1 (unit gaps when linear). With one shell
            b = a.
        capacity_exponent: p.

    Raises:
        ValueError: an argument is out of its range, or two radii coincide in float32.
    """
    if count < 1:
        raise ValueError(f"`count` must satisfy count >= 1; got {count}.")
    if spacing not in SPACINGS:
        raise ValueError(f"`spacing` must be one of {', '.join(SPACINGS)}; got {spacing!r}.")
    if not np.isfinite(capacity_exponent):
        raise ValueError(f"`capacity_exponent` must be finite; got {capacity_exponent}.")
    inner, outer = _range_of_shells(count, inner_radius, outer_radius)
    radius = SPACINGS[spacing](np.arange(count) / max(count - 1, 1), inner, outer)
    first_gap = radius[1] - radius[0] if count > 1 else 1.0
    edges = (
        np.append(max(radius[0] - first_gap, radius[0] / 2), radius)
        .astype(np.float32)
        .astype(np.float64)
    )
    if not (np.diff(edges) > 0).all():
        raise ValueError(
            f"`count`={count} shells from {inner} to {outer} are closer than float32 resolves; "
            "take fewer shells or a wider range."
        )
    weight = (edges[1:] / edges[-1]) ** capacity_exponent
    if not (np.isfinite(weight).all() and (weight / weight.sum() > 0).all()):
        raise ValueError(
            f"`capacity_exponent`={capacity_exponent} leaves a shell without capacity; take one"
            " nearer 0."
        )
    return Shells(edges=edges, capacity=weight / weight.sum())


def _range_of_shells(
    count: int, inner_radius: float | None, outer_radius: float | None
) -> tuple[float, float]:
    """The radii of the innermost and the outermost shell; raises ValueError for no range."""
    inner = max(16.0, 0.25 * count**0.5) if inner_radius is None else inner_radius
    outer = inner + count - 1 if outer_radius is None else outer_radius
    if not (
        0 < inner < np.inf and outer < np.inf and (inner < outer if count > 1 else inner == outer)
    ):
        rule = (
            "0 < inner_radius < outer_radius"
            if count > 1
            else "0 < inner_radius = outer_radius (one shell)"
        )
        raise ValueError(
            f"`inner_radius` and `outer_radius` must satisfy {rule}; got {inner} and {outer}."
        )
    return inner, outer


def radii_tell(prominence: Shaped[np.ndarray, " points"]) -> bool:
    """Whether radii order anything: not where all of several points have one prominence."""
    return len(prominence) < 2 or bool(np.ptp(prominence) > 0)


def ideal_radii(
    prominence: Shaped[np.ndarray, " points"],
    shells: Shells,
    order: RadiusOrder = "outer",
    *,
    seed: int = 0,
) -> Float[np.ndarray, " points"]:
    """The radius r* of every point, from the rank of its prominence through the capacity law.

    r* is where the cumulative capacity, linear between edges, reaches (rank + 1/2) / N. Every shell
    then holds within one point of N c_s, in float32 too: a radius that rounding would carry over an
    edge is put back on its own side.

    Args:
        prominence: (N,) any finite real numbers; only their order counts, in float64. Equal values
            are ranked by a random permutation, since neither their index nor anything else orders
            them.
        shells: their edges and capacities.
        order: `outer` ranks upwards, so that high prominence lies outside; `core` downwards, so
            that it lies inside.
        seed: >= 0, of that permutation; the same seed and N give the same one.

    Returns:
        (N,) float32. Cost O(N log N).

    Raises:
        ValueError: `prominence` is not finite, or `order` is not known.
    """
    prominence = np.asarray(prominence, dtype=np.float64)
    if not np.isfinite(prominence).all():
        raise ValueError("`prominence` must be finite; replace or drop the points where it is not.")
    if order not in ("outer", "core"):
        raise ValueError(f"`order` must be 'outer' or 'core'; got {order!r}.")
    points = prominence.size
    target = (np.arange(points) + 0.5) / max(points, 1)
    cumulative = np.append(0.0, np.cumsum(shells.capacity))
    cumulative[-1] = 1.0
    first = np.searchsorted(target, cumulative[1:-1], side="right")
    held = np.diff(first, prepend=0, append=points)
    edges = shells.edges.astype(np.float32)
    above = np.nextafter(edges[:-1], np.float32(np.inf))
    radius = radii_at_ranks(target, shells)
    ideal = np.empty(points, dtype=np.float32)
    ideal[ranked(prominence, order, seed)] = np.clip(
        radius, np.repeat(above, held), np.repeat(edges[1:], held)
    )
    return ideal


def radii_at_ranks(
    share: Float[np.ndarray, " points"], shells: Shells
) -> Float[np.ndarray, " points"]:
    """The radius below which a `share` in [0, 1] of the capacity lies, linear between edges.

    It is r* of `ideal_radii` for share = (rank + 1/2) / N, in float32.
    """
    cumulative = np.append(0.0, np.cumsum(shells.capacity))
    cumulative[-1] = 1.0
    return np.interp(share, cumulative, shells.edges).astype(np.float32)


def ranked(
    prominence: Float64[np.ndarray, " points"], order: RadiusOrder, seed: int
) -> Int[np.ndarray, " points"]:
    """Indices of points from the innermost to the outermost.

    Equal values come in a random order, by `seed`.
    """
    ranked = np.argsort(prominence if order == "outer" else -prominence)
    ordered = prominence[ranked]
    equal = ordered[1:] == ordered[:-1]
    tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
    if tied.size:
        # a stream of its own: initial directions are drawn from the bare seed
        draw = np.random.default_rng([seed, 1]).random(prominence.size)
        group = np.cumsum(np.append(True, ~equal))[tied]
        ranked[tied] = ranked[tied][np.argsort(group + draw[ranked[tied]])]
    return ranked


def assign_shells(
    radius: Float[np.ndarray, " points"], shells: Shells
) -> Int[np.ndarray, " points"]:
    """The shell (int32) that holds each radius.

    Radii beyond the first or last edge belong to the nearest shell.

    Raises:
        ValueError: a radius is not finite.
    """
    radius = np.asarray(radius)
    if not np.isfinite(radius).all():
        raise ValueError("`radius` must be finite.")
    return np.searchsorted(shells.edges[1:-1], radius, side="left").astype(np.int32)


def occupancy(shell: Int[np.ndarray, " points"], shells: Shells) -> Int[np.ndarray, " shells"]:
    """Number of points (int64) in every shell.

    Raises:
        ValueError: a shell index is outside [0, S-1].
    """
    shell = np.asarray(shell)
    if shell.size and not (shell.min() >= 0 and shell.max() < shells.count):
        raise ValueError(
            f"`shell` must lie in [0, {shells.count - 1}]; got {shell.min()} to {shell.max()}."
        )
    return np.bincount(shell, minlength=shells.count).astype(np.int64)
