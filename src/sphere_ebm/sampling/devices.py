"""One map over several devices.

The points are split over them, and the field that all points make is summed.

Every device holds an equal, contiguous share of the points and of the slots of their neighbours. In
a step devices exchange the directions of all points and the sums over slots (attraction), the grids
on which each deposits its own points, and the products of the pyramid, whose tables are split by
rows. Terms that see the whole configuration say so here (`jax.shard_map`), since XLA's own
partition would gather their stencils; everything else is local to a point, and XLA splits it as the
arrays are split.

A step is the same to rounding: sums are taken in another order, and random numbers do not depend on
where an array lies (`jax_threefry_partitionable`, JAX's default). Over many steps single points may
part ways, as they do for any change of rounding; energies do not.

What THRML keeps inside a program is known here too, as in `programs.py`, `assembly.py` and
`clamped.py`: the interactions of each block are exchanged for their split forms.

Points need not be divisible by devices. Terms fill the last shares up with rows that nothing reads
(attraction) or that weigh zero (field); arrays of points are then whole on every device between
chunks, and split within.
"""

import functools
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Shaped
from numpy.typing import ArrayLike
from thrml import FactorSamplingProgram
from typing_extensions import override

from sphere_ebm.geometry.sphere import squared_chord
from sphere_ebm.hamiltonian.base import (
    AbstractPairInteraction,
    LocalTerms,
    Slots,
    SphereState,
    Tails,
    opened,
)
from sphere_ebm.hamiltonian.fields.evaluators import DirectField, GridField
from sphere_ebm.hamiltonian.fields.grid import (
    Basis,
    Places,
    bordered_fields,
    deposit,
    interpolated,
    places,
)
from sphere_ebm.hamiltonian.fields.pyramid import LowOrders, Octave, PyramidField, b_spline
from sphere_ebm.hamiltonian.fields.zonal import ZonalField, lagrange
from sphere_ebm.hamiltonian.lateral import DegreeClass, WholeAttraction, attract
from sphere_ebm.hamiltonian.osmotic import OsmoticPressure

Devices = int | Sequence[jax.Device] | None
"""How many devices to use, or which; None for the default one."""

AXIS = "points"
_SPLIT = PartitionSpec(AXIS)
_WHOLE = PartitionSpec()
Tree = TypeVar("Tree")


def device_mesh(devices: Devices) -> Mesh | None:
    """The devices in a row, or None for the default one.

    Raises ValueError for more devices than there are, for none, and for some that are named twice
    or of two kinds.
    """
    if devices is None:
        return None
    if isinstance(devices, int):
        present = jax.local_devices()
        if not 1 <= devices <= len(present):
            raise ValueError(
                f"`devices` must be from 1 to {len(present)}, the number of {present[0].platform}"
                f" devices that JAX finds; got {devices}."
                " XLA_FLAGS=--xla_force_host_platform_device_count=4 makes a CPU look like 4."
            )
        return Mesh(np.asarray(present[:devices]), (AXIS,))
    if (
        not devices
        or len(set(devices)) < len(devices)
        or len({device.platform for device in devices}) > 1
    ):
        raise ValueError(
            f"`devices` must name one device or more of one kind, each once; got {list(devices)}."
        )
    return Mesh(np.asarray(devices), (AXIS,))


def over_devices(
    program: FactorSamplingProgram, carry: Tree, n_points: int, mesh: Mesh | None
) -> tuple[FactorSamplingProgram, Tree]:
    """`program` and what a run carries, split over the devices of `mesh`; as they are without one.

    Arrays with one row per point are split when their length allows it, others are copied to every
    device. One device gets the very program.
    """
    if mesh is None:
        return program, carry
    # before arrays are put in place: terms split in their own way say so
    if mesh.size > 1:
        terms = [
            [_split_term(term, mesh) for term in block] for block in program.per_block_interactions
        ]
        program = eqx.tree_at(lambda p: p.per_block_interactions, program, terms)
    put = functools.partial(_put, n_points=n_points, mesh=mesh)
    return jax.tree.map(put, program), jax.tree.map(put, carry)


def _put(leaf: Any, n_points: int, mesh: Mesh) -> Any:
    # what the terms have split already stays where it is; a row for each point is how arrays of
    # points are told from tables and numbers
    if not eqx.is_array(leaf) or len(leaf.sharding.device_set) > 1:
        return leaf
    by_point = leaf.ndim > 0 and leaf.shape[0] == n_points and n_points % mesh.size == 0
    return jax.device_put(leaf, NamedSharding(mesh, _SPLIT if by_point else _WHOLE))


def _split_term(term: Any, mesh: Mesh) -> Any:
    """The same term in the form that a mesh of several devices wants, where it has one."""
    if isinstance(term, WholeAttraction):
        return SplitAttraction.of(term, mesh)
    if isinstance(term, OsmoticPressure):
        field = opened(term.field)
        if isinstance(field, DirectField):
            return eqx.tree_at(lambda t: t.field, term, SplitDirectField(field, mesh))
        if isinstance(field, GridField | PyramidField):
            split = _by_row(field, mesh) if isinstance(field, PyramidField) else field
            return eqx.tree_at(lambda t: t.field, term, SplitGridField(split, mesh))
    return term


@final
class SplitProduct(eqx.Module):
    """A product of the pyramid whose tables are split over devices.

    They are split by the rows where the field is wanted.
    """

    product: LowOrders | Octave
    mesh: Mesh = eqx.field(static=True)

    @classmethod
    def of(cls, product: LowOrders | Octave, by: int, mesh: Mesh) -> "SplitProduct":
        """`product` over the devices of `mesh`; the rows are the axis `by` of its tables.

        It is whole on each of them when its rows cannot be divided.
        """
        # leading axes of the tables stay whole; the one of the rows is split
        divisible = product.coupling.decay.shape[by] % mesh.size == 0
        spec = PartitionSpec(*(None,) * by, AXIS) if divisible else _WHOLE
        return cls(jax.device_put(product, NamedSharding(mesh, spec)), mesh)

    @property
    def first(self) -> int:
        """The first order."""
        return self.product.first

    @property
    def last(self) -> int:
        """The order after the last."""
        return self.product.last

    def __call__(self, source: Float[Array, "2 orders rows"]) -> Float[Array, "2 2 orders rows"]:
        """As `LowOrders.__call__`, with the result on every device."""
        return jax.lax.with_sharding_constraint(
            self.product(source), NamedSharding(self.mesh, _WHOLE)
        )


def _by_row(field: PyramidField, mesh: Mesh) -> PyramidField:
    low = SplitProduct.of(field.low, 0, mesh)
    octaves = tuple(SplitProduct.of(octave, 1, mesh) for octave in field.octaves)
    return eqx.tree_at(lambda f: (f.low, f.octaves), field, (low, octaves))


@final
class SplitAttraction(AbstractPairInteraction):
    """`WholeAttraction` over several devices.

    Each sums the slots of an equal share of every degree class.

    `parts` are the classes, filled up to whole shares with rows of weight 0; `place` is where each
    point's row is in the rows of all devices, one device after the other.
    """

    n_nodes: int = eqx.field(static=True)
    parts: tuple[DegreeClass, ...]
    place: Int[Array, " padded"]
    strength: Float[Array, ""]
    sharpness: Float[Array, ""]
    kernel: str = eqx.field(static=True)
    mesh: Mesh = eqx.field(static=True)
    name: ClassVar[str] = "lateral"
    annealed: ClassVar[bool] = True
    share: ClassVar[float] = 0.5

    @classmethod
    def of(cls, term: WholeAttraction, mesh: Mesh) -> "SplitAttraction":
        """`term` over the devices of `mesh`."""
        classes = opened(term.classes)
        size = mesh.size
        sharding = NamedSharding(mesh, _SPLIT)
        parts = tuple(
            jax.tree.map(lambda x: jax.device_put(_filled(x, size), sharding), part)
            for part in classes.parts
        )
        # Each device computes the rows of its share of every class, and all of them are then laid
        # end to end: device 0's rows of class 0, of class 1, ..., then device 1's. `place` says
        # where in that order each point's row is.
        shares = [part.head.shape[0] // size for part in parts]
        rows = [np.arange(part.head.shape[0]) for part in classes.parts]
        # row i of a class is row i % share of device i // share, after the device's rows of the
        # classes before
        where = [
            i // share * sum(shares) + sum(shares[:c]) + i % share
            for c, (i, share) in enumerate(zip(rows, shares, strict=True))
        ]
        place = np.concatenate(where).astype(np.int32)[np.asarray(classes.place)]
        return cls(
            term.n_nodes,
            parts,
            jax.device_put(_filled(place, size), sharding),
            opened(term.strength),
            opened(term.sharpness),
            term.kernel,
            mesh,
        )

    @override
    def local_energy_and_force(self, here: SphereState, there: Tails, active: Slots) -> LocalTerms:
        dtype = here.direction.dtype
        stretch = self.sharpness.astype(dtype) ** 2
        strength = self.strength.astype(dtype)
        attracted = functools.partial(_attracted, kernel=self.kernel)
        sums = jax.shard_map(
            attracted, mesh=self.mesh, in_specs=(_SPLIT,) * 3 + (_WHOLE,), out_specs=_SPLIT
        )(_shares(here.direction, self.mesh), self.parts, self.place, stretch)
        energy = _points(sums[:, 0], self.n_nodes, self.mesh)
        pull = _points(sums[:, 1:], self.n_nodes, self.mesh)
        return strength * energy, SphereState(
            2 * stretch * strength * pull, jnp.zeros_like(here.radius)
        )

    @override
    def gather(self, whole: SphereState) -> list[SphereState]:
        return []


def _attracted(
    local: Float[Array, "share 3"],
    parts: tuple[DegreeClass, ...],
    place: Int[Array, " share"],
    stretch: Float[Array, ""],
    *,
    kernel: str,
) -> Float[Array, "share 4"]:
    """Σ_j w_ij φ and Σ_j w_ij (dφ/dx) u_j of this device's points.

    It works out its own rows of each degree class, then gathers everyone's rows.
    """
    everyone = jax.lax.all_gather(local, AXIS, tiled=True)
    # apart and contiguous, or XLA picks each coordinate out of the rows anew for every slot
    columns = jax.lax.optimization_barrier(tuple(everyone[:, c] for c in range(3)))
    rows = jnp.concatenate(
        [jnp.stack(attract(part, columns, stretch, kernel), axis=1) for part in parts]
    )
    return jax.lax.all_gather(rows, AXIS, tiled=True)[place]


@final
class SplitDirectField(eqx.Module):
    """`DirectField` over several devices: each sums over all points for its own."""

    field: DirectField
    mesh: Mesh = eqx.field(static=True)

    def __call__(
        self, direction: Float[Array, "n 3"]
    ) -> tuple[Float[Array, " n"], Float[Array, "n 3"]]:
        """As `DirectField.__call__`."""
        n = direction.shape[0]
        stretch = self.field.sharpness.astype(direction.dtype) ** 2
        summed = functools.partial(_summed, n_points=n, batch=self.field.block_size)
        values = jax.shard_map(summed, mesh=self.mesh, in_specs=(_SPLIT, _WHOLE), out_specs=_SPLIT)(
            _shares(direction, self.mesh), stretch
        )
        return _points(values[:, 0], n, self.mesh), _points(values[:, 1:], n, self.mesh)


def _summed(
    local: Float[Array, "share 3"], stretch: Float[Array, ""], *, n_points: int, batch: int
) -> Float[Array, "share 4"]:
    """Q and ∇Q at this device's points."""
    everyone = jax.lax.all_gather(local, AXIS, tiled=True)[:n_points]
    position = jnp.arange(n_points, dtype=jnp.int32)
    # the numbers of this device's points: each leaves itself out of its own sum
    own = jax.lax.axis_index(AXIS) * local.shape[0] + jnp.arange(local.shape[0], dtype=jnp.int32)

    def at(head: tuple[Int[Array, ""], Float[Array, "3"]]) -> Float[Array, "4"]:
        q = 1 / (1 + stretch * squared_chord(head[1][None], everyone))
        q = jnp.where(position == head[0], 0, q)
        return jnp.concatenate([jnp.sum(q)[None], 2 * stretch * (q**2 @ everyone)])

    return jax.lax.map(at, (own, local), batch_size=batch)


@final
class SplitGridField(eqx.Module):
    """`GridField` or `PyramidField` over several devices.

    Each deposits its own points, and the grids are summed.
    """

    field: GridField | PyramidField
    mesh: Mesh = eqx.field(static=True)

    def __call__(
        self, direction: Float[Array, "n 3"]
    ) -> tuple[Float[Array, " n"], Float[Array, "n 3"]]:
        """As the `__call__` of `GridField` and `PyramidField`."""
        n = direction.shape[0]
        grid = self.field.zonal if isinstance(self.field, GridField) else self.field
        basis = lagrange if isinstance(grid, ZonalField) else b_spline
        deposited = functools.partial(_deposited, n_points=n, rows=grid.rows, basis=basis)
        at, density = jax.shard_map(
            deposited, mesh=self.mesh, in_specs=_SPLIT, out_specs=(_SPLIT, _WHOLE)
        )(_shares(direction, self.mesh))
        # the grid is small beside the points, so every device convolves all of it
        fields = bordered_fields(grid.convolve(density))
        seen = functools.partial(interpolated, rows=grid.rows)
        values = jax.shard_map(seen, mesh=self.mesh, in_specs=(_WHOLE, _SPLIT), out_specs=_SPLIT)(
            fields, at
        )
        return _points(values[:, 0], n, self.mesh) - 1, _points(values[:, 1:], n, self.mesh)


def _deposited(
    local: Float[Array, "share 3"], *, n_points: int, rows: int, basis: Basis
) -> tuple[Places, Float[Array, "rows columns"]]:
    """The stencils of this device's points, and the grid of everyone's.

    What fills up a share weighs nothing.
    """
    at = places(local, rows, basis)
    own = jax.lax.axis_index(AXIS) * local.shape[0] + jnp.arange(local.shape[0], dtype=jnp.int32)
    at = at._replace(down=jnp.where((own < n_points)[:, None], at.down, 0))
    return at, jax.lax.psum(deposit(at, rows), AXIS)


def _filled(rows: ArrayLike, shares: int) -> Shaped[np.ndarray, "padded *rest"]:
    """Rows of zeros added until there are as many in each of the `shares`."""
    given = np.asarray(rows)
    return np.pad(given, ((0, -len(given) % shares), *((0, 0),) * (given.ndim - 1)))


def _shares(rows: Shaped[Array, "n *rest"], mesh: Mesh) -> Shaped[Array, "padded *rest"]:
    """As `_filled`, and split, while a step is computed."""
    padded = jnp.pad(rows, ((0, -rows.shape[0] % mesh.size), *((0, 0),) * (rows.ndim - 1)))
    return jax.lax.with_sharding_constraint(padded, NamedSharding(mesh, _SPLIT))


def _points(
    padded: Shaped[Array, "padded *rest"], n_points: int, mesh: Mesh
) -> Shaped[Array, "n *rest"]:
    """Without the rows that filled up the shares."""
    return jax.lax.with_sharding_constraint(padded[:n_points], NamedSharding(mesh, _SPLIT))
