"""Osmotic pressure: H = Π N log[ (1 / (N (N - 1))) Σ_{i≠j} q(u_i, u_j) ], q = 1 / (1 + s² chord²).

It depends on the whole configuration, so all points live in one block. With Q_i = Σ_{j≠i} q_ij, the
force is F_i = -2 Π N (∇_i Q_i) / Σ_j Q_j. Evaluators of Q and ∇Q are in
`sphere_ebm.hamiltonian.fields.evaluators`.
"""

from typing import ClassVar, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from thrml import Block
from typing_extensions import override

from sphere_ebm.hamiltonian.base import (
    AbstractFieldFactor,
    AbstractSphereInteraction,
    Shared,
    SphereState,
    opened,
)
from sphere_ebm.hamiltonian.fields.evaluators import (
    DirectField,
    Field,
    GridField,
    PyramidField,
    make_field,
)


@eqx.filter_jit
def _evaluated(
    field: Field, direction: Float[Array, "nodes 3"]
) -> tuple[Float[Array, " nodes"], Float[Array, "nodes 3"]]:
    """Q and ∇Q. A program asks three times, for a step, its energy and every point's share.

    A function of its own is traced and lowered once for all three.
    """
    return field(direction)


@final
class OsmoticPressure(AbstractSphereInteraction):
    """The mean field of all `n_nodes` points. `strength` is Π; `field` evaluates Q and ∇Q."""

    strength: Float[Array, ""] | Shared[Array]
    field: Field | Shared[Field]
    n_nodes: int = eqx.field(static=True)
    name: ClassVar[str] = "osmotic"
    annealed: ClassVar[bool] = False

    @override
    def energy_and_force(
        self, here: SphereState, there: list[SphereState], active: Bool[Array, "nodes k"]
    ) -> tuple[Float[Array, ""], SphereState]:
        strength, potential, gradient = self._field(here)
        total = jnp.sum(potential)
        n = potential.shape[0]
        force = SphereState(-2 * strength * n / total * gradient, jnp.zeros_like(here.radius))
        return strength * n * jnp.log(total / (n * (n - 1.0))), force

    @override
    def point_energy(
        self, here: SphereState, there: list[SphereState], active: Bool[Array, "nodes k"]
    ) -> Float[Array, " nodes"]:
        """Π (log(S / (N (N - 1))) + N Q_i / S - 1), with S = Σ_j Q_j.

        The logarithm is no sum over pairs. Its first-order change by one pair is 2 Π N q_ij / S, of
        which each end owns half; what is the same for all points makes the sum exact. So a point
        in a crowd owns more, as it must: -∂/∂u_i of twice this, S held, is its force.
        """
        strength, potential, _ = self._field(here)
        total = jnp.sum(potential)
        n = potential.shape[0]
        return strength * (jnp.log(total / (n * (n - 1.0))) + potential * (n / total) - 1)

    def _field(
        self, here: SphereState
    ) -> tuple[Float[Array, ""], Float[Array, " nodes"], Float[Array, "nodes 3"]]:
        """Π, Q and ∇Q; raises ValueError for a block that does not hold all points."""
        if (held := here.radius.shape[0]) != self.n_nodes:
            raise ValueError(
                f"the block has {held} nodes and the osmotic term couples {self.n_nodes} at once:"
                " put all of them in one block, or leave the term out (osmotic_strength=0)."
            )
        potential, gradient = _evaluated(opened(self.field), here.direction)
        return opened(self.strength).astype(potential.dtype), potential, gradient

    @override
    def gather(self, whole: SphereState) -> list[SphereState]:
        return []


@final
class OsmoticFactor(AbstractFieldFactor):
    """Pressure that keeps the map open, from the logarithm of the mean repulsion over all pairs.

    `strength` is Π (energy per point), `sharpness` s, shared with the lateral term. `evaluator` is
    `"direct"`, `"harmonic"`, `"pyramid"` or `"auto"`.
    """

    node_groups: list[Block]
    strength: float
    field: DirectField | GridField | PyramidField

    def __init__(
        self, block: Block, *, sharpness: float, strength: float = 1.0, evaluator: str = "auto"
    ):
        """Check the numbers and tabulate the field.

        Raises ValueError for fewer than two nodes, a strength < 0, a sharpness <= 0 or an unknown
        evaluator.
        """
        super().__init__([block])
        if len(block) < 2:
            raise ValueError(
                f"osmotic pressure needs at least 2 nodes; got {len(block)}. Leave the term out."
            )
        if not strength >= 0:
            raise ValueError(f"`strength` must be >= 0; got {strength}.")
        if not sharpness > 0:
            raise ValueError(f"`sharpness` must be positive; got {sharpness}.")
        self.strength = strength
        self.field = make_field(evaluator, sharpness, len(block))

    @override
    def interaction(self) -> OsmoticPressure:
        strength = Shared(jnp.asarray(self.strength, jnp.result_type(float)))
        return OsmoticPressure(strength, Shared(self.field), len(self.node_groups[0]))
