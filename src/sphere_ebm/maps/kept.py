"""A frozen map whose index and field are kept beside it, so that others join it sooner."""

import hashlib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from sphere_ebm.errors import ShardError
from sphere_ebm.files.machine import visible_cpus
from sphere_ebm.files.shards.layouts import FROZEN_FORMAT
from sphere_ebm.files.tensors import mapped_tensors, read_metadata, write_tensors
from sphere_ebm.graph.index import EXACT_LIMIT, NeighbourIndex
from sphere_ebm.hamiltonian.frozen import Tabulated
from sphere_ebm.maps.copies import distinct
from sphere_ebm.maps.frozen_map import FrozenMap
from sphere_ebm.maps.placement import Placement

LEAST = EXACT_LIMIT + 1
"""Points from which on something is kept: a smaller map is frozen sooner than it is read."""


def kept_frozen_map(placement: Placement, path: Path) -> FrozenMap:
    """The map for others to join, by the index and the field that `path` keeps.

    They are made, and kept there, where the file is missing, damaged, or of another map, machine or
    version; not where the folder cannot be written, or the map is small.

    Args:
        placement: the map, with its embeddings.
        path: of the file, in the folder of the map.
    """
    embeddings = placement.embeddings
    if len(placement) < LEAST or embeddings is None:
        return FrozenMap(placement)
    identity = _identity(placement, embeddings)
    with suppress(ShardError, OSError, KeyError):
        if read_metadata(path).get("identity") == identity:
            return _read(placement, mapped_tensors(path))
    frozen = FrozenMap(placement)
    tensors: dict[str, np.ndarray] = {}
    if frozen.index.trained is not None:
        tensors["index"] = frozen.index.trained
    if frozen.field is not None:
        tensors["grid"] = np.asarray(frozen.field.grid)
        tensors["repulsion"] = np.atleast_1d(np.asarray(frozen.field.repulsion))
    with suppress(OSError):
        write_tensors(path, tensors, {"format": FROZEN_FORMAT, "identity": identity})
    return frozen


def _read(placement: Placement, held: dict[str, np.ndarray]) -> FrozenMap:
    config = placement.config
    embeddings = distinct(placement).embeddings
    assert embeddings is not None
    index = NeighbourIndex.build(
        embeddings,
        search=config.neighbour_search,
        seed=config.seed,
        trained=held.get("index"),
    )
    field = None
    if "grid" in held:
        field = Tabulated(jnp.asarray(held["grid"]), jnp.asarray(held["repulsion"][0]))
    return FrozenMap(placement, index=index, field=field)


def _identity(placement: Placement, embeddings: np.ndarray) -> str:
    """SHA-256 of all that index and field depend on."""
    told = [f"{name} {_version(name)}" for name in ("sphere-ebm", "jax", "jaxlib", "faiss-cpu")]
    told += [f"CPUs {visible_cpus()}", placement.config.to_json(), str(embeddings.shape)]
    digest = hashlib.sha256("\n".join(told).encode())
    for array in (placement.direction, embeddings):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
