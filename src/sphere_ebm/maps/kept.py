"""A frozen map whose index and field are kept beside it, so that others join it sooner.

What is kept is mapped and not read, so that the processes of a machine hold it once: the directions
of the embeddings above all, of which a search looks at few.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from sphere_ebm.errors import ShardError
from sphere_ebm.files.formats import FROZEN
from sphere_ebm.files.machine import visible_cpus
from sphere_ebm.files.shards.layouts import FROZEN_FORMAT
from sphere_ebm.files.tensors import mapped_tensors, read_metadata, write_tensors
from sphere_ebm.graph.index import EXACT_LIMIT, NeighbourIndex
from sphere_ebm.hamiltonian.frozen import Tabulated
from sphere_ebm.maps.frozen_map import FrozenMap
from sphere_ebm.maps.loading import load_placement, stored_placement
from sphere_ebm.maps.placement import Placement

LEAST = EXACT_LIMIT + 1
"""Points from which on something is kept: a smaller map is frozen sooner than it is read."""


def load_frozen_map(folder: Path | str) -> FrozenMap:
    """The finished map in `folder`, for others to join.

    Embeddings are read only where `frozen.safetensors` does not keep what is made of them, by this
    version on such a machine; it is written then, where the folder allows.

    Raises:
        LabelError: there is no finished map in `folder`.
        ShardError: its placement, or a label file that is needed, is missing, damaged or of another
            map.
    """
    folder = Path(folder)
    stored = stored_placement(folder)
    return _kept(stored.placement, stored.digest, folder / FROZEN, lambda: load_placement(folder))


def kept_frozen_map(placement: Placement, path: Path, digest: str) -> FrozenMap:
    """The map for others to join, by the index and the field that `path` keeps.

    They are made, and kept there, where the file is missing, damaged, or of another map, machine or
    version; not where the folder cannot be written, or the map is small.

    Args:
        placement: the map, with its embeddings.
        path: of the file, in the folder of the map.
        digest: of the files that the placement and its embeddings are from.
    """
    return _kept(placement, digest, path, lambda: placement)


def _kept(
    placement: Placement, digest: str, path: Path, whole: Callable[[], Placement]
) -> FrozenMap:
    """`whole` gives the placement with its embeddings, which may take long."""
    if len(placement) < LEAST:
        return FrozenMap(whole())
    identity = _identity(placement, digest)
    with suppress(ShardError, OSError, KeyError):
        if read_metadata(path).get("identity") == identity:
            return _read(placement, mapped_tensors(path))
    frozen = FrozenMap(whole())
    tensors = frozen.index.arrays
    if tensors is None:  # an exact search has nothing that takes long
        return frozen
    if frozen.field is not None:
        tensors["grid"] = np.asarray(frozen.field.grid)
        tensors["repulsion"] = np.atleast_1d(np.asarray(frozen.field.repulsion))
    with suppress(OSError):
        write_tensors(path, tensors, {"format": FROZEN_FORMAT, "identity": identity})
    return frozen


def _read(placement: Placement, held: dict[str, np.ndarray]) -> FrozenMap:
    index = NeighbourIndex.of_arrays(held, placement.config.seed)
    field = None
    if "grid" in held:
        field = Tabulated(jnp.asarray(held["grid"]), jnp.asarray(held["repulsion"][0]))
    return FrozenMap(placement, index=index, field=field)


def _identity(placement: Placement, digest: str) -> str:
    """SHA-256 of all that index and field depend on."""
    told = [f"{name} {_version(name)}" for name in ("sphere-ebm", "jax", "jaxlib", "faiss-cpu")]
    told += [f"CPUs {visible_cpus()}", placement.config.to_json(), digest]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
