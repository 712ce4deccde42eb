"""Checkpoints of a fit: all that its runs carry, in one file that is either whole or not there."""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sphere_ebm.errors import ShardError
from sphere_ebm.files.tensors import read_tensors, write_tensors
from sphere_ebm.sampling.run import Carry, Trace

_FORMAT = "sphere_checkpoint_v3"

EVERY = 2.0
"""Seconds between two checkpoints at least: a small map would wait for the disk, not compute."""

RunState = tuple[Carry, Trace]
"""Where a run is."""


class Saved(NamedTuple):
    """Where a fit is: its map's run, the replicas that are done, and those that have begun.

    `replicas`: (R, N, 3) directions of the first R in the map's frame. `begun`: later ones, by
    their number from 0.
    """

    map_run: RunState
    replicas: Float[np.ndarray, "replicas points 3"]
    begun: Mapping[int, RunState] = MappingProxyType({})


@final
class Keeper:
    """Writes the checkpoints of a fit into a file (None: nowhere), `EVERY` so many seconds."""

    def __init__(self, path: Path | None, fingerprint: str) -> None:
        self.path = path
        self._fingerprint = fingerprint
        self._last = time.monotonic()

    def keep(self, saved: Saved) -> None:
        """Write `saved`, if it is time."""
        if self.path is not None and time.monotonic() - self._last >= EVERY:
            save_checkpoint(self.path, self._fingerprint, saved)
            self._last = time.monotonic()

    def held(self, like: Carry) -> Saved | None:
        """What an earlier run of this very fit has kept, see `load_checkpoint`."""
        return None if self.path is None else load_checkpoint(self.path, self._fingerprint, like)

    def forget(self) -> None:
        """Remove the file: the fit is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def save_checkpoint(path: Path, fingerprint: str, saved: Saved) -> None:
    """Write `saved` atomically; `fingerprint` names the fit that it belongs to."""
    tensors = {"replicas": np.asarray(saved.replicas, np.float32)} | _tensors("map", saved.map_run)
    for number, run in saved.begun.items():
        tensors |= _tensors(f"replica {number}", run)
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
        begun = [int(number) for number in map(_number_of, tensors) if number]
        return Saved(
            _state("map", tensors, like, terms),
            tensors["replicas"],
            {number: _state(f"replica {number}", tensors, like, terms) for number in begun},
        )
    except (ShardError, KeyError, ValueError):
        return None


def _number_of(tensor: str) -> str:
    """The number of the replica whose steps a tensor of this name holds; empty where none does."""
    found = re.fullmatch(r"replica (\d+)\.steps", tensor)
    return found[1] if found else ""


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
