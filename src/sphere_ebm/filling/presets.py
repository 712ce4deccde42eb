"""Rules of water-filling, by name.

`docs/heuristics.md` tells what each preset was and what it reaches.
"""

import math
from dataclasses import dataclass
from typing import Literal, final

import jax.numpy as jnp
from jaxtyping import Array, Float

from sphere_ebm.filling.engine import Law
from sphere_ebm.rules import Range, checked_fields

RadialStart = Literal["norm", "information", "rank"]


@final
@dataclass(frozen=True, kw_only=True)
class Preset:
    """Rules of a water-filling run.

    Attributes:
        start: radius before the first pass, linear between the first and the last edge in the
            prominence (`norm`), in the information score prominence · (1 + variance of the
            normalised embedding) (`information`), or in the rank of the prominence (`rank`: as many
            points on every unit of radius).
        threshold: a point of an overloaded shell may be promoted when prominence - mean of its
            shell exceeds `threshold` times the standard deviation, or the mean, of its shell.
        relative_to: `deviation` or `mean`.
        overload_limit: in shells overloaded by more than this share of their capacity every point
            may be promoted.
        push: shells that a promoted point may cross on its way to room, multiplied by 1 +
            `excess_gain` · excess, the excess being how far it is above the threshold, as a share
            of the threshold.
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
        checked_fields(self, choices=_CHOICES, ranges=_RANGES)


_CHOICES = {"start": ("norm", "information", "rank"), "relative_to": ("deviation", "mean")}

_NOT_NEGATIVE = Range(0, math.inf, "a number >= 0")
_RANGES = {
    "osmotic_rate": _NOT_NEGATIVE,
    "passes": _NOT_NEGATIVE,
    "threshold": _NOT_NEGATIVE,
    "overload_limit": _NOT_NEGATIVE,
    "push": Range(1, math.inf, "a number >= 1"),
    "excess_gain": _NOT_NEGATIVE,
    "lateral_threshold": _NOT_NEGATIVE,
}

PRESETS: dict[str, Preset] = {
    "v1": Preset(start="rank", threshold=math.inf, overload_limit=0.05, push=3.0, passes=12),
    "prominence": Preset(start="information", push=2.0, excess_gain=10.0, passes=12),
    "production": Preset(start="information", overload_limit=0.5, passes=20),
    "osmotic": Preset(start="norm", threshold=math.inf, osmotic_rate=1.0, passes=20),
    "hybrid": Preset(start="information", push=2.0, excess_gain=10.0, osmotic_rate=0.3, passes=15),
    "lateral": Preset(start="norm", threshold=0.93, relative_to="mean", lateral=True, passes=20),
    "lateral_jit": Preset(start="norm", excess_gain=1.0, lateral=True, osmotic_rate=1.0, passes=8),
}
"""The presets by name; docs/heuristics.md tells what each was in the prototype, and what it
reaches.
"""

PATIENCE = 3
"""Passes without gain after which a run ends."""

TOLERANCE = 0.05
"""Share of its capacity by which a shell may miss it."""


def law_of(rules: Preset, seed: int) -> Law:
    """The numbers of a preset as arrays for the engine, which does not compile again for them."""

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
        patience=jnp.asarray(PATIENCE, jnp.int32),
        tolerance=number(TOLERANCE),
        seed=jnp.asarray(seed, jnp.uint32),
    )
