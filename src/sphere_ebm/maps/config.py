"""`PlacementConfig`: every choice that a placement depends on, besides its input."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Literal, final

from sphere_ebm.geometry.shells import SPACINGS, RadiusOrder, Shells, Spacing, make_shells
from sphere_ebm.hamiltonian.fields.evaluators import (
    EVALUATORS,
    MAX_PYRAMID_SHARPNESS,
    MAX_SHARPNESS,
    Evaluator,
)
from sphere_ebm.hamiltonian.lateral import KERNELS, Kernel
from sphere_ebm.rules import Range, checked_fields
from sphere_ebm.sampling.schemes import LANGEVIN_SCHEMES as SCHEMES
from sphere_ebm.sampling.schemes import Scheme

Start = Literal["pca", "random", "spectral", "water-filling"]
STARTS: tuple[str, ...] = ("pca", "random", "spectral", "water-filling")


@final
@dataclass(frozen=True, kw_only=True)
class PlacementConfig:
    """Configuration of `place`.

    Energies are in units of energy per point, radii in shell units, angles in radians.

    Integers and real numbers of any type are accepted, NumPy's too, and kept as `int` and `float`.

    Graph:
        seed: Random numbers come from this non-negative integer. The same input, seed and machine
            give the same bits.
        neighbours: A point is linked to its k nearest by cosine; k is at least 1. Fewer are taken
            when there are fewer points.
        affinity: How edges are weighted, `"uniform"` or `"perplexity"`.
        perplexity: With `affinity="perplexity"` a point has so many neighbours in effect, in
            [1, neighbours].
        max_degree: A node has at most so many edges, at least 2. This bounds the padding of the
            THRML program.
        neighbour_search: How neighbours are found, `"exact"`, `"approximate"` (extra `ann`) or
            `"auto"`.

    Energy:
        kernel: How the lateral attraction falls off, `"cauchy"`, `"gaussian"` or `"harmonic"`.
        lateral_strength: α >= 0, the strength of the attraction between neighbours.
        osmotic_strength: Π >= 0, the strength of the pressure that keeps the map open. With 0 only
            gravity and attraction are left.
        osmotic_evaluator: How the pressure is computed, `"direct"`, `"harmonic"`, `"pyramid"` or
            `"auto"`.
        interaction_length: Attraction and repulsion fade beyond this chord length 1/s. By
            default (None) s = 0.15 sqrt(N), at least 3 and at most 512. It is at most 2, the
            largest chord, and at least 1/53.3 for the harmonic evaluator and 1/512 for the pyramid.
        radius_stiffness: κ > 0, how firmly a radius is held, in energy / radius². A radius spreads
            by sqrt(T / κ).

    Shells:
        shells: The radii of the map are divided into so many shells.
        shell_spacing: How shells are spaced, `"linear"`, `"sqrt"`, `"geometric"`, `"golden"`,
            `"prime-like"`, `"quadratic"` or `"logarithmic"`; see
            `sphere_ebm.geometry.shells.make_shells`.
        inner_radius, outer_radius: Radii of the first and last shell. By default (None)
            `sphere_ebm.geometry.shells.make_shells` chooses them.
        capacity_exponent: p of the law c_s ∝ R_s^p by which points are shared among shells.
        radius_order: With `"outer"` prominent points lie outside, with `"core"` inside.

    Dynamics:
        scheme: How a step is taken, `"underdamped"`, `"leimkuhler-matthews"` or
            `"euler-maruyama"`.
        steps: Annealing takes at most so many steps.
        average: Mean and spread are taken over so many steps after annealing, at least 2. Samples
            are correlated, so a short average understates the spread.
        step_size: h > 0 at the first step, in units of the interaction time. Mobilities are 1/s²
            (directions; divided by the greatest of 1, α and Π/2) and 1/κ (radii).
        step_size_growth: `step_size` grows by this factor, along a straight line, during the first
            `cooling` of the steps. Forces are strong while the coupling is, and weaker later.
        friction: γ > 0 per unit time, for the underdamped scheme only.
        temperature_start, temperature_end: T >= 0 is lowered linearly between them during the first
            `cooling` of the steps.
        coupling_start: The lateral force is multiplied by this factor at the first step, and by
            less and less down to 1 during the first `cooling` of the steps ("early exaggeration").
        cooling: After this share of `steps`, in [0, 1], temperature and coupling stay at their end
            values.
        tolerance: A change of energy per point that counts as none. After cooling, annealing ends
            early when the means of the energy over 50 steps and the 50 steps before differ by less
            than this, or by less than thermal noise makes them; with 0 it never does.
        reinsertions: So many times, 25 steps apart and after cooling, points are offered the places
            of their neighbours, see `sphere_ebm.maps.reinsertion`; with 0 never.
        start: Where directions begin, `"pca"`, `"random"`, `"spectral"` or `"water-filling"` (those
            of the preset `lateral_jit`); `place` also accepts an array.

    Certainty:
        replicas: R >= 0 independent runs beside the map tell how sure its directions are. By
            default (None) fifteen up to 2 500 points, seven up to 5 000, three up to 20 000, one
            beyond. The map is the same for every number.
    """

    seed: int = 0
    neighbours: int = 15
    affinity: Literal["uniform", "perplexity"] = "uniform"
    perplexity: float = 10.0
    max_degree: int = 32
    neighbour_search: Literal["auto", "exact", "approximate"] = "auto"
    kernel: Kernel = "cauchy"
    lateral_strength: float = 1.0
    osmotic_strength: float = 2.0
    osmotic_evaluator: Evaluator = "auto"
    interaction_length: float | None = None
    radius_stiffness: float = 1.0
    shells: int = 32
    shell_spacing: Spacing = "linear"
    inner_radius: float | None = None
    outer_radius: float | None = None
    capacity_exponent: float = 1.5
    radius_order: RadiusOrder = "outer"
    scheme: Scheme = "underdamped"
    steps: int = 200
    average: int = 50
    step_size: float = 0.5
    step_size_growth: float = 1.4
    friction: float = 0.3
    temperature_start: float = 0.1
    temperature_end: float = 0.01
    coupling_start: float = 8.0
    cooling: float = 0.7
    tolerance: float = 1e-4
    reinsertions: int = 0
    start: Start = "pca"
    replicas: int | None = None

    def __post_init__(self) -> None:
        """Raises ValueError naming the parameter, its rule and what was received."""
        for name, value in checked_fields(self, choices=_CHOICES, ranges=_RANGES).items():
            object.__setattr__(self, name, value)
        self._check_together()

    def _check_together(self) -> None:
        """Raises ValueError for values that are each within their range, but not together."""
        length = self.interaction_length
        sharpest = {"harmonic": MAX_SHARPNESS, "pyramid": MAX_PYRAMID_SHARPNESS}.get(
            self.osmotic_evaluator, math.inf
        )
        if length is not None and 1 / length > sharpest:
            raise ValueError(
                f"`interaction_length` must be at least 1/{sharpest:.1f} = {1 / sharpest:.5f} for "
                f"osmotic_evaluator={self.osmotic_evaluator!r}; got {length!r}. Raise it, or take "
                "osmotic_evaluator='direct'."
            )
        if self.affinity == "perplexity" and self.perplexity > self.neighbours:
            raise ValueError(
                f"`perplexity` must be at most neighbours={self.neighbours}; got {self.perplexity}."
                " Lower it or raise `neighbours`."
            )
        # refuses radii that are out of order or too close
        make_shells(
            self.shells,
            spacing=self.shell_spacing,
            inner_radius=self.inner_radius,
            outer_radius=self.outer_radius,
            capacity_exponent=self.capacity_exponent,
        )

    def sharpness(self, n_points: int) -> float:
        """s, the inverse interaction length, for a map of `n_points`."""
        if self.interaction_length is not None:
            return 1.0 / self.interaction_length
        return min(max(0.15 * math.sqrt(n_points), 3.0), MAX_PYRAMID_SHARPNESS)

    def direction_mobility(self, n_points: int) -> float:
        """μ of the directions: 1/s², divided by max(1, α, Π/2).

        Forces grow with the strengths; a step that is stable at the default ones then is so at
        greater ones, too.
        """
        stiffness = max(1.0, self.lateral_strength, self.osmotic_strength / 2)
        return 1.0 / (self.sharpness(n_points) ** 2 * stiffness)

    def to_json(self) -> str:
        """One line of JSON with sorted keys; `from_json` reads it back.

        Equal configurations give equal lines.
        """
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "PlacementConfig":
        """The configuration that `to_json` wrote.

        Raises ValueError for unknown or bad parameters.
        """
        values: Any = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"a configuration must be a JSON object; got {text[:40]!r}.")
        unknown = sorted(set(values) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(
                f"unknown parameters {', '.join(unknown)}: written by a newer version of"
                " sphere_ebm?"
            )
        return cls(**values)


def shells_of(config: PlacementConfig) -> Shells:
    """The shells that a configuration describes."""
    return make_shells(
        config.shells,
        spacing=config.shell_spacing,
        inner_radius=config.inner_radius,
        outer_radius=config.outer_radius,
        capacity_exponent=config.capacity_exponent,
    )


_CHOICES: dict[str, tuple[str, ...]] = {
    "affinity": ("uniform", "perplexity"),
    "neighbour_search": ("auto", "exact", "approximate"),
    "kernel": KERNELS,
    "osmotic_evaluator": EVALUATORS,
    "shell_spacing": tuple(SPACINGS),
    "radius_order": ("outer", "core"),
    "scheme": SCHEMES,
    "start": STARTS,
}
_LARGE = 1e9
_TINY = 1e-9
_RANGES: dict[str, Range] = {
    "seed": Range(0, 2**32 - 1, "an integer in [0, 2^32)", whole=True),
    "neighbours": Range(1, _LARGE, "an integer >= 1", whole=True),
    "perplexity": Range(1, _LARGE, "a number >= 1"),
    "max_degree": Range(2, _LARGE, "an integer >= 2", whole=True),
    "lateral_strength": Range(0, _LARGE, "a number >= 0"),
    "osmotic_strength": Range(0, _LARGE, "a number >= 0"),
    "interaction_length": Range(1e-4, 2, "a number in [0.0001, 2], or None", optional=True),
    "radius_stiffness": Range(_TINY, _LARGE, "a positive number"),
    "shells": Range(1, 1_000_000, "an integer in [1, 1000000]", whole=True),
    "inner_radius": Range(_TINY, _LARGE, "a positive number, or None", optional=True),
    "outer_radius": Range(_TINY, _LARGE, "a positive number, or None", optional=True),
    "capacity_exponent": Range(-_LARGE, _LARGE, "a finite number"),
    "steps": Range(0, _LARGE, "an integer >= 0", whole=True),
    "average": Range(2, _LARGE, "an integer >= 2", whole=True),
    "step_size": Range(_TINY, _LARGE, "a positive number"),
    "step_size_growth": Range(_TINY, _LARGE, "a positive number"),
    "friction": Range(_TINY, _LARGE, "a positive number"),
    "temperature_start": Range(0, _LARGE, "a number >= 0"),
    "temperature_end": Range(0, _LARGE, "a number >= 0"),
    "coupling_start": Range(0, _LARGE, "a number >= 0"),
    "cooling": Range(0, 1, "a number in [0, 1]"),
    "replicas": Range(0, 1000, "an integer in [0, 1000], or None", whole=True, optional=True),
    "tolerance": Range(0, _LARGE, "a number >= 0"),
    "reinsertions": Range(0, _LARGE, "an integer >= 0", whole=True),
}
