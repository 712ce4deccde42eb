"""Where on a finished map to look for points like a query that is not on it, and how sure that is.

The query is compared with landmarks only; each of them deposits its relevance where its neighbours
lie on the map; the deposits add up to an amplitude in spherical harmonics (`probing`), and the
strongest maxima of its square are probes. A probe looks through a cone of half angle

    α_p = α₀ s_p sqrt(r_p / R) exp(-β ρ_p) (1 - q_p),      s_p = (ψ_p / ψ_1)^γ,

r_p the mean radius of relevant landmarks nearby and R the outermost radius of the map; ρ_p the
density of the map in a cap around the probe, relative to its mean; q_p in [0, 1) how peaked the
field is there (`Probes.openness` is 1 - q); s_p the strength of the probe relative to the first,
without which a faint probe would see as much as a strong one. α₀ is given, or solved so that a
share of the points is returned.

What it is worth, on wordnet-10k with 500 queries held out and an eighth of the points as landmarks
(recall@10 of the cosine neighbours, `benchmarks/navigator.py`): at 5 % returned .83; a cone at
random .04; the best single cone that exists for each query .80; the points on which the same
landmarks deposit most, without any map, .84. So cones say where on the map a query belongs; who
wants only the neighbours is served better by an index. Radii say little about cosine: radial bands
lose recall.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Float64, Int, Int64
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.exact import exact_neighbours
from sphere_ebm.maps.checks import checked_queries
from sphere_ebm.maps.placement import Placement
from sphere_ebm.quality.points import unit_directions
from sphere_ebm.retrieval.cones import CapDensity
from sphere_ebm.retrieval.navigator.aiming import Sight, View, nearest, ratios, stages, within
from sphere_ebm.retrieval.navigator.bearings import Answer, Bearings, Look
from sphere_ebm.retrieval.navigator.confidence import ConfidenceCurve
from sphere_ebm.retrieval.navigator.config import NavigatorConfig
from sphere_ebm.retrieval.navigator.landmarks import CHOICES, deposits, signatures
from sphere_ebm.retrieval.navigator.probing import ProbeTables, fine_grid, probe_batch

LEAST_POINTS = 64
"""A smaller map is searched faster than navigated."""
NEIGHBOURS_FOUND = 10
"""Confidence is about this many nearest neighbours by cosine."""
_LANDMARK_SHARE = 8
_MOST_LANDMARKS = 2048
# points that the cap for ρ holds on an even map, and trials below which a stage is calibrated on
# all pseudo-queries
_CAP_POINTS = 32
_FEW = 32


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class HarmonicNavigator:
    """A finished map, ready to be asked. Made by `HarmonicNavigator.build`; asked by `find`."""

    config: NavigatorConfig
    landmarks: Int[np.ndarray, " landmarks"]
    """(S,) their indices, sorted."""
    pseudo_queries: Int[np.ndarray, " trials"]
    """(M,) points of the map that calibrated the confidence, drawn at random; they are no landmarks
    and hold no deposit.
    """
    curves: tuple[ConfidenceCurve, ...]
    """One per stage, from the share of relevance held to the probability of success."""
    point_direction: Float64[np.ndarray, "points 3"]
    point_radius: Float64[np.ndarray, " points"]
    """In shell units."""
    unit: Float32[np.ndarray, "points width"]
    """The embeddings of the map, scaled to unit length; zero rows stay."""
    deposit: csr_array
    """(S, N) what a landmark of weight 1 puts where; see `deposits`."""
    tables: ProbeTables
    caps: CapDensity

    @classmethod
    def build(
        cls, placement: Placement, config: NavigatorConfig | None = None
    ) -> "HarmonicNavigator":
        """Choose landmarks, tabulate their signatures, calibrate.

        O(S N D) for the neighbours of landmarks, O(k S L²) for signatures, then M pseudo-queries.

        Raises:
            ValueError: the placement has no embeddings, fewer than 64 of them are not zero, or
                `landmarks` are too many.
        """
        config = NavigatorConfig() if config is None else config
        unit, pointing = _map_embeddings(placement)
        hidden, chosen = _hidden_and_landmarks(placement, unit, pointing, config)
        deposit = deposits(unit, chosen, hidden, config.deposit_neighbours)
        tables = ProbeTables(
            landmark=jnp.asarray(unit[chosen]),
            signature=jnp.asarray(
                signatures(deposit, placement.direction, config.band_limit, config.smoothing)
            ),
            direction=jnp.asarray(placement.direction[chosen]),
            radius=jnp.asarray(placement.radius[chosen]),
            temperature=jnp.asarray(config.temperature, jnp.float32),
            smoothing=jnp.asarray(config.smoothing, jnp.float32),
            grid=fine_grid(config.band_limit),
            probes=config.probes,
        )
        made = cls(
            config=config,
            landmarks=chosen,
            pseudo_queries=hidden,
            curves=(),
            point_direction=unit_directions(placement.direction),
            point_radius=placement.radius.astype(np.float64),
            unit=unit,
            deposit=deposit,
            tables=tables,
            caps=CapDensity.build(placement),
        )
        return dataclasses.replace(made, curves=made._calibrated())

    def with_share(self, share: float) -> "HarmonicNavigator":
        """The same navigator for another share of returned points, calibrated for it.

        Raises as `NavigatorConfig`.
        """
        made = dataclasses.replace(
            self, config=dataclasses.replace(self.config, share=share), curves=()
        )
        return dataclasses.replace(made, curves=made._calibrated())

    def find(self, queries: ArrayLike, *, aperture: float | None = None) -> Bearings:
        """Where to look for `queries` (Q, D), and the points there.

        Without `aperture`, exactly round(share N) points are returned for each query: the union of
        its cones at the α₀ that holds so many, halfway to the next point. Probes are used in stages
        of 1, 2, 4, ... until the confidence is `enough`. Where bands leave too few points, that
        query's cones take all radii. With `aperture`, α₀ in radians, all probes are used and as
        many points come back as there are.

        O(S (D + L²)) and O(P N) for each query: no similarity to points that are not landmarks.

        Raises:
            ValueError: queries of another width than the map's embeddings, not finite, or zero; a
                bad `aperture`.
        """
        if aperture is not None and not 0 <= aperture <= math.pi:
            raise ValueError(
                f"`aperture` must lie in [0, π]; got {aperture}. Give α₀ as a half angle in"
                " radians."
            )
        unit = checked_queries(queries, self.unit.shape[1])
        answer = Answer(len(unit), self.config.probes)
        for start in range(0, len(unit), self.config.batch):
            for look in self._looks(unit[start : start + self.config.batch]):
                if aperture is None:
                    used, sight, sure = self._staged(look)
                else:
                    best, _ = ratios(
                        self.point_direction, self.point_radius, look.view, slice(0, None)
                    )
                    used = self.config.probes
                    sight = within(best, aperture)
                    sure = math.nan
                answer.add(look, used, sight, sure)
        return answer.bearings()

    def _looks(self, unit: Float32[np.ndarray, "queries width"]) -> list[Look]:
        """Probes and their relative apertures.

        The queries are at most a batch, which is filled up so that one compilation serves all.

        A relative aperture is α_p / α₀ and at least 1e-6: a cone without width could not be scaled.
        """
        config = self.config
        rows = np.minimum(np.arange(config.batch), len(unit) - 1)
        probes = jax.device_get(probe_batch(self.tables, jnp.asarray(unit[rows])))
        axis = unit_rows(probes.direction.astype(np.float64))
        cap = 2 * math.asin(math.sqrt(min(1.0, _CAP_POINTS / len(self.unit))))
        crowd = self.caps(axis[: len(unit)].reshape(-1, 3), cap).reshape(len(unit), config.probes)
        radius = probes.radius.astype(np.float64)
        half = (
            np.full(radius.shape, np.inf)
            if config.band is None
            else config.band * probes.spread.astype(np.float64)
        )
        inner = np.maximum(radius - half, 0)
        outer = radius + half
        found = []
        for row in range(len(unit)):
            strength = np.sqrt(probes.density[row] / max(probes.density[row, 0], 1e-30)).astype(
                np.float64
            )
            reach = np.sqrt(radius[row] / self.point_radius.max())
            open_ = probes.openness[row] * np.exp(-config.crowding * crowd[row])
            relative = np.maximum(strength**config.strength_exponent * reach * open_, 1e-6)
            view = View(axis[row], relative, inner[row], outer[row], probes.found[row])
            found.append(Look(view, probes.weight[row].astype(np.float64), probes.density[row]))
        return found

    def _staged(self, look: Look) -> tuple[int, Sight, float]:
        """The first stage that is confident enough, else the last.

        Returns its probes, points and confidence.
        """
        for curve, (used, sight, held) in zip(self.curves, self._stages(look), strict=True):
            sure = float(curve(np.array([held]))[0])
            if sure >= self.config.enough:
                return used, sight, sure
        return used, sight, sure

    def _stages(self, look: Look, itself: int | None = None) -> Iterator[tuple[int, Sight, float]]:
        """Probes used, the points they return, and their share of the relevance, by stage.

        The share is of the query's relevance.
        """
        count = round(self.config.share * len(self.unit))
        relevance = look.weight @ self.deposit
        best = np.full(len(self.unit), np.inf)
        anywhere = np.full(len(self.unit), np.inf)
        done = 0
        for used in stages(self.config.probes):
            more = ratios(self.point_direction, self.point_radius, look.view, slice(done, used))
            best = np.minimum(best, more[0])
            anywhere = np.minimum(anywhere, more[1])
            done = used
            if itself is not None:
                best[itself] = anywhere[itself] = np.inf
            sight = nearest(best, anywhere, min(count, len(self.unit) - (itself is not None)))
            yield used, sight, float(relevance[sight.points].sum() / relevance.sum())

    def _calibrated(self) -> tuple[ConfidenceCurve, ...]:
        """A curve per stage, from the pseudo-queries that earlier stages did not end.

        Where few are left it comes from all of them.

        A pseudo-query is looked for as any query; it is left out of its own answer and of its own
        neighbours.
        """
        trials = self.pseudo_queries
        truth = true_neighbours(self.unit, trials)
        count = len(stages(self.config.probes))
        held = np.empty((len(trials), count))
        success = np.empty((len(trials), count), bool)
        returned = np.empty(len(self.unit), bool)
        for start in range(0, len(trials), self.config.batch):
            block = trials[start : start + self.config.batch]
            for here, look in enumerate(self._looks(self.unit[block]), start):
                for stage, (_, sight, share) in enumerate(self._stages(look, int(trials[here]))):
                    held[here, stage] = share
                    returned[:] = False
                    returned[sight.points] = True
                    success[here, stage] = returned[truth[here]].mean() >= self.config.level
        curves = []
        left = np.ones(len(trials), bool)
        for stage in range(count):
            kept = left if left.sum() >= _FEW else np.ones(len(trials), bool)
            curves.append(ConfidenceCurve.fit(held[kept, stage], success[kept, stage]))
            left &= curves[-1](held[:, stage]) < self.config.enough
        return tuple(curves)


def true_neighbours(
    unit: Float32[np.ndarray, "points width"], points: Int[np.ndarray, " asked"]
) -> Int64[np.ndarray, "asked neighbours"]:
    """The 10 other points of largest cosine to each of `points`, exact, in blocks. O(M N D)."""
    return exact_neighbours(unit, unit[points], NEIGHBOURS_FOUND, own=points)


def _map_embeddings(
    placement: Placement,
) -> tuple[Float32[np.ndarray, "points width"], Int[np.ndarray, " pointing"]]:
    """Embeddings of norm 1, zero rows kept, and the indices of the others."""
    if placement.embeddings is None:
        raise ValueError(
            "`placement` must hold its embeddings; got one without. "
            "Add them with `placement.with_embeddings(embeddings)`."
        )
    rows = placement.embeddings.astype(np.float64)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    pointing = np.flatnonzero(norm > 0)
    if len(pointing) < LEAST_POINTS:
        raise ValueError(
            f"`placement` must hold at least {LEAST_POINTS} points with embeddings that are not"
            f" zero; got {len(pointing)}. Compare the query with all of them instead."
        )
    return unit_rows(rows, norm).astype(np.float32), pointing


def _hidden_and_landmarks(
    placement: Placement,
    unit: Float32[np.ndarray, "points width"],
    pointing: Int[np.ndarray, " pointing"],
    config: NavigatorConfig,
) -> tuple[Int[np.ndarray, " hidden"], Int[np.ndarray, " landmarks"]]:
    """Points that play queries when confidence is calibrated, and landmarks among the others."""
    rng = np.random.default_rng([config.seed, 2])
    trials = min(config.pseudo_queries, len(pointing) // 4)
    hidden = np.sort(rng.choice(pointing, trials, replace=False))
    pool = np.setdiff1d(pointing, hidden)
    usual = min(_MOST_LANDMARKS, len(unit) // _LANDMARK_SHARE)
    count = usual if config.landmarks is None else config.landmarks
    if count > len(pool):
        raise ValueError(
            f"`landmarks` must be at most {len(pool)} on this map; got {count}. An eighth is usual."
        )
    choose = CHOICES[config.choice]
    return hidden, pool[choose(placement.direction[pool], unit[pool], count, config.seed)]
