"""THRML observers: what is measured along a chain, without keeping its configurations.

Each returns a dictionary of scalars to record, or nothing. They work in THRML's own
`sample_with_observation` as well as in `sphere_ebm.studies.sample_chains`. Iteration 0 is the
first observation.
"""

import abc
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from thrml import AbstractObserver, BlockSamplingProgram
from typing_extensions import override

from sphere_ebm.geometry.sphere import squared_chord
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.moments import Moments, accumulate, empty_moments
from sphere_ebm.sampling.programs import energies, join_blocks

Record = dict[str, Float[Array, ""]]


class Sight(NamedTuple):
    """What an observer looks at: the configuration of all points, and the number of the look."""

    program: BlockSamplingProgram
    state: SphereState
    iteration: Int[Array, ""]


class AbstractMapObserver(AbstractObserver):
    """An observer of the configuration of all points, whatever blocks they are sampled in."""

    @abc.abstractmethod
    def look(self, at: Sight, carry: Any) -> tuple[Any, Any]:
        """What is carried to the next look, and what is recorded of this one."""

    @override
    def __call__(
        self,
        program: BlockSamplingProgram,
        state_free: list[SphereState],
        state_clamped: list[SphereState],
        carry: Any,
        iteration: Int[Array, ""],
    ) -> tuple[Any, Any]:
        return self.look(Sight(program, join_blocks(program, state_free), iteration), carry)


@final
class EnergyObserver(AbstractMapObserver):
    """Records the energy of each term, at coupling 1."""

    @override
    def look(self, at: Sight, carry: None) -> tuple[None, Record]:
        return None, energies(at.program, at.state)


@final
class MomentObserver(AbstractMapObserver):
    """Accumulates the mean and spread of the direction and radius of every point; records nothing.

    `like` has the shapes of the configuration, (n, 3) and (n,).
    """

    like: SphereState

    @override
    def init(self) -> Moments:
        return empty_moments(self.like)

    @override
    def look(self, at: Sight, carry: Moments) -> tuple[Moments, Record]:
        return accumulate(carry, at.state), {}


@final
class OrderObserver(AbstractMapObserver):
    """Records how directions are ordered over the whole map.

    Both are 0 for many uniform directions.

    `polar_order` is |⟨u⟩|. `nematic_order` is the largest eigenvalue of ⟨(3 u uᵀ - 1) / 2⟩: 1 when
    all directions lie on one axis, either way round (de Gennes & Prost 1993). Neither changes when
    the map is rotated.
    """

    @override
    def look(self, at: Sight, carry: None) -> tuple[None, Record]:
        direction = at.state.direction
        n = direction.shape[0]
        tensor = 1.5 * direction.T @ direction / n - 0.5 * jnp.eye(3, dtype=direction.dtype)
        return None, {
            "polar_order": jnp.linalg.norm(jnp.mean(direction, axis=0)),
            "nematic_order": jnp.linalg.eigvalsh(tensor)[-1],
        }


@final
class DisplacementObserver(AbstractMapObserver):
    """Records `squared_displacement`: the mean over points of γ², in radians².

    γ is the angle to where each point was observed first. The mean grows as 4 D t for free points
    while it is small, and levels off at (π² - 4) / 2 for points that have forgotten where they
    were. `like` has the shapes of the configuration.
    """

    like: SphereState

    @override
    def init(self) -> Float[Array, "n 3"]:
        return jnp.zeros_like(self.like.direction)

    @override
    def look(self, at: Sight, carry: Float[Array, "n 3"]) -> tuple[Float[Array, "n 3"], Record]:
        direction = at.state.direction
        first = jnp.where(at.iteration == 0, direction, carry)
        chord = jnp.sqrt(squared_chord(direction, first))
        return first, {
            "squared_displacement": jnp.mean((2 * jnp.arcsin(jnp.minimum(chord / 2, 1))) ** 2)
        }


@final
class OverlapObserver(AbstractMapObserver):
    """Records `neighbour_overlap`: the share of graph neighbours among as many nearest by angle.

    The edges (senders, receivers) are those of a graph; a point of degree d is asked for its d
    nearest. 1: every neighbour in the graph is a neighbour on the map; about mean degree / (n - 1)
    for a map without order. A look costs O(n²) time and O(block_size · n) memory.
    """

    neighbours: Int[Array, "n degree"]
    """The graph's neighbours of each point, -1 beyond its degree."""
    degree: Int[Array, " n"]
    """How many these are."""
    block_size: int = eqx.field(static=True)
    """Points that are looked at together: a look holds so many rows of n squared chords at a
    time.
    """

    def __init__(
        self,
        n_points: int,
        senders: Int[np.ndarray, " edges"],
        receivers: Int[np.ndarray, " edges"],
        block_size: int = 256,
    ):
        if len(senders) == 0:
            raise ValueError("`senders` must name at least one edge.")
        ends = np.stack([senders, receivers], axis=1)
        pairs = np.unique(np.concatenate([ends, ends[:, ::-1]]), axis=0)
        degree = np.bincount(pairs[:, 0], minlength=n_points)
        slot = np.arange(len(pairs)) - np.repeat(np.cumsum(degree) - degree, degree)
        # -1 is nobody's number
        neighbours = np.full((n_points, degree.max()), -1)
        neighbours[pairs[:, 0], slot] = pairs[:, 1]
        self.neighbours = jnp.asarray(neighbours, jnp.int32)
        self.degree = jnp.asarray(degree, jnp.int32)
        self.block_size = min(block_size, n_points)

    @override
    def look(self, at: Sight, carry: None) -> tuple[None, Record]:
        direction = at.state.direction
        n, width = self.neighbours.shape
        everyone = jnp.arange(n, dtype=jnp.int32)

        def found(row: tuple[Array, Array, Array]) -> Int[Array, ""]:
            point, neighbours, degree = row
            chord = jnp.where(
                everyone == point, jnp.inf, squared_chord(direction, direction[point][None])
            )
            nearest = jax.lax.top_k(-chord, width)[1].astype(jnp.int32)
            within = jnp.arange(width, dtype=jnp.int32) < degree
            return jnp.sum((nearest[:, None] == neighbours[None, :]) & within[:, None])

        count = jax.lax.map(
            found, (everyone, self.neighbours, self.degree), batch_size=self.block_size
        )
        return None, {"neighbour_overlap": jnp.sum(count) / jnp.sum(self.degree)}


@final
class AcceptanceObserver(AbstractMapObserver):
    """Records `moved`: the share of points that moved since the observation before.

    It is not a number for the first observation. With one step a sample that is the share of
    accepted moves, as far as THRML lets an observer see it: samplers' states are hidden from it.
    `sample_chains` records their own `acceptance`, a probability, which fluctuates less.
    """

    like: SphereState

    @override
    def init(self) -> SphereState:
        return jax.tree.map(jnp.zeros_like, self.like)

    @override
    def look(self, at: Sight, carry: SphereState) -> tuple[SphereState, Record]:
        state = at.state
        moved = jnp.mean(
            jnp.any(state.direction != carry.direction, axis=1).astype(state.radius.dtype)
        )
        return state, {"moved": jnp.where(at.iteration == 0, jnp.nan, moved)}


@final
class ConfigurationObserver(AbstractMapObserver):
    """Records every configuration, in the order of the points.

    Memory: n times the number of draws.
    """

    @override
    def look(self, at: Sight, carry: None) -> tuple[None, Any]:
        return None, at.state
