"""What several test files make their inputs and systems from."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from thrml import Block

from sphere_ebm.geometry.sphere import normalise
from sphere_ebm.hamiltonian import GravityFactor, LateralFactor, OsmoticFactor, SphereState
from sphere_ebm.text.base import AbstractEmbedder, AbstractEntropyModel, Reading

DATA = Path(__file__).parents[1] / "data"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, hidden ones included, by its path from there."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def cloud(points: int, width: int = 4, seed: int | None = None) -> np.ndarray:
    """Normal random embeddings in float32; the seed is the number of points unless given."""
    rng = np.random.default_rng(points if seed is None else seed)
    return rng.standard_normal((points, width)).astype(np.float32)


def unit(vectors: Any) -> np.ndarray:
    """Rows scaled to unit length, in float64 or the type of the input."""
    rows = np.asarray(vectors)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class Spaces(AbstractEntropyModel):
    """Uncertain behind spaces, certain everywhere else; with `noise` a little uncertain there."""

    def __init__(self, name: str = "spaces", *, noise: bool = False) -> None:
        self._name = name
        self._noise = noise

    @property
    def name(self) -> str:
        return self._name

    def read(self, octets: np.ndarray) -> Reading:
        behind = octets == 32
        if not self._noise:
            return Reading(behind.astype(np.float32), np.ones(len(octets), np.float32))
        entropies = np.where(behind, 2 + octets.cumsum() % 5 / 8, octets % 7 / 20)
        surprisals = np.where(behind, 3, 1)
        return Reading(entropies.astype(np.float32), surprisals.astype(np.float32))


def small_hamiltonian(block: Block) -> list[Any]:
    """All three terms on a ring of neighbours."""
    here = np.arange(len(block))
    weight = np.ones(len(block), np.float32)
    return [
        GravityFactor(block, np.linspace(2, 3, len(block)).astype(np.float32), 2.0),
        LateralFactor(block, here, (here + 1) % len(block), weight, sharpness=2.0),
        OsmoticFactor(block, sharpness=2.0, strength=2.0, evaluator="direct"),
    ]


def small_state(points: int) -> SphereState:
    """Random directions, and radii between 1 and 4."""
    rng = np.random.default_rng(5)
    direction = normalise(jnp.asarray(rng.standard_normal((points, 3)), jnp.float32))
    return SphereState(direction, jnp.asarray(rng.uniform(1, 4, points), jnp.float32))


def close_folder(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """From now on no folder of this name can be searched, not by root either."""
    scandir = os.scandir

    def guarded(path: Any = ".") -> Any:
        if os.path.basename(path) == name:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)


class Letters(AbstractEmbedder):
    """Counts of bytes by their last three bits, `block` patches at a time.

    Prominence is the length of a patch, or what `prominence` gives for its bytes. `told` is called
    with the bytes of a document and the number of its blocks that are done, 0 to begin with.
    """

    def __init__(
        self,
        width: int = 8,
        *,
        block: int = 1000,
        prominence: Callable[[np.ndarray], float] = len,
        told: Callable[[np.ndarray, int], object] = lambda octets, done: None,
    ) -> None:
        self.documents = 0
        self._width = width
        self._block = block
        self._prominence = prominence
        self._told = told

    @property
    def name(self) -> str:
        return "letters"

    @property
    def width(self) -> int:
        return self._width

    def embed(
        self, octets: np.ndarray, lengths: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self.documents += 1
        self._told(octets, 0)
        patches = np.split(octets, np.cumsum(lengths)[:-1])
        for done, begin in enumerate(range(0, len(patches), self._block), start=1):
            block = patches[begin : begin + self._block]
            counts = [np.bincount(patch & 7, minlength=self._width) for patch in block]
            prominence = [self._prominence(patch) for patch in block]
            yield np.array(counts, np.float32), np.array(prominence, np.float32)
            self._told(octets, done)


def assert_copied(labels: Any, table: Any) -> None:
    """Labels hold the columns of the shard that they were made from."""
    texts = ("bytes", "bytes_offset")
    for name in ("embeddings", "prominence", "patch_start", "patch_length", *texts):
        np.testing.assert_array_equal(getattr(labels, name), getattr(table, name))
