"""Radial gravity: H = Σ_i (κ_i / 2) (r_i - r*_i)²."""

from typing import ClassVar, final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from thrml import Block, InteractionGroup
from typing_extensions import override

from sphere_ebm.hamiltonian.base import (
    AbstractLocalInteraction,
    AbstractSphereFactor,
    LocalTerms,
    Slots,
    SphereState,
    Tails,
)


@final
class RadialGravity(AbstractLocalInteraction):
    """A harmonic well for the radius of each node."""

    stiffness: Float[Array, "nodes *k"]
    ideal_radius: Float[Array, "nodes *k"]
    name: ClassVar[str] = "gravity"
    annealed: ClassVar[bool] = False
    share: ClassVar[float] = 1.0

    @override
    def local_energy_and_force(self, here: SphereState, there: Tails, active: Slots) -> LocalTerms:
        stretch = here.radius[:, None] - self.ideal_radius
        pull = jnp.where(active, self.stiffness * stretch, 0)
        force = SphereState(jnp.zeros_like(here.direction), -jnp.sum(pull, axis=1))
        return jnp.sum(pull * stretch, axis=1) / 2, force

    @override
    def gather(self, whole: SphereState) -> list[SphereState]:
        return []


@final
class GravityFactor(AbstractSphereFactor):
    """Draws the radius of every node to its ideal radius r*.

    See `sphere_ebm.geometry.shells.ideal_radii`.

    `stiffness` κ has units of energy / radius². At temperature T the radius is Gaussian around r*
    with variance T / κ, truncated at the minimum radius.
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
                f"`ideal_radius` must have one entry per node, shape ({len(block)},); got"
                f" {self.ideal_radius.shape}."
            )
        if values.shape not in ((), (len(block),)) or not np.all(values >= 0):
            raise ValueError(
                f"`stiffness` must be one number >= 0, or {len(block)} of them; got {stiffness}."
            )
        same = values.astype(self.ideal_radius.dtype)
        self.stiffness = jnp.asarray(np.broadcast_to(same, self.ideal_radius.shape))

    @override
    def to_interaction_groups(self) -> list[InteractionGroup]:
        return [
            InteractionGroup(
                RadialGravity(self.stiffness, self.ideal_radius), self.node_groups[0], []
            )
        ]

    @override
    def energy(self, state: SphereState) -> Float[Array, ""]:
        interaction = RadialGravity(self.stiffness[:, None], self.ideal_radius[:, None])
        return interaction.energy(state, [], jnp.ones((len(self.stiffness), 1), bool))
