"""Checkpoints of a run: all that it carries, in one file that is either whole or not there."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from sphere_ebm.errors import ShardError
from sphere_ebm.files.tensors import read_tensors, write_tensors
from sphere_ebm.sampling.run import Carry, Trace

_FORMAT = "sphere_checkpoint_v1"


def save_checkpoint(path: Path, fingerprint: str, carry: Carry, trace: Trace) -> None:
    """Write `carry` and `trace` atomically; `fingerprint` names the run that they belong to."""
    leaves = {
        f"leaf.{i}": np.atleast_1d(np.asarray(leaf))
        for i, leaf in enumerate(jax.tree.leaves(carry))
    }
    steps = {"steps": np.asarray(trace.steps, np.int64)}
    energy = {
        f"energy.{name}": np.asarray(values, np.float64) for name, values in trace.energy.items()
    }
    metadata = {
        "format": _FORMAT,
        "fingerprint": fingerprint,
        "terms": json.dumps(list(trace.energy)),
    }
    write_tensors(path, leaves | steps | energy, metadata)


def load_checkpoint(path: Path, fingerprint: str, like: Carry) -> tuple[Carry, Trace] | None:
    """The carry (with the structure and types of `like`) and trace of this very run, or None.

    None as well for a file of another run, or one that cannot be read: the run then starts again,
    with the same result.
    """
    if not path.exists():
        return None
    try:
        tensors, metadata = read_tensors(path)
        if metadata.get("format") != _FORMAT or metadata.get("fingerprint") != fingerprint:
            return None
        leaves, structure = jax.tree.flatten(like)
        restored = [
            jnp.asarray(tensors[f"leaf.{i}"].reshape(leaf.shape), leaf.dtype)
            for i, leaf in enumerate(leaves)
        ]
        energy = {
            name: tensors[f"energy.{name}"].tolist() for name in json.loads(metadata["terms"])
        }
        return jax.tree.unflatten(structure, restored), Trace(tensors["steps"].tolist(), energy)
    except (ShardError, KeyError, ValueError):
        return None
