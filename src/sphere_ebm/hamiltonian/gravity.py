"""Radial gravity: H = Σ_i (κ_i / 2) (r_i - r*_i)²."""

from typing import ClassVar, final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from thrml import Block, InteractionGroup

from sphere_ebm.hamiltonian.base import AbstractSphereFactor, AbstractSphereInteraction, SphereState


@final
class RadialGravity(AbstractSphereInteraction):
    """A harmonic well for the radius of each node."""

    stiffness: Float[Array, "nodes *k"]
    ideal_radius: Float[Array, "nodes *k"]
    name: ClassVar[str] = "gravity"
    annealed: ClassVar[bool] = False

    def energy(self, here: SphereState, there: list[SphereState], active: Bool[Array, "nodes k"]) -> Float[Array, ""]:
        stretch = here.radius[:, None] - self.ideal_radius
        return jnp.sum(jnp.where(active, self.stiffness * stretch**2, 0)) / 2

    def force(self, here: SphereState, there: list[SphereState], active: Bool[Array, "nodes k"]) -> SphereState:
        pull = self.stiffness * (self.ideal_radius - here.radius[:, None])
        return SphereState(jnp.zeros_like(here.direction), jnp.sum(jnp.where(active, pull, 0), axis=1))


@final
class GravityFactor(AbstractSphereFactor):
    """Draws the radius of every node to its ideal radius r* (see `sphere_ebm.shells.ideal_radii`).

    `stiffness` κ has units of energy / radius². At temperature T the radius is Gaussian around r* with variance T / κ,
    truncated at the minimum radius.
    """

    node_groups: list[Block]
    stiffness: Float[Array, " nodes"]
    ideal_radius: Float[Array, " nodes"]

    def __init__(
        self,
        block: Block,
        ideal_radius: Float[Array | np.ndarray, " nodes"],
        stiffness: float | Float[Array | np.ndarray, " nodes"] = 1.0,
    ):
        """Raises ValueError when the arrays do not fit the block, or a stiffness is negative."""
        super().__init__([block])
        self.ideal_radius = jnp.asarray(ideal_radius)
        values = np.asarray(stiffness)
        if self.ideal_radius.shape != (len(block),):
            raise ValueError(
                f"`ideal_radius` must have one entry per node, shape ({len(block)},); got {self.ideal_radius.shape}."
            )
        if values.shape not in ((), (len(block),)) or not np.all(values >= 0):
            raise ValueError(f"`stiffness` must be one number >= 0, or {len(block)} of them; got {stiffness}.")
        self.stiffness = jnp.broadcast_to(jnp.asarray(values, self.ideal_radius.dtype), self.ideal_radius.shape)

    def to_interaction_groups(self) -> list[InteractionGroup]:
        return [InteractionGroup(RadialGravity(self.stiffness, self.ideal_radius), self.node_groups[0], [])]

    def energy(self, state: SphereState) -> Float[Array, ""]:
        return jnp.sum(self.stiffness * (state.radius - self.ideal_radius) ** 2) / 2
