"""Anchors: H = Σ_i λ_i s² (1 - u_i·a_i) over points that remember a place a_i.

The term breaks the rotation of the whole map on purpose: a map with anchors has a frame.
"""

from typing import ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from thrml import Block, InteractionGroup
from typing_extensions import override

from sphere_ebm.geometry.sphere import squared_chord
from sphere_ebm.hamiltonian.base import (
    AbstractLocalInteraction,
    AbstractPlacedFactor,
    LocalTerms,
    Slots,
    SphereState,
    Tails,
)
from sphere_ebm.hamiltonian.blocks import SelectedBlock


@final
class AnchorPull(AbstractLocalInteraction):
    """Each node with a slot is drawn towards `place`; `stiffness` is λ_i s², an energy."""

    stiffness: Float[Array, "nodes *k"]
    place: Float[Array, "nodes *k 3"]
    name: ClassVar[str] = "anchor"
    annealed: ClassVar[bool] = False
    share: ClassVar[float] = 1.0

    @override
    def local_energy_and_force(self, here: SphereState, there: Tails, active: Slots) -> LocalTerms:
        stiffness = jnp.where(active, self.stiffness, 0)
        # 1 - u·a is half of the squared chord, whose digits do not cancel near the anchor
        away = squared_chord(here.direction[:, None, :], self.place) / 2
        pull = jnp.sum(stiffness[..., None] * self.place, axis=1)
        return jnp.sum(stiffness * away, axis=1), SphereState(pull, jnp.zeros_like(here.radius))

    @override
    def gather(self, whole: SphereState) -> list[SphereState]:
        return []


@final
class AnchorFactor(AbstractPlacedFactor):
    """Draws some nodes of a block to places that they remember.

    `strength` λ is in units of energy per squared interaction length, as those of the attraction:
    the pull on node i is λ_i s² a_i, s = `sharpness`. At temperature T a node with this term alone
    has the von Mises-Fisher law of concentration x = λ_i s² / T around a_i, whose mean of u·a is
    coth(x) - 1/x.

    Source: Mardia & Jupp 2000, ch. 9 (the law).
    """

    node_groups: list[Block]
    block: Block = eqx.field(static=True)
    rows: Int[np.ndarray, " anchors"]
    place: Float[np.ndarray, "anchors 3"]
    stiffness: Float[np.ndarray, " anchors"]

    def __init__(
        self,
        block: Block,
        rows: Int[np.ndarray, " anchors"],
        place: Float[np.ndarray, "places 3"],
        strength: float | Float[np.ndarray, " strengths"],
        *,
        sharpness: float,
    ):
        """`rows` are positions in `block`, each once; `place` their unit vectors a_i.

        Raises ValueError for a bad position or number, and when no node is anchored.
        """
        values = np.asarray(strength)
        if not sharpness > 0:
            raise ValueError(f"`sharpness` must be positive; got {sharpness}.")
        if len(rows) == 0:
            raise ValueError("`rows` must name at least one node; leave the term out without any.")
        if rows.min() < 0 or rows.max() >= len(block) or len(np.unique(rows)) < len(rows):
            raise ValueError(f"`rows` must be positions in [0, {len(block)}), each at most once.")
        if place.shape != (len(rows), 3):
            raise ValueError(f"`place` must have shape ({len(rows)}, 3); got {place.shape}.")
        if not np.allclose(np.linalg.norm(place, axis=1), 1, atol=1e-4):
            raise ValueError("`place` must hold unit vectors.")
        if values.shape not in ((), (len(rows),)) or not np.all(values >= 0):
            raise ValueError(
                f"`strength` must be one number >= 0, or {len(rows)} of them; got {strength}."
            )
        # mypy takes the abstract field `block` for an argument
        super().__init__([SelectedBlock(block, rows)])  # type: ignore[call-arg]
        self.block = block
        self.rows = rows
        self.place = place
        self.stiffness = np.broadcast_to(values * sharpness**2, rows.shape).astype(place.dtype)

    @override
    def to_interaction_groups(self) -> list[InteractionGroup]:
        pull = AnchorPull(jnp.asarray(self.stiffness), jnp.asarray(self.place))
        return [InteractionGroup(pull, self.node_groups[0], [])]

    @override
    def to_whole_groups(self) -> list[InteractionGroup]:
        return self.to_interaction_groups()

    @override
    def energy(self, state: SphereState) -> Float[Array, ""]:
        held = SphereState(state.direction[self.rows], state.radius[self.rows])
        pull = AnchorPull(jnp.asarray(self.stiffness)[:, None], jnp.asarray(self.place)[:, None])
        return pull.energy(held, [], jnp.ones((len(self.rows), 1), bool))
