"""The osmotic pressure of points that stay where they are, on points that come to them.

A new point at u adds 2 Q(u) to the sum S = Σ_{i≠j} q_ij of a map of N points, so that its
Hamiltonian Π N log(S / (N (N - 1))) grows by 2 Π N Q(u) / S, Q(u) = Σ_j q(u, u_j), to first order.
Its gradient is the force that the points of the map feel themselves. Newcomers do not feel each
other.
"""

import functools
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from thrml import Block
from typing_extensions import override

from sphere_ebm.geometry.sphere import fibonacci_lattice
from sphere_ebm.hamiltonian.base import (
    AbstractFieldFactor,
    AbstractLocalInteraction,
    LocalTerms,
    Shared,
    Slots,
    SphereState,
    Tails,
    opened,
)
from sphere_ebm.hamiltonian.fields.evaluators import MAX_PYRAMID_ROWS, DirectField, grid_rows
from sphere_ebm.hamiltonian.fields.pyramid import PyramidField, interpolate

DIRECT_SUM = 4_000
"""Up to this many points S is summed over all pairs; beyond, the grid's own error of S is far below
one per cent.
"""

_PLACES = 4_096


@final
class FrozenPressure(AbstractLocalInteraction):
    """`strength` 2 Π N / S times the potential Q, tabulated on a `grid`.

    The grid has `rows` colatitudes.

    `emptiest` is the direction of the lowest potential, to a few degrees.
    """

    strength: Float[Array, ""] | Shared[Array]
    emptiest: Float[Array, " 3"] | Shared[Array]
    grid: Float[Array, "cells 4"] | Shared[Array]
    rows: int = eqx.field(static=True)
    name: ClassVar[str] = "osmotic"
    annealed: ClassVar[bool] = False
    share: ClassVar[float] = 1.0

    @override
    def local_energy_and_force(self, here: SphereState, there: Tails, active: Slots) -> LocalTerms:
        strength = opened(self.strength)
        grid = opened(self.grid)
        values = strength * interpolate(grid, self.rows, here.direction)
        return values[:, 0], SphereState(-values[:, 1:], jnp.zeros_like(here.radius))

    @override
    def gather(self, whole: SphereState) -> list[SphereState]:
        return []


@final
class FrozenPressureFactor(AbstractFieldFactor):
    """Pressure on the nodes of `block` by points that are no nodes of it.

    Their directions are `fixed`.

    `strength` is Π and `sharpness` s of the map that the fixed points make. Cost: as one evaluation
    of the field of that map, once; then O(nodes) a step.
    """

    node_groups: list[Block]
    grid: Float[Array, "cells 4"]
    """The potential Q and its gradient."""
    strength: Float[Array, ""]
    """2 Π N / S."""
    emptiest: Float[Array, " 3"]
    """The direction of the lowest potential, to a few degrees."""
    rows: int = eqx.field(static=True)
    """Colatitudes of the grid."""
    tabulated: "Tabulated"
    """The field and S, for another factor of the same points."""

    def __init__(
        self,
        block: Block,
        fixed: Float[Array, "points 3"],
        *,
        sharpness: float,
        strength: float = 1.0,
        tabulated: "Tabulated | None" = None,
    ):
        """Check the points and tabulate their field, unless it is `tabulated` already.

        Raises ValueError for fewer than two fixed points, a strength < 0, or a sharpness no grid
        resolves.
        """
        super().__init__([block])
        n = fixed.shape[0]
        rows = grid_rows(sharpness)
        if n < 2:
            raise ValueError(
                f"the pressure of a map needs at least 2 points; got {n}. Leave the term out."
            )
        if not strength >= 0:
            raise ValueError(f"`strength` must be >= 0; got {strength}.")
        made = tabulated or FrozenField.tabulate(sharpness, n, fixed.dtype).of(fixed)
        self.tabulated = made
        self.grid = made.grid
        self.strength = 2 * strength * n / made.repulsion
        self.emptiest = _emptiest(self.grid, rows, fibonacci_lattice(_PLACES).astype(fixed.dtype))
        self.rows = rows

    @override
    def interaction(self) -> FrozenPressure:
        return FrozenPressure(
            Shared(self.strength), Shared(self.emptiest), Shared(self.grid), self.rows
        )


class Tabulated(NamedTuple):
    """The field that points make: Q and its gradient on a grid, and S, the sum over all pairs."""

    grid: Float[Array, "cells 4"]
    repulsion: Float[Array, ""]


@final
class FrozenField(eqx.Module):
    """What tabulates the fields of maps of one size, again and again.

    `field` makes the grid, `pairs` sums over all pairs.
    """

    field: PyramidField
    pairs: DirectField | PyramidField

    @classmethod
    def tabulate(cls, sharpness: float, n_points: int, dtype: Any) -> "FrozenField":
        """For maps of `n_points`.

        Raises ValueError for a sharpness that no grid resolves.
        """
        rows = grid_rows(sharpness)
        if rows > MAX_PYRAMID_ROWS:
            raise ValueError(
                f"an interaction length of {1 / sharpness:.4g} needs more than {MAX_PYRAMID_ROWS}"
                " rows of a grid: the field of this map cannot be tabulated. Fit it with a longer"
                " `interaction_length`."
            )
        field = PyramidField.tabulate(sharpness, rows, dtype)
        return cls(field, DirectField(sharpness) if n_points <= DIRECT_SUM else field)

    @property
    def rows(self) -> int:
        """Colatitudes of the grid."""
        return self.field.rows

    def of(self, fixed: Float[Array, "points 3"]) -> Tabulated:
        """The field of points in these directions."""
        if isinstance(self.pairs, PyramidField):
            return _from_grid(self.field, fixed)
        return Tabulated(_tabulated(self.field, fixed), _repulsion(self.pairs, fixed))


@jax.jit
def _tabulated(field: PyramidField, fixed: Float[Array, "points 3"]) -> Float[Array, "cells 4"]:
    return field.grid_of(fixed)


@jax.jit
def _from_grid(field: PyramidField, fixed: Float[Array, "points 3"]) -> Tabulated:
    """Both from one deposit."""
    return Tabulated(*field.grid_and_sum(fixed))


@functools.partial(jax.jit, static_argnums=1)
def _emptiest(
    grid: Float[Array, "cells 4"], rows: int, places: Float[Any, "places 3"]
) -> Float[Array, " 3"]:
    """The place of the lowest potential.

    One compiled function for all fields of as many rows: the loops of `interpolate` would be
    compiled again in every call.
    """
    return jnp.asarray(places)[jnp.argmin(interpolate(grid, rows, places)[:, 0])]


@jax.jit
def _repulsion(field: DirectField, fixed: Float[Array, "points 3"]) -> Float[Array, ""]:
    """S, the sum over all pairs."""
    return jnp.sum(field(fixed)[0])
