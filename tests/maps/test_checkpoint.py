"""A checkpoint holds everything the runs of a fit carry, and is used by that fit alone."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, Int

import sphere_ebm.maps.place as place_module
from sphere_ebm.files.tensors import read_tensors, write_tensors
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.maps.checkpoint import EVERY, Keeper, Saved, load_checkpoint, save_checkpoint
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.maps.problem import pose
from sphere_ebm.sampling.moments import Moments
from sphere_ebm.sampling.run import Carry, Trace


class Momentum(NamedTuple):
    """A sampler state with leaves of several types and shapes."""

    step: Int[Array, ""]
    velocity: Float[Array, "points 3"]


def carry(seed: int, points: int = 4) -> Carry:
    rng = np.random.default_rng(seed)

    def state() -> SphereState:
        return SphereState(
            jnp.asarray(rng.standard_normal((points, 3)), jnp.float32),
            jnp.asarray(rng.standard_normal(points), jnp.float32),
        )

    sampler = Momentum(jnp.asarray(seed + 3, jnp.int32), state().direction)
    return Carry(
        state(), [sampler], Moments(jnp.asarray(1.0 * seed, jnp.float32), state(), state())
    )


TRACE = Trace([0, 25, 50], {"gravity": [1.0, 0.1, 1 / 3], "lateral": [2.0, -1e-30, 7.0]})


REPLICA = Trace([0, 25], {"gravity": [1.0, 0.2], "lateral": [2.0, 3.0]})
PLACES = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32)


def state(seed: int = 1, running: bool = True) -> Saved:
    """A fit whose map is done and two of whose replicas are, while two others have begun."""
    begun = {2: (carry(seed + 1), REPLICA), 11: (carry(seed + 2), TRACE)}
    return Saved((carry(seed), TRACE), PLACES, begun if running else {})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "run.safetensors", "this run", state())
    return tmp_path / "run.safetensors"


def restored(path: Path, fingerprint: str = "this run", like: Carry | None = None) -> Saved | None:
    return load_checkpoint(path, fingerprint, carry(2) if like is None else like)


def test_every_leaf_comes_back_bit_for_bit(path: Path) -> None:
    found = restored(path)
    assert found is not None
    runs = (found.map_run, found.begun[2], found.begun[11])
    for (held, _), given in zip(runs, (carry(1), carry(2), carry(3)), strict=True):
        assert jax.tree.structure(held) == jax.tree.structure(given)
        for one, other in zip(jax.tree.leaves(held), jax.tree.leaves(given), strict=True):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    np.testing.assert_array_equal(found.replicas, PLACES)


def test_traces_come_back_with_their_terms_in_order(path: Path) -> None:
    found = restored(path)
    assert found is not None
    assert found.map_run[1] == TRACE
    assert {number: trace for number, (_, trace) in found.begun.items()} == {2: REPLICA, 11: TRACE}
    assert list(found.map_run[1].energy) == ["gravity", "lateral"]


def test_before_replicas_begin_there_are_none(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "run.safetensors", "this run", state(running=False))
    found = restored(tmp_path / "run.safetensors")
    assert found is not None
    assert found.begun == {}


def test_a_later_checkpoint_takes_the_place_of_an_earlier_one(path: Path) -> None:
    save_checkpoint(path, "this run", state(5))
    found = restored(path)
    assert found is not None
    assert int(found.map_run[0].step) == 8
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_checkpoints_are_written_only_so_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    keeper = Keeper(tmp_path / "run.safetensors", "this run")
    written = []
    for seed, passed in enumerate((0.0, 0.6 * EVERY, 0.6 * EVERY, 0.6 * EVERY, 0.6 * EVERY)):
        now += passed
        keeper.keep(state(seed))
        held = keeper.held(carry(2))
        written.append(None if held is None else int(held.map_run[0].step) - 3)
    assert written == [None, None, 2, 2, 4]
    keeper.forget()
    assert not list(tmp_path.iterdir())


def test_without_a_file_nothing_is_kept() -> None:
    keeper = Keeper(None, "this run")
    keeper.keep(state())
    assert keeper.held(carry(2)) is None
    keeper.forget()


def test_no_file_is_no_checkpoint(tmp_path: Path) -> None:
    assert restored(tmp_path / "run.safetensors") is None


def test_a_checkpoint_of_another_run_is_ignored(path: Path) -> None:
    assert restored(path, "another run") is None


def test_a_checkpoint_of_another_number_of_points_is_ignored(path: Path) -> None:
    assert restored(path, like=carry(2, points=5)) is None


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.999])
def test_a_torn_file_is_ignored(path: Path, kept: float) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: int(kept * len(raw))])
    assert restored(path) is None


@pytest.mark.parametrize(
    "missing",
    ["map.leaf.0", "map.leaf.3", "map.steps", "replica 2.energy.lateral", "replicas", "terms"],
)
def test_an_incomplete_file_is_ignored(path: Path, missing: str) -> None:
    arrays, metadata = read_tensors(path)
    whole: dict[str, Any] = arrays | metadata
    assert missing in whole
    write_tensors(
        path,
        {name: array for name, array in arrays.items() if name != missing},
        {name: text for name, text in metadata.items() if name != missing},
    )
    assert restored(path) is None


def test_a_checkpoint_made_beside_other_cpus_is_that_of_another_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = np.eye(3, dtype=np.float32)
    problem = pose(rows, None, PlacementConfig(neighbours=1))
    found = []
    for count in (1, 2, 2):
        monkeypatch.setattr(place_module, "visible_cpus", lambda count=count: count)
        found.append(place_module._fingerprint(place_module._Setting(problem, None, rows, ()), ()))
    assert found[0] != found[1] == found[2]
