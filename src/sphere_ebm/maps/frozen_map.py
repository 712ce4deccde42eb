"""`FrozenMap`: a finished map that new points join without moving it.

A newcomer feels its nearest fitted points and the osmotic field of all of them; both are frozen.
Its conditional law given the map is exp(-H_i / T), H_i = α Σ_j w_ij φ(u, u_j) + 2 Π N Q(u) / S + (κ
/ 2) (r - r*)², and its label is where H_i is lowest: of its neighbours' places the best, then
underdamped Langevin dynamics at T = 0 on a THRML program with a free block of newcomers and the
clamped block of fitted points. The spread is that of the law at the map's final temperature, in the
harmonic approximation.

Newcomers do not feel each other, draw no random numbers and are worked on in batches of one size,
so that neither their order nor the number that come together changes a bit of the result.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple, final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64, Int32
from numpy.typing import ArrayLike
from thrml import Block, FactorSamplingProgram, InteractionGroup

from sphere_ebm.files.machine import at_a_time
from sphere_ebm.geometry.shells import assign_shells, radii_at_ranks
from sphere_ebm.graph.graph import affinities
from sphere_ebm.graph.index import Nearest, NeighbourIndex
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.hamiltonian.fields.costs import device_kind
from sphere_ebm.hamiltonian.frozen import FrozenPressureFactor, Tabulated
from sphere_ebm.hamiltonian.gravity import GravityFactor
from sphere_ebm.maps.checks import checked_embeddings, checked_numbers, checked_prominence
from sphere_ebm.maps.copies import distinct
from sphere_ebm.maps.placement import Placement
from sphere_ebm.maps.replicas import (
    Neighbourhoods,
    Replicated,
    Uncertainty,
    uncertainty_of_newcomers,
)
from sphere_ebm.maps.threads import one_and_then_all
from sphere_ebm.quality.trust import MapNeighbours, kept_by_newcomers
from sphere_ebm.sampling.clamped import attraction_by_fitted, build_clamped_program
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.joining import Newcomers, settle
from sphere_ebm.sampling.programs import KEPT, SphereBlock, sphere_block
from sphere_ebm.sampling.underdamped import Underdamped

# that of the GPU is estimated: `python -m benchmarks.device` measures it
BATCHES = {"cpu": 1024, "gpu": 16_384}
"""Kind of device -> newcomers that settle together; results depend on it by rounding only."""

# Relaxation at T = 0, whatever the map's own dynamics were: with mobilities that go with the
# strengths the step is stable for every kernel, since a newcomer's weights sum to 2; this friction
# brings stiff and soft wells to rest alike.
_STEPS = 60
_STEP_SIZE = 0.5
_FRICTION = 1.0

JoinProgress = Callable[[int, int], None]
"""Called as `progress(done, total)` with the number of newcomers."""


class _Joined(NamedTuple):
    """Columns of newcomers, and what draws them."""

    direction: Float32[np.ndarray, "new 3"]
    thermal_std: Float32[np.ndarray, " new"]
    point_energy: Float32[np.ndarray, " new"]
    nearest: Int32[np.ndarray, "new slots"]
    weight: Float32[np.ndarray, "new slots"]


@final
class FrozenMap:
    """A `placement` that new points join.

    Args:
        placement: the finished map, of at least one point; copies count as one.
        embeddings: (N, D) of its points; or an `index` of them.
        index: nearest neighbours among them, when there is one already; copies may count as one.
        batch: newcomers that settle together; None: as many as suit the device (`BATCHES`).
        field: of the map, where it is tabulated already (`field`).

    Raises:
        ValueError: no points, embeddings of another number of points, or an interaction length so
            short that the field of the map cannot be tabulated.

    Cost: the index, one evaluation of the osmotic field, and a THRML program of `batch` nodes
    beside N clamped ones, which are not looked at one by one.
    """

    def __init__(
        self,
        placement: Placement,
        embeddings: ArrayLike | None = None,
        *,
        index: NeighbourIndex | None = None,
        batch: int | None = None,
        field: Tabulated | None = None,
    ) -> None:
        if len(placement) == 0:
            raise ValueError("`placement` must have at least one point for others to join; got 0.")
        known = index is not None and index.n_points == len(placement)
        once = placement if known else distinct(placement)
        if index is None:
            given = placement.embeddings if embeddings is None else checked_embeddings(embeddings)
            if given is None:
                raise ValueError(
                    "this placement was loaded without its embeddings: pass them, or an `index`."
                )
            _refuse_others(len(given), placement)
            own = once.embeddings
            if embeddings is not None or own is None:
                own = distinct(placement.with_embeddings(given)).embeddings
            assert own is not None
            config = placement.config
            index = NeighbourIndex.build(own, search=config.neighbour_search, seed=config.seed)
        _refuse_others(index.n_points, once)
        self.placement = placement
        self._once = once
        self.index = index
        self.batch = BATCHES[device_kind()] if batch is None else batch
        self._tabulated = field
        self._prominence = np.sort(once.prominence.astype(np.float64))

    def place(
        self,
        embeddings: ArrayLike,
        prominence: ArrayLike | None = None,
        *,
        ideal_radius: ArrayLike | None = None,
        progress: JoinProgress | None = None,
    ) -> Placement:
        """Place new points.

        Their order and number have no influence on where each of them comes to lie.

        Args:
            embeddings: (M, D), of the space that the map was made of. A zero vector has no
                neighbours: it comes to lie where the map is emptiest.
            prominence: (M,), on the scale of the fitted points; by default the norms of the
                embeddings. A newcomer's radius is the one at its rank among the fitted points.
            ideal_radius: (M,) radii that take the place of these.
            progress: called after every batch.

        Returns:
            A placement of the M points with the map's configuration. `thermal_std` is the square
            root of T tr(A⁻¹), A the Hessian of H_i on the sphere, `radius_std` is sqrt(T / κ);
            `angle_std`, `modes` and `mode_weight` are what the map's replicas say, as for its own
            points; `energy` and `step` are empty. `point_energy` is half of H_i and the osmotic
            term's part that is the same for all, as if the newcomer were one of the fitted points;
            `kept` and `kept_p_value` are about its nearest among the fitted points.

        Raises:
            ValueError: wrong shapes, another width than the map's, or values that are not finite.
        """
        new = checked_embeddings(embeddings)
        config = self._once.config
        order, _ = checked_prominence(prominence, new)
        if ideal_radius is None:
            ideal = self._ideal(order)
        else:
            ideal = checked_numbers("ideal_radius", ideal_radius, len(new)).astype(np.float32)
        joined = self._joined(new, ideal, progress)
        kept = kept_by_newcomers(joined.nearest, joined.direction, self._neighbours)
        sure = self._uncertainty(joined)
        return Placement(
            direction=joined.direction,
            radius=ideal,
            shell=assign_shells(ideal, self._once.shells),
            radius_std=np.full(len(new), self.radius_std, np.float32),
            angle_std=sure.angle_std,
            thermal_std=joined.thermal_std,
            modes=sure.modes,
            mode_weight=sure.mode_weight,
            point_energy=joined.point_energy,
            kept=kept.share,
            kept_p_value=kept.p_value,
            prominence=order.astype(np.float32),
            energy={},
            step=np.zeros(0, np.int64),
            converged=True,
            config=config,
            notes=(*(() if self.index.note is None else (self.index.note,)), *_notes(new)),
            embeddings=new,
        )

    @property
    def radius_std(self) -> float:
        """sqrt(T / κ), by which radii spread at the map's final temperature."""
        config = self._once.config
        return math.sqrt(config.temperature_end / config.radius_stiffness)

    def _ideal(self, prominence: Float64[np.ndarray, " new"]) -> Float32[np.ndarray, " new"]:
        """The radius at the rank that each newcomer has among the fitted points.

        Among equals it comes to lie amid them.
        """
        kept = prominence.astype(np.float32).astype(np.float64)  # as a placement keeps it
        below = np.searchsorted(self._prominence, kept, side="left")
        upto = np.searchsorted(self._prominence, kept, side="right")
        share = (below + upto) / (2 * len(self._prominence))
        outer = self._once.config.radius_order == "outer"
        return radii_at_ranks(share if outer else 1 - share, self._once.shells)

    def _joined(
        self,
        new: Float32[np.ndarray, "new width"],
        ideal: Float32[np.ndarray, " new"],
        progress: JoinProgress | None,
    ) -> _Joined:
        joined = _Joined(
            np.empty((len(new), 3), np.float32),
            np.empty(len(new), np.float32),
            np.empty(len(new), np.float32),
            np.empty((len(new), self._slots), np.int32),
            np.empty((len(new), self._slots), np.float32),
        )
        steps = jnp.asarray(_STEPS, jnp.int32)

        def join(start: int) -> int:
            rows = slice(start, min(start + self.batch, len(new)))
            found = self.index.query(new[rows], self._slots)
            weight = self._weights(found)
            settled = settle(
                self._program,
                self._clamped,
                self._newcomers(found, weight, ideal[rows]),
                steps,
                *self._scales,
            )
            real = len(found.index)
            joined.direction[rows] = np.asarray(settled.direction)[:real]
            joined.thermal_std[rows] = np.asarray(settled.spread)[:real]
            # of the pairs with fitted points half is theirs; radii rest where gravity is zero
            joined.point_energy[rows] = np.asarray(settled.energy)[:real] / 2 + self._level
            joined.nearest[rows] = found.index
            joined.weight[rows] = weight
            return rows.stop

        for done in one_and_then_all(join, range(0, len(new), self.batch), at_a_time()):
            if progress is not None:
                progress(done, len(new))
        return joined

    def _weights(self, found: Nearest) -> Float[np.ndarray, "new slots"]:
        """Weights of the edges to fitted points.

        Those of a fitted point sum to 2 on average, since those of the graph sum to N.
        """
        config = self._once.config
        return 2 * affinities(
            found.index, found.similarity, affinity=config.affinity, perplexity=config.perplexity
        )

    def _newcomers(
        self,
        found: Nearest,
        weight: Float[np.ndarray, "new slots"],
        ideal: Float32[np.ndarray, " new"],
    ) -> Newcomers:
        """A batch of the usual size, filled up with points that nothing pulls."""
        missing = self.batch - len(ideal)
        active = found.index >= 0
        wells = np.pad(ideal, (0, missing), constant_values=1.0)
        slots = (np.where(active, found.index, 0), weight, active)
        fitted, weight, active = (np.pad(x, ((0, missing), (0, 0))) for x in slots)
        dtype = self._dtype
        return Newcomers(
            jnp.asarray(wells, dtype),
            jnp.asarray(fitted, jnp.int32),
            jnp.asarray(weight, dtype),
            jnp.asarray(active),
        )

    def _uncertainty(self, joined: _Joined) -> Uncertainty:
        """What the replicas of the map say about newcomers."""
        placed = self._once
        return uncertainty_of_newcomers(
            joined.direction,
            joined.thermal_std,
            Neighbourhoods(joined.nearest, joined.weight),
            Replicated(placed.direction, placed.replicas, placed.angle_std),
            placed.config.sharpness(len(placed)),
            placed.config.kernel,
        )

    @property
    def _dtype(self) -> np.dtype:
        return np.dtype(jnp.result_type(float))

    @property
    def _slots(self) -> int:
        return min(self._once.config.neighbours, len(self._once))

    @property
    def _scales(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Temperature and sharpness."""
        config = self._once.config
        scales = config.temperature_end, config.sharpness(len(self._once))
        return jnp.asarray(scales[0], self._dtype), jnp.asarray(scales[1], self._dtype)

    @functools.cached_property
    def _clamped(self) -> SphereState:
        placed = self._once
        return SphereState(
            jnp.asarray(placed.direction, self._dtype), jnp.asarray(placed.radius, self._dtype)
        )

    @functools.cached_property
    def _neighbours(self) -> MapNeighbours:
        return MapNeighbours(self._once.direction, self.index.pointing)

    @functools.cached_property
    def _pressure(self) -> FrozenPressureFactor | None:
        config = self._once.config
        points = len(self._once)
        if points < 2 or not config.osmotic_strength > 0:
            return None
        return FrozenPressureFactor(
            _free_block(self.batch),
            self._clamped.direction,
            sharpness=config.sharpness(points),
            strength=config.osmotic_strength,
            tabulated=self._tabulated,
        )

    @property
    def field(self) -> Tabulated | None:
        """The osmotic field of the map; None where it has none."""
        return None if self._pressure is None else self._pressure.tabulated

    @functools.cached_property
    def _level(self) -> float:
        """Π (log(S / (N (N - 1))) - 1), which every point owns of the osmotic term."""
        if self._pressure is None:
            return 0.0
        points = len(self._once)
        strength = self._once.config.osmotic_strength
        mean = 2 * strength / (float(self._pressure.strength) * (points - 1))
        return strength * (math.log(mean) - 1)

    @functools.cached_property
    def _program(self) -> FactorSamplingProgram:
        """The program of one batch; `bound` puts its wells and neighbours into it."""
        config = self._once.config
        points = len(self._once)
        free = _free_block(self.batch)
        clamped = sphere_block(points)
        sharpness = config.sharpness(points)
        groups = GravityFactor(
            free, np.ones(self.batch, self._dtype), config.radius_stiffness
        ).to_interaction_groups()
        groups += self._lateral(free, clamped, sharpness)
        if self._pressure is not None:
            groups += self._pressure.to_interaction_groups()
        stiffness = max(config.lateral_strength, config.osmotic_strength / 2) or 1.0
        coefficients = Coefficients(
            temperature=0.0,
            step_size=_STEP_SIZE,
            direction_mobility=1 / (sharpness**2 * stiffness),
            radius_mobility=1 / config.radius_stiffness,
        )
        sampler = Underdamped(coefficients, self.batch, friction=_FRICTION, dtype=self._dtype)
        return build_clamped_program(free, clamped, groups, sampler, self._dtype)

    def _lateral(self, free: Block, clamped: Block, sharpness: float) -> list[InteractionGroup]:
        config = self._once.config
        if not config.lateral_strength > 0:
            return []
        slots = (self.batch, self._slots)
        group = attraction_by_fitted(
            free,
            clamped,
            np.zeros(slots, np.int64),
            np.zeros(slots, self._dtype),
            sharpness=sharpness,
            strength=config.lateral_strength,
            kernel=config.kernel,
        )
        return [group]


@functools.lru_cache(maxsize=KEPT)
def _free_block(size: int) -> SphereBlock:
    """The newcomers' block; not the one of a map of as many points."""
    return SphereBlock(size)


def _refuse_others(points: int, placement: Placement) -> None:
    if points != len(placement):
        raise ValueError(f"`embeddings` must be those of {len(placement)} points; got {points}.")


def _notes(new: Float32[np.ndarray, "new width"]) -> tuple[str, ...]:
    empty = int(np.count_nonzero(~new.any(axis=1)))
    said = f"{empty} of {len(new)} embeddings are zero vectors: they lie where the map is emptiest"
    return (said,) if empty else ()
