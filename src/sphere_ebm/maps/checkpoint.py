"""Checkpoints of a fit: all that its runs carry, in one file that is either whole or not there."""

import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sphere_ebm.errors import ShardError
from sphere_ebm.files.tensors import read_tensors, write_tensors
from sphere_ebm.sampling.run import Carry, Trace

_FORMAT = "sphere_checkpoint_v2"

RunState = tuple[Carry, Trace]
"""Where a run is."""


class Saved(NamedTuple):
    """Where a fit is: its map's run, the replica that runs now, if any, and those that are done.

    `replicas`: (R, N, 3) directions in the map's frame.
    """

    map_run: RunState
    replica: RunState | None
    replicas: Float[np.ndarray, "replicas points 3"]


def save_checkpoint(path: Path, fingerprint: str, saved: Saved) -> None:
    """Write `saved` atomically; `fingerprint` names the fit that it belongs to."""
    tensors = {"replicas": np.asarray(saved.replicas, np.float32)} | _tensors("map", saved.map_run)
    if saved.replica is not None:
        tensors |= _tensors("replica", saved.replica)
    metadata = {
        "format": _FORMAT,
        "fingerprint": fingerprint,
        "terms": json.dumps(list(saved.map_run[1].energy)),
    }
    write_tensors(path, tensors, metadata)


def load_checkpoint(path: Path, fingerprint: str, like: Carry) -> Saved | None:
    """The state of this very fit, or None; carries have the structure and types of `like`.

    None as well for a file of another fit, or one that cannot be read: the fit then starts again,
    with the same result.
    """
    if not path.exists():
        return None
    try:
        tensors, metadata = read_tensors(path)
        if metadata.get("format") != _FORMAT or metadata.get("fingerprint") != fingerprint:
            return None
        terms = json.loads(metadata["terms"])
        running = "replica.steps" in tensors
        return Saved(
            _state("map", tensors, like, terms),
            _state("replica", tensors, like, terms) if running else None,
            tensors["replicas"],
        )
    except (ShardError, KeyError, ValueError):
        return None


def _tensors(name: str, run: RunState) -> dict[str, np.ndarray]:
    carry, trace = run
    found = {
        f"{name}.leaf.{i}": np.atleast_1d(np.asarray(leaf))
        for i, leaf in enumerate(jax.tree.leaves(carry))
    }
    found[f"{name}.steps"] = np.asarray(trace.steps, np.int64)
    for term, values in trace.energy.items():
        found[f"{name}.energy.{term}"] = np.asarray(values, np.float64)
    return found


def _state(name: str, tensors: dict[str, np.ndarray], like: Carry, terms: list[str]) -> RunState:
    leaves, structure = jax.tree.flatten(like)
    restored = [
        jnp.asarray(tensors[f"{name}.leaf.{i}"].reshape(leaf.shape), leaf.dtype)
        for i, leaf in enumerate(leaves)
    ]
    energy = {term: tensors[f"{name}.energy.{term}"].tolist() for term in terms}
    trace = Trace(tensors[f"{name}.steps"].tolist(), energy)
    return jax.tree.unflatten(structure, restored), trace
