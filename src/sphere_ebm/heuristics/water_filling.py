"""Water-filling: points start on a shell by their prominence and overflow to other shells until capacities are met.

A comparator and a start for the sampler, not a way to good maps: radii are treated at length, directions hardly. One
engine (`sphere_ebm.heuristics.filling`) runs the presets of `PRESETS`, which stand for the seven variants of the
prototype that this package replaces (TheSphere-JAX, in the public repository SashimiSaketoro/blt-burn, file
SphereCodebase11_20_25.md). `capacity_sort` is the exact answer to what all of them approach.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64, Int32
from numpy.typing import ArrayLike

from sphere_ebm.config import PlacementConfig, shells_of
from sphere_ebm.heuristics.filling import Filling, Law, Points, Tally, fill
from sphere_ebm.heuristics.initial import pca_directions, principal_components, random_directions
from sphere_ebm.heuristics.lateral_search import LateralPlan
from sphere_ebm.inputs import (
    checked_config,
    checked_embeddings,
    checked_numbers,
    checked_prominence,
    checked_start,
    real_array,
)
from sphere_ebm.placement import Placement
from sphere_ebm.quality import shell_deviation
from sphere_ebm.shells import Shells, assign_shells, ideal_radii, minimum_radius, occupancy, ranked

RadialStart = Literal["norm", "information", "rank"]

_FEATURES = 8
_ROWS = 65_536


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Rules of a water-filling run.

    Attributes:
        start: radius before the first pass, linear between the first and the last edge in the prominence (`norm`), in
            the information score prominence · (1 + variance of the normalised embedding) (`information`), or in the
            rank of the prominence (`rank`: as many points on every unit of radius).
        threshold: a point of an overloaded shell may be promoted when prominence - mean of its shell exceeds
            `threshold` times the standard deviation, or the mean, of its shell.
        relative_to: `deviation` or `mean`.
        overload_limit: in shells overloaded by more than this share of their capacity every point may be promoted.
        push: shells that a promoted point may cross on its way to room, multiplied by 1 + `excess_gain` · excess, the
            excess being how far it is above the threshold, as a share of the threshold.
        excess_gain: see `push`; 0: excess does not count.
        lateral: whether promoted points look for a better direction on their shell first.
        lateral_threshold: gain of score for which a point stays.
        osmotic_rate: strength of the flow between adjacent shells; 0: none.
        passes: at most this many; 0 leaves the points at the start.
    """

    start: RadialStart
    threshold: float = 1.0
    relative_to: Literal["deviation", "mean"] = "deviation"
    overload_limit: float = math.inf
    push: float = 1.0
    excess_gain: float = 0.0
    lateral: bool = False
    lateral_threshold: float = 0.1
    osmotic_rate: float = 0.0
    passes: int = 20

    def __post_init__(self) -> None:
        """Raises ValueError naming the rule that is broken."""
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"`{name}` must be one of {', '.join(choices)}; got {getattr(self, name)!r}.")
        for name, low in _LEAST.items():
            if not getattr(self, name) >= low:
                raise ValueError(f"`{name}` must be a number >= {low:g}; got {getattr(self, name)!r}.")


_CHOICES = {"start": ("norm", "information", "rank"), "relative_to": ("deviation", "mean")}
_LEAST = {"threshold": 0, "overload_limit": 0, "push": 1, "excess_gain": 0, "lateral_threshold": 0}
_LEAST |= {"osmotic_rate": 0, "passes": 0}

PRESETS: dict[str, Preset] = {
    "v1": Preset(start="rank", threshold=math.inf, overload_limit=0.05, push=3.0, passes=12),
    "prominence": Preset(start="information", push=2.0, excess_gain=10.0, passes=12),
    "production": Preset(start="information", overload_limit=0.5, passes=20),
    "osmotic": Preset(start="norm", threshold=math.inf, osmotic_rate=1.0, passes=20),
    "hybrid": Preset(start="information", push=2.0, excess_gain=10.0, osmotic_rate=0.3, passes=15),
    "lateral": Preset(start="norm", threshold=0.93, relative_to="mean", lateral=True, passes=20),
    "lateral_jit": Preset(start="norm", excess_gain=1.0, lateral=True, osmotic_rate=1.0, passes=8),
}
"""The presets by name; docs/heuristics.md tells what each was in the prototype, and what it reaches."""

_PATIENCE = 3
_TOLERANCE = 0.05


def water_filling(
    embeddings: ArrayLike | None = None,
    prominence: ArrayLike | None = None,
    config: PlacementConfig | None = None,
    *,
    preset: str | Preset = "lateral_jit",
    variance: ArrayLike | None = None,
    start: ArrayLike | None = None,
) -> Placement:
    """Place points by one of the water-filling presets.

    Args:
        embeddings: (N, D) real numbers. May be left out when `prominence` is given: directions are then random, and
            points count as alike when their information scores have near ranks.
        prominence: (N,) real numbers; by default the norms of the embeddings.
        config: seed, shells and their capacities, radius order, and `start` of the directions (`pca` or `random`;
            others count as `pca`). Where neither radius is given, `inner_radius` becomes `minimum_radius(N, shells)`.
        preset: a key of `PRESETS`, or a `Preset`.
        variance: (N,) variance of each normalised embedding over its dimensions; by default that of the embeddings,
            0 without.
        start: (N, 3) initial directions instead.

    Returns:
        A `Placement` without an energy trace or spread. `info` holds `passes`, `promotions`, `lateral_moves`,
        `lateral_share` (of all points that left their place by promotion or search), `osmotic_moves`, `start_deviation`
        and `deviation` (mean over shells of |count - N c_s| / (N c_s), before and after), `overload_mean` and
        `overload_max` (of count / (N c_s) - 1 over the shells that hold too many, 0 when none does). `converged` is
        true when every shell holds its capacity to within 5 % or one point, and never otherwise. `deviation` is never
        above `start_deviation`, but for rounding. Prominence is ordered within a shell to a 256th of 12 of its standard
        deviations: outliers by many powers of ten leave the others in their shell unordered.

    Raises:
        ValueError: neither embeddings nor prominence, an unknown preset, arrays of the wrong shape or not finite.

    Cost: O(N) a pass, compiled once per shape of the input; no array larger than N x max(D, 8).
    """
    rules, name = _rules(preset)
    given = _given(embeddings, prominence, config, start)
    n, shells = len(given.prominence), shells_of(given.config)
    signed = given.prominence if given.config.radius_order == "outer" else -given.prominence
    spread = _variance(given.embeddings, n) if variance is None else checked_numbers("variance", variance, n)
    radius = _start_radius(signed, spread, shells, rules.start, given.config.seed)
    first = assign_shells(radius, shells)
    info = _done(None) | {"start_deviation": _deviation(first, shells)} if n else {}
    if n == 0 or rules.passes == 0:
        return given.placement(radius, given.direction, f"water-filling: {name}", info)
    filling, tally = fill(
        _points(signed, _features(given.embeddings, signed * (1 + spread)) if rules.lateral else None),
        Filling(jnp.asarray(first), jnp.asarray(given.direction.T)),
        jnp.asarray(n * shells.capacity, jnp.float32),
        jnp.asarray(np.diff(shells.edges), jnp.float32),
        _law(rules, given.config.seed),
        LateralPlan.of(n, shells.count) if rules.lateral else None,
        rules.osmotic_rate > 0,
    )
    shell, direction = np.asarray(filling.shell), np.asarray(filling.direction).T.copy()
    part = (radius - shells.edges[:-1][first]) / np.diff(shells.edges)[first]
    return given.placement(_within(shell, part, shells), direction, f"water-filling: {name}", info | _done(tally))


def capacity_sort(
    embeddings: ArrayLike | None = None,
    prominence: ArrayLike | None = None,
    config: PlacementConfig | None = None,
    *,
    start: ArrayLike | None = None,
) -> Placement:
    """The exact answer to what water-filling approaches: radii by the rank of the prominence through the capacity law.

    Every shell holds its capacity to within one point, and radii order the prominence perfectly; the radii are those of
    `sphere_ebm.shells.ideal_radii`. Directions are those of the start. `info` holds what was reached.
    Arguments and errors as in `water_filling`. Cost O(N log N).
    """
    given = _given(embeddings, prominence, config, start)
    shells = shells_of(given.config)
    radius = ideal_radii(given.prominence, shells, given.config.radius_order, seed=given.config.seed)
    return given.placement(radius, given.direction, "capacity sort", {})


class _Given(NamedTuple):
    """Checked input."""

    embeddings: Float32[np.ndarray, "points width"] | None
    prominence: Float64[np.ndarray, " points"]
    direction: Float32[np.ndarray, "points 3"]
    config: PlacementConfig
    notes: tuple[str, ...]

    def placement(
        self,
        radius: Float32[np.ndarray, " points"],
        direction: Float32[np.ndarray, "points 3"],
        method: str,
        info: dict[str, int | float],
    ) -> Placement:
        """What `radius` and `direction` make of these points; adds to `info` what was reached."""
        shells = shells_of(self.config)
        shell = assign_shells(radius, shells)
        still = np.zeros(len(radius), np.float32)
        return Placement(
            direction=direction,
            radius=radius,
            shell=shell,
            radius_std=still,
            angle_std=still.copy(),
            prominence=self.prominence.astype(np.float32),
            energy={},
            step=np.zeros(0, np.int64),
            converged=_fits(shell, shells),
            config=self.config,
            notes=self.notes,
            embeddings=self.embeddings,
            method=method,
            info=info | _reached(shell, shells),
        )


def _given(
    embeddings: ArrayLike | None, prominence: ArrayLike | None, config: PlacementConfig | None, start: ArrayLike | None
) -> _Given:
    config = checked_config(config)
    rows = None if embeddings is None else checked_embeddings(embeddings)
    if rows is None and prominence is None:
        raise ValueError("`embeddings` or `prominence` must be given; got neither.")
    unseen = np.zeros((real_array("prominence", prominence).size, 0), np.float32) if rows is None else rows
    order, notes = checked_prominence(prominence, unseen)
    n = len(order)
    if config.inner_radius is None and config.outer_radius is None:
        config = dataclasses.replace(config, inner_radius=minimum_radius(n, config.shells))
    if start is not None:
        direction = checked_start(start, n)
    elif rows is None or config.start == "random":
        direction = random_directions(n, config.seed)
    else:
        direction = pca_directions(rows, config.seed)
    return _Given(rows, order, direction, config, tuple(notes))


def _rules(preset: str | Preset) -> tuple[Preset, str]:
    if isinstance(preset, Preset):
        return preset, "own rules"
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ValueError(f"`preset` must be one of {', '.join(PRESETS)}, or a Preset; got {preset!r}.")
    return PRESETS[preset], preset


def _start_radius(
    prominence: Float64[np.ndarray, " points"],
    variance: Float64[np.ndarray, " points"],
    shells: Shells,
    start: RadialStart,
    seed: int,
) -> Float32[np.ndarray, " points"]:
    """Radii within the edges of the shells; all in the middle where nothing tells points apart."""
    score = prominence if start == "norm" else prominence * (1 + variance)
    if start == "rank":
        score = np.empty(len(prominence))
        score[ranked(prominence, "outer", seed)] = np.arange(len(prominence))
    low, high = (score.min(), score.max()) if score.size else (0.0, 0.0)
    share = (score - low) / (high - low) if high > low else np.full(score.shape, 0.5)
    inner, outer = shells.edges[0], shells.edges[-1]
    radius = (inner + (outer - inner) * share).astype(np.float32)
    return np.clip(radius, np.nextafter(np.float32(inner), np.float32(np.inf)), np.float32(outer))


def _variance(embeddings: Float32[np.ndarray, "points width"] | None, n: int) -> Float64[np.ndarray, " points"]:
    """Variance over the dimensions of each embedding divided by its norm; 0 for zero vectors and without embeddings."""
    found = np.zeros(n)
    if embeddings is None or embeddings.shape[1] == 0:
        return found
    for first in range(0, n, _ROWS):
        rows = embeddings[first : first + _ROWS].astype(np.float64)
        square = (rows**2).sum(axis=1)
        found[first : first + len(rows)] = rows.var(axis=1) / np.where(square > 0, square, 1)
    return found


def _features(
    embeddings: Float32[np.ndarray, "points width"] | None, score: Float64[np.ndarray, " points"]
) -> Float32[np.ndarray, "points features"]:
    """Unit vectors whose product tells how alike two points are.

    The 8 leading principal components of the embeddings, scaled to unit length; without embeddings half a circle along
    the rank of the information score.
    """
    n = len(score)
    if embeddings is None or embeddings.shape[1] == 0:
        angle = np.empty(n)
        angle[np.argsort(score)] = (np.arange(n) + 0.5) * (np.pi / n)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    scores, _ = principal_components(embeddings, _FEATURES)
    length = np.linalg.norm(scores, axis=1, keepdims=True)
    return np.divide(scores, length, out=np.zeros_like(scores), where=length > 0).astype(np.float32)


def _points(
    prominence: Float64[np.ndarray, " points"], features: Float32[np.ndarray, "points features"] | None
) -> Points:
    mean, std = float(prominence.mean()), float(prominence.std())
    scale = std if std > 0 else 1.0
    features = np.zeros((len(prominence), 0), np.float32) if features is None else features
    standard = ((prominence - mean) / scale).astype(np.float32)
    return Points(jnp.asarray(standard), jnp.asarray(features.T), jnp.asarray(mean / scale, jnp.float32))


def _law(rules: Preset, seed: int) -> Law:
    def number(value: float) -> Float[Array, ""]:
        return jnp.asarray(value, jnp.float32)

    return Law(
        threshold=number(rules.threshold),
        relative_to_mean=jnp.asarray(rules.relative_to == "mean"),
        overload_limit=number(rules.overload_limit),
        push=number(rules.push),
        excess_gain=number(rules.excess_gain),
        lateral_threshold=number(rules.lateral_threshold),
        osmotic_rate=number(rules.osmotic_rate),
        passes=jnp.asarray(rules.passes, jnp.int32),
        patience=jnp.asarray(_PATIENCE, jnp.int32),
        tolerance=number(_TOLERANCE),
        seed=jnp.asarray(seed, jnp.uint32),
    )


def _within(
    shell: Int32[np.ndarray, " points"], part: Float64[np.ndarray, " points"], shells: Shells
) -> Float32[np.ndarray, " points"]:
    """The radius at `part` of the thickness of each point's shell, on the shell's own side of its edges in float32."""
    edges = shells.edges.astype(np.float32)
    radius = (shells.edges[:-1][shell] + part * np.diff(shells.edges)[shell]).astype(np.float32)
    return np.clip(radius, np.nextafter(edges[:-1], np.float32(np.inf))[shell], edges[1:][shell])


def _done(tally: Tally | None) -> dict[str, int | float]:
    """What a run did; see `water_filling`. None: nothing."""
    counts = [0, 0, 0, 0] if tally is None else [int(count) for count in tally[:4]]
    passes, promotions, lateral, osmotic = counts
    return {
        "passes": passes,
        "promotions": promotions,
        "lateral_moves": lateral,
        "lateral_share": lateral / max(promotions + lateral, 1),
        "osmotic_moves": osmotic,
    }


def _deviation(shell: Int32[np.ndarray, " points"], shells: Shells) -> float:
    return shell_deviation(shell, shells).mean_relative


def _reached(shell: Int32[np.ndarray, " points"], shells: Shells) -> dict[str, int | float]:
    """How full the shells are; nothing without points."""
    if not len(shell):
        return {}
    load = occupancy(shell, shells) / (len(shell) * shells.capacity) - 1
    over = load[load > 0]
    return {
        "deviation": _deviation(shell, shells),
        "overload_mean": float(over.mean()) if over.size else 0.0,
        "overload_max": float(over.max(initial=0.0)),
    }


def _fits(shell: Int32[np.ndarray, " points"], shells: Shells) -> bool:
    """Whether every shell holds its capacity to within `_TOLERANCE` or one point."""
    wanted = len(shell) * shells.capacity
    return bool((np.abs(occupancy(shell, shells) - wanted) <= np.maximum(_TOLERANCE * wanted, 1)).all())
