"""What several test files make their inputs and systems from."""

import dataclasses
import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from thrml import Block

from sphere_ebm import Placement, PlacementConfig, ShardError, read_shard
from sphere_ebm.files.shards.labels import write_labels
from sphere_ebm.geometry.sphere import normalise
from sphere_ebm.graph import NeighbourGraph, Neighbours, blockwise
from sphere_ebm.graph.blockwise import Arrays, Blocks, Rule
from sphere_ebm.graph.index import Nearest
from sphere_ebm.hamiltonian import GravityFactor, LateralFactor, OsmoticFactor, SphereState
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.langevin import AbstractInertial
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


def table_after(heading: str, text: str) -> list[list[str]]:
    """Cells of the first Markdown table below a heading that starts so, without the dashes."""
    lines = text[text.index(heading) :].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    last = next((i for i in range(first, len(lines)) if not lines[i].startswith("|")), len(lines))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[first:last]]
    return [rows[0], *rows[2:]]


def sampler_of(scheme: type, n_nodes: int, *law: Any, **options: Any) -> Any:
    """A sampler of the class `scheme`, with options of its own and of its coefficients mixed.

    `law` is temperature, step size and coupling.
    """
    names = {each.name for each in dataclasses.fields(Coefficients)}
    own = {name: value for name, value in options.items() if name not in names}
    coefficients = Coefficients(*law, **{k: v for k, v in options.items() if k in names})
    size = [n_nodes] if issubclass(scheme, AbstractInertial) else []
    return scheme(coefficients, *size, **own)


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


def mixed(points: int, width: int = 30, seed: int = 0) -> np.ndarray:
    """Embeddings in sixty clusters that are the same for every seed, in float32."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((60, width))
    drawn = rng.integers(0, 60, points)
    return (centres[drawn] + 0.5 * rng.standard_normal((points, width))).astype(np.float32)


def sorted_cosines(
    queries: np.ndarray, points: np.ndarray, k: int, *, itself: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """The k points of largest cosine to each query, best first, and all cosines; in float64.

    Without `itself`, query i is point i and no neighbour of its own.
    """
    cosine = unit(queries.astype(np.float64)) @ unit(points.astype(np.float64)).T
    if not itself:
        np.fill_diagonal(cosine, -np.inf)
    return np.argsort(-cosine, axis=1, kind="stable")[:, :k], cosine


def lists_of(rows: list[list[int]], similarity: list[list[float]] | None = None) -> Neighbours:
    """Neighbours as listed; without a similarity all are equally near."""
    index = np.array(rows, np.int32).reshape(len(rows), -1)
    if similarity is None:
        return Neighbours(index, np.where(index >= 0, 0.5, -np.inf).astype(np.float32))
    return Neighbours(index, np.array(similarity, np.float32))


def hub_lists(n: int, seed: int) -> Neighbours:
    """Random lists in which a few points are everybody's favourites, as in many dimensions."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 4))
    appeal = rng.pareto(0.7, n) + 1e-3
    rows = []
    for i in range(n):
        others = np.delete(np.arange(n), i)
        rows.append(rng.choice(others, k, replace=False, p=appeal[others] / appeal[others].sum()))
    return lists_of(rows, -np.sort(-rng.uniform(-1, 1, (n, k)), axis=1))


def weighted_edges(graph: NeighbourGraph) -> dict[tuple[int, int], float]:
    """The weight of each edge, by its ends."""
    ends = zip(graph.senders.tolist(), graph.receivers.tolist(), strict=True)
    return dict(zip(ends, graph.weights.tolist(), strict=True))


def same_neighbours(one: Any, other: Any) -> None:
    """Fail unless both list the same points with the same similarities, bit for bit."""
    np.testing.assert_array_equal(one.index, other.index)
    np.testing.assert_array_equal(one.similarity, other.similarity)


def directions_at_random(points: int, seed: int) -> np.ndarray:
    """Uniform directions in float32."""
    return unit(np.random.default_rng(seed).standard_normal((points, 3))).astype(np.float32)


def noisy_map(points: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Twelve-dimensional embeddings of any norm and a map that keeps a part of their structure."""
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((points, 12)) * np.geomspace(3.0, 0.3, 12)
    embeddings *= rng.uniform(0.5, 5.0, (points, 1))
    direction = unit(unit(embeddings)[:, :3] + 0.1 * rng.standard_normal((points, 3)))
    return embeddings.astype(np.float32), direction.astype(np.float32)


def still_placement(
    direction: np.ndarray, radius: np.ndarray | None = None, embeddings: np.ndarray | None = None
) -> Placement:
    """A map of these directions, on the radius 20 unless given, of which nothing else is known."""
    n = len(direction)
    made = np.full(n, 20.0) if radius is None else radius
    return Placement(
        direction=direction.astype(np.float32),
        radius=made.astype(np.float32),
        shell=np.zeros(n, np.int32),
        radius_std=np.zeros(n, np.float32),
        angle_std=np.zeros(n, np.float32),
        prominence=np.zeros(n, np.float32),
        energy={},
        step=np.zeros(0, np.int64),
        converged=True,
        config=PlacementConfig(),
        embeddings=None if embeddings is None else embeddings.astype(np.float32),
    )


def assert_copied(labels: Any, table: Any) -> None:
    """Labels hold the columns of the shard that they were made from."""
    texts = ("bytes", "bytes_offset")
    for name in ("embeddings", "prominence", "patch_start", "patch_length", *texts):
        np.testing.assert_array_equal(getattr(labels, name), getattr(table, name))


def texts_in(folder: Path, texts: dict[str, str]) -> Path:
    """The folder, with these texts in it by their paths."""
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def usable(items: Any) -> list[Path]:
    """The sources of what was found, none of which has a problem."""
    assert all(item.problem is None for item in items)
    return [item.source for item in items]


def refused(path: Path) -> str:
    """The line with which a shard is refused; it names the file."""
    with pytest.raises(ShardError) as caught:
        read_shard(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def in_groups(points: int, seed: int, *, groups: int, width: int) -> np.ndarray:
    """Points in groups, so that a map of them has neighbourhoods worth keeping, in float32."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).standard_normal((groups, width))
    return (
        centres[rng.integers(groups, size=points)] + 0.5 * rng.standard_normal((points, width))
    ).astype(np.float32)


class Died(BaseException):
    """What a process that is no more would not get to handle."""


def dying_after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, but the process dies in place of any call after so many."""
    made = itertools.count()

    def dying(*args: Any, **options: Any) -> Any:
        if next(made) >= calls:
            raise Died
        return function(*args, **options)

    return dying


def edges_in_blocks(
    neighbours_of: Callable[[np.ndarray, int], Nearest], blocks: Blocks, rule: Rule, k: int
) -> list[Arrays]:
    """The passes of `sphere_ebm.graph.blockwise` in memory: the slots of every block."""
    held: dict[tuple[str, int], Arrays] = {}
    numbers = range(len(blocks))

    def read(stage: str, block: int) -> Arrays:
        return held[stage, block]

    for b in numbers:
        rows = np.arange(blocks.rows(b).start, blocks.rows(b).stop)
        found = neighbours_of(rows, k)
        held[blockwise.NEIGHBOURS, b] = blockwise.list_neighbours(found, blocks, rule)
    for b in numbers:
        held[blockwise.MET, b] = blockwise.meet(read, blocks, b, rule)
    cuts = blockwise.cuts_of(read, blocks)
    for b in numbers:
        held[blockwise.BOUNDED, b] = blockwise.bound(read, blocks, b, cuts, rule)
    scale = blockwise.scale_of(read, blocks)
    return [blockwise.settle_edges(read, blocks, b, scale) for b in numbers]


def hand_made(folder: Path, *shards: Path) -> Path:
    """A map that no sampler made: patches at random places, and a list of the label files."""
    rng = np.random.default_rng(7)
    names = [f"{path.stem}.sphere.safetensors" for path in shards]
    folder.mkdir()
    for shard, name in zip(shards, names, strict=True):
        table = read_shard(shard)
        direction = rng.standard_normal((len(table.prominence), 3)).astype(np.float32)
        ones = np.ones(len(direction), np.float32)
        write_labels(
            folder / name,
            table,
            {
                "direction": direction / np.linalg.norm(direction, axis=1, keepdims=True),
                "radius": ones,
                "shell": ones.astype(np.int32),
                "radius_std": ones,
                "angle_std": ones,
            },
            metadata={},
        )
    held = {"format": "sphere_map_v1", "id": "0", "config": {}, "files": {}}
    (folder / "map.json").write_text(
        json.dumps(held | {"sources": [{"labels": name} for name in names]})
    )
    return folder
