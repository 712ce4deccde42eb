"""Where on a finished map to look for points like a query that is not on it, and how sure that is.

A guide says where (`guides`): the cells that a cascade finds, or the harmonic field of landmarks.
It gives probes, directions with a relative aperture, and a probe looks through a cone of half
angle α_p = α₀ a_p, all radii unless there are bands. α₀ is given, or solved so that a share of the
points is returned.

For cells a_p is how far a cell's points are spread. For a field, in which each landmark deposits
its relevance where its neighbours lie, so that the deposits add up to an amplitude in spherical
harmonics (`probing`) and the strongest maxima of its square are the probes,

    a_p = s_p sqrt(r_p / R) exp(-β ρ_p) (1 - q_p),      s_p = (ψ_p / ψ_1)^γ,

r_p the mean radius of relevant landmarks nearby and R the outermost radius of the map; ρ_p the
density of the map in a cap around the probe, relative to its mean; q_p in [0, 1) how peaked the
field is there (`Probes.openness` is 1 - q); s_p the strength of the probe relative to the first,
without which a faint probe would see as much as a strong one.

What both are worth is measured by `benchmarks/navigator.py` and told in docs/heuristics.md. Cones
say where on the map a query belongs; who wants only the neighbours is served better by the cascade
itself, or an index. Radii say little about cosine: radial bands lose recall.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32, Float64, Int, Int64
from numpy.typing import ArrayLike

from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.exact import exact_neighbours
from sphere_ebm.maps.checks import checked_queries
from sphere_ebm.maps.placement import Placement
from sphere_ebm.quality.points import unit_directions
from sphere_ebm.retrieval.navigator.aiming import Sight, nearest, ratios, stages, within
from sphere_ebm.retrieval.navigator.bearings import Answer, Bearings, Look
from sphere_ebm.retrieval.navigator.confidence import ConfidenceCurve
from sphere_ebm.retrieval.navigator.config import NavigatorConfig
from sphere_ebm.retrieval.navigator.guides import AbstractGuide, CellGuide, FieldGuide

LEAST_POINTS = 64
"""A smaller map is searched faster than navigated."""
NEIGHBOURS_FOUND = 10
"""Confidence is about this many nearest neighbours by cosine."""
# trials below which a stage is calibrated on all pseudo-queries
_FEW = 32


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Navigator:
    """A finished map, ready to be asked. Made by `Navigator.build`; asked by `find`."""

    config: NavigatorConfig
    guide: AbstractGuide
    """What tells where to look: a `CellGuide` or a `FieldGuide`, by `config.where`."""
    pseudo_queries: Int[np.ndarray, " trials"]
    """(M,) points of the map that calibrated the confidence, drawn at random; the guide does not
    know them.
    """
    curves: tuple[ConfidenceCurve, ...]
    """One per stage, from the share of relevance held to the probability of success."""
    point_direction: Float64[np.ndarray, "points 3"]
    point_radius: Float64[np.ndarray, " points"]
    """In shell units."""
    unit: Float32[np.ndarray, "points width"]
    """The embeddings of the map, scaled to unit length; zero rows stay."""

    @classmethod
    def build(cls, placement: Placement, config: NavigatorConfig | None = None) -> "Navigator":
        """Make the guide, and calibrate.

        O(N D) for cells; O(S N D) for the neighbours of landmarks and O(k S L²) for their
        signatures where a field is the guide; then M pseudo-queries.

        Raises:
            ValueError: the placement has no embeddings, fewer than 64 of them are not zero, or
                `landmarks` are too many.
        """
        config = NavigatorConfig() if config is None else config
        unit, pointing = _map_embeddings(placement)
        rng = np.random.default_rng([config.seed, 2])
        trials = min(config.pseudo_queries, len(pointing) // 4)
        hidden = np.sort(rng.choice(pointing, trials, replace=False))
        guide: AbstractGuide
        if config.where == "field":
            pool = np.setdiff1d(pointing, hidden)
            guide = FieldGuide.build(placement, unit, pool, hidden, config)
        else:
            guide = CellGuide.build(placement, unit, hidden, config)
        made = cls(
            config=config,
            guide=guide,
            pseudo_queries=hidden,
            curves=(),
            point_direction=unit_directions(placement.direction),
            point_radius=placement.radius.astype(np.float64),
            unit=unit,
        )
        return dataclasses.replace(made, curves=made._calibrated())

    def with_share(self, share: float) -> "Navigator":
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
        answer = Answer(len(unit), self.config.probe_count)
        for start in range(0, len(unit), self.config.batch):
            for look in self.guide.looks(unit[start : start + self.config.batch]):
                if aperture is None:
                    used, sight, sure = self._staged(look)
                else:
                    best, _ = ratios(
                        self.point_direction, self.point_radius, look.view, slice(0, None)
                    )
                    used = self.config.probe_count
                    sight = within(best, aperture)
                    sure = math.nan
                answer.add(look, used, sight, sure)
        return answer.bearings()

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
        relevance = look.weight @ self.guide.deposit
        best = np.full(len(self.unit), np.inf)
        anywhere = np.full(len(self.unit), np.inf)
        done = 0
        for used in stages(self.config.probe_count):
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
        count = len(stages(self.config.probe_count))
        held = np.empty((len(trials), count))
        success = np.empty((len(trials), count), bool)
        returned = np.empty(len(self.unit), bool)
        for start in range(0, len(trials), self.config.batch):
            block = trials[start : start + self.config.batch]
            for here, look in enumerate(self.guide.looks(self.unit[block]), start):
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
