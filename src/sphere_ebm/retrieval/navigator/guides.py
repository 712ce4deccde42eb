"""What tells the navigator where on a map to look: the cascade over its cells, or a field.

A guide knows the map without its hidden points, which calibrate the confidence as queries that
never were on it. For each query it gives cones up to a common scale, and what it saw: the weights
of its sources, nodes of cells or landmarks, and what each source of weight 1 puts on which points.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int
from scipy.sparse import csr_array

from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.maps.placement import Placement
from sphere_ebm.retrieval.cascade import Cascade
from sphere_ebm.retrieval.cones import CapDensity
from sphere_ebm.retrieval.navigator.aiming import View
from sphere_ebm.retrieval.navigator.bearings import Look
from sphere_ebm.retrieval.navigator.config import NavigatorConfig
from sphere_ebm.retrieval.navigator.landmarks import CHOICES, deposits, signatures
from sphere_ebm.retrieval.navigator.probing import ProbeTables, fine_grid, probe_batch
from sphere_ebm.retrieval.pyramid import MapPyramid

_LANDMARK_SHARE = 8
_MOST_LANDMARKS = 2048
# points that the cap for ρ holds on an even map
_CAP_POINTS = 32


class AbstractGuide(ABC):
    """Where to look for queries on one map.

    Attributes:
        deposit: (S, N) what a source of weight 1 puts where; rows sum to 1, hidden points get none.
    """

    deposit: csr_array

    @abstractmethod
    def looks(self, unit: Float32[np.ndarray, "queries width"]) -> list[Look]:
        """Cones up to a scale and weights of the sources, for a batch of unit queries at most."""


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class CellGuide(AbstractGuide):
    """The cells that a cascade finds: cones around the best of them.

    The axis of a cell of one point is that point. Where fewer points are asked for than there are
    such cells, their cones hold a point each, and the first of these are returned.
    """

    config: NavigatorConfig
    deposit: csr_array
    """(C, N) of the cells of the last level: an equal share for each of their points."""
    cascade: Cascade

    @classmethod
    def build(
        cls,
        placement: Placement,
        unit: Float32[np.ndarray, "points width"],
        hidden: Int[np.ndarray, " hidden"],
        config: NavigatorConfig,
    ) -> "CellGuide":
        """The pyramid of all points that are not hidden. O(N D)."""
        known = np.setdiff1d(np.arange(len(unit)), hidden)
        pyramid = MapPyramid.of_points(
            placement.direction[known], placement.radius[known], unit[known]
        )
        level = pyramid.levels[-1]
        share = 1 / np.repeat(level.count, level.count)
        rows = (share, known[pyramid.order], level.first)
        deposit = csr_array(rows, shape=(len(level), len(unit)))
        return cls(config=config, deposit=deposit, cascade=Cascade.build(pyramid))

    def looks(self, unit: Float32[np.ndarray, "queries width"]) -> list[Look]:
        """Cones around the best cells, up to a scale as wide as their points are spread.

        The weight of a cell is that of a landmark: exp((c - max c) / (τ std(c))) over those that
        were compared last. Cells of which there are none, or whose directions cancel, are not
        found.
        """
        count = self.config.probe_count
        reached = self.cascade.find(unit, work=self.config.work)
        level = self.cascade.pyramid.levels[-1]
        short = max(count - reached.nodes.shape[1], 0)
        nodes = np.pad(reached.nodes, ((0, 0), (0, short)), constant_values=-1)[:, :count]
        cones = self.cascade.cones_at(np.maximum(nodes, 0))
        there = (nodes >= 0) & (cones.aperture < math.pi)
        around = 4 * math.pi / 4**level.level
        found = []
        for row in range(len(unit)):
            held = reached.nodes[row] >= 0
            score = reached.score[row, held].astype(np.float64)
            weight = np.zeros(len(level))
            scale = max(self.config.temperature * score.std(), 1e-6)
            weight[reached.nodes[row, held]] = np.exp((score - score.max()) / scale)
            density = np.where(there[row], weight[nodes[row]], 0) / (weight.sum() * around)
            everywhere = np.zeros(count), np.full(count, np.inf)
            view = View(cones.direction[row], cones.aperture[row], *everywhere, there[row])
            found.append(Look(view, weight, density.astype(np.float32)))
        return found


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class FieldGuide(AbstractGuide):
    """Landmarks that a query is compared with, and the harmonic field of what they deposit."""

    config: NavigatorConfig
    landmarks: Int[np.ndarray, " landmarks"]
    """(S,) their indices, sorted."""
    deposit: csr_array
    tables: ProbeTables
    caps: CapDensity
    points: int
    outermost: float
    """The largest radius of the map, in shell units."""

    @classmethod
    def build(
        cls,
        placement: Placement,
        unit: Float32[np.ndarray, "points width"],
        pool: Int[np.ndarray, " pool"],
        hidden: Int[np.ndarray, " hidden"],
        config: NavigatorConfig,
    ) -> "FieldGuide":
        """Choose landmarks from the `pool` of points and tabulate their signatures.

        O(S N D) for the neighbours of landmarks, O(k S L²) for signatures.

        Raises ValueError for more landmarks than there are points to choose from.
        """
        usual = min(_MOST_LANDMARKS, len(unit) // _LANDMARK_SHARE)
        count = usual if config.landmarks is None else config.landmarks
        if count > len(pool):
            raise ValueError(
                f"`landmarks` must be at most {len(pool)} on this map; got {count}. An eighth is"
                " usual."
            )
        choose = CHOICES[config.choice]
        chosen = pool[choose(placement.direction[pool], unit[pool], count, config.seed)]
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
            probes=config.probe_count,
        )
        return cls(
            config=config,
            landmarks=chosen,
            deposit=deposit,
            tables=tables,
            caps=CapDensity.build(placement),
            points=len(unit),
            outermost=float(placement.radius.max()),
        )

    def looks(self, unit: Float32[np.ndarray, "queries width"]) -> list[Look]:
        """Probes and their relative apertures.

        The queries are filled up to a batch so that one compilation serves all. A relative
        aperture is α_p / α₀ and at least 1e-6: a cone without width could not be scaled.
        """
        config = self.config
        rows = np.minimum(np.arange(config.batch), len(unit) - 1)
        probes = jax.device_get(probe_batch(self.tables, jnp.asarray(unit[rows])))
        axis = unit_rows(probes.direction.astype(np.float64))
        cap = 2 * math.asin(math.sqrt(min(1.0, _CAP_POINTS / self.points)))
        crowd = self.caps(axis[: len(unit)].reshape(-1, 3), cap).reshape(
            len(unit), config.probe_count
        )
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
            reach = np.sqrt(radius[row] / self.outermost)
            open_ = probes.openness[row] * np.exp(-config.crowding * crowd[row])
            relative = np.maximum(strength**config.strength_exponent * reach * open_, 1e-6)
            view = View(axis[row], relative, inner[row], outer[row], probes.found[row])
            found.append(Look(view, probes.weight[row].astype(np.float64), probes.density[row]))
        return found
