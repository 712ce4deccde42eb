"""One map over several devices: split in fact, and the same map to rounding.

One process with four virtual devices.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sphere_ebm import Placement, PlacementConfig, place
from sphere_ebm.graph.neighbours import Neighbours
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.maps.anchors import Anchoring
from sphere_ebm.maps.place import hamiltonian_factors, make_sampler
from sphere_ebm.maps.problem import pose
from sphere_ebm.maps.starts import random_directions
from sphere_ebm.sampling.devices import SplitAttraction, device_mesh, over_devices
from sphere_ebm.sampling.moments import empty_moments
from sphere_ebm.sampling.programs import build_program, sphere_block
from sphere_ebm.sampling.run import Carry, run_chunk

DEVICES = 4
# points and evaluator: divisible by four and not, with degree classes and (below 1024 points)
# without
CASES = [(1100, "harmonic"), (1099, "pyramid"), (81, "direct")]
STEPS = (0, 5, 35)
COLLECTIVE = re.compile(
    r"= (?:\(.*?\)|\S+) (all-gather|all-reduce|all-to-all|collective-permute)(?:-start)?\("
)


def cloud(points: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((points, 6)).astype(np.float32)


def ring(points: int) -> Neighbours:
    """Everyone's next few, so that no search is compiled."""
    index = (np.arange(points)[:, None] + np.arange(1, min(points, 7))[None]) % points
    return Neighbours.from_arrays(index, embeddings=cloud(points))


def config(**changes: Any) -> PlacementConfig:
    return PlacementConfig(
        **({"neighbours": 6, "shells": 4, "tolerance": 0.0, "start": "random"} | changes)
    )


def cold_run(points: int, evaluator: str) -> tuple[Any, Carry]:
    """A program at T = 0 and where it begins, as `place` makes them."""
    chosen = config(
        neighbours=min(6, points - 1),
        osmotic_evaluator=evaluator,
        temperature_start=0.0,
        temperature_end=0.0,
        steps=40,
    )
    problem = pose(cloud(points), None, chosen, None, None, neighbours=ring(points))
    block = sphere_block(points)
    sampler = make_sampler(points, chosen)
    # a third of the points, so that slots without an anchor are split too
    held = np.arange(0, points, 3)
    anchoring = Anchoring(
        held, random_directions(len(held), 1), np.full(len(held), 0.1, np.float32)
    )
    factors = hamiltonian_factors(block, problem.ideal_radius, problem.graph, chosen, anchoring)
    program = build_program(block, factors, sampler)
    state = SphereState(
        jnp.asarray(random_directions(points, 0)), jnp.asarray(problem.ideal_radius)
    )
    return program, Carry(state, [sampler.init()], empty_moments(state))


def shares(array: jax.Array, axis: int = 0) -> list[int]:
    return [shard.data.shape[axis] for shard in array.addressable_shards]


def relative_difference(one: jax.Array, other: jax.Array) -> float:
    """Root mean square over root mean square."""
    scale = np.linalg.norm(np.asarray(one)) or 1.0
    return float(np.linalg.norm(np.asarray(one) - np.asarray(other)) / scale)


def compared(points: int, evaluator: str) -> dict[str, Any]:
    """The same run on one device and on four, and how the latter is split."""
    key = jax.random.key(0)
    averaging = jnp.asarray(1, jnp.int32)
    begun = cold_run(points, evaluator)
    runs = []
    ends = []
    for mesh in (None, device_mesh(DEVICES)):
        program, carry = over_devices(*begun, points, mesh)
        compiled = run_chunk.lower(key, program, carry, averaging, averaging).compile()
        trace = []
        for steps in STEPS:
            carry, energy, _ = compiled(
                key, program, carry, jnp.asarray(steps, jnp.int32), averaging
            )
            trace.append({name: float(value) for name, value in energy.items()})
        runs.append(trace)
        ends.append(carry)
    off = jax.tree.map(relative_difference, *ends)
    text = compiled.compiled.as_text()
    step = [line for line in text.splitlines() if "while/body" in line]
    slots = [
        term.parts
        for term in program.per_block_interactions[0]
        if isinstance(term, SplitAttraction)
    ]
    return {
        "runs": runs,
        "state_off": max(jax.tree.leaves(off.state)),
        "moments_off": max(jax.tree.leaves(off.moments)),
        "state": shares(carry.state.direction),
        "slots": [shares(part.weight) for parts in slots for part in parts],
        "in_a_step": sorted({found[1] for line in step if (found := COLLECTIVE.search(line))}),
        "share_in_a_step": f"f32[{-(-points // DEVICES)},3]" in text,
    }


def off_by(one: Placement, other: Placement) -> float:
    names = ("direction", "radius", "thermal_std", "radius_std")
    return max(relative_difference(getattr(one, name), getattr(other, name)) for name in names)


def warm_runs(points: int, evaluator: str) -> dict[str, Any]:
    """`place` at T > 0.

    By default, on four devices, and interrupted on four and continued by default.
    """
    given: dict[str, Any] = {
        "config": config(osmotic_evaluator=evaluator, steps=27, average=5),
        "neighbours": ring(points),
    }

    def interrupt(stage: str, done: int, total: int) -> None:
        if done == 27:
            raise KeyboardInterrupt

    alone = place(cloud(points), **given)
    four = place(cloud(points), **given, devices=DEVICES)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "run.safetensors"
        done = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sphere_ebm.maps.checkpoint.EVERY", 0.0)
            with pytest.raises(KeyboardInterrupt):
                place(
                    cloud(points),
                    **given,
                    devices=DEVICES,
                    progress=interrupt,
                    checkpoint=checkpoint,
                )
        continued = place(
            cloud(points),
            **given,
            checkpoint=checkpoint,
            progress=lambda s, n, _: s == "steps" and done.append(n),
        )
    return {"four": off_by(four, alone), "continued": off_by(continued, alone), "done": done}


def on_another_device(points: int, evaluator: str) -> bool:
    """Whether the last device alone makes the bits that the first one makes."""
    given: dict[str, Any] = {
        "config": config(osmotic_evaluator=evaluator, steps=27, average=5),
        "neighbours": ring(points),
    }
    first = place(cloud(points), **given)
    last = place(cloud(points), **given, devices=jax.devices()[-1:])
    return (
        first.direction.tobytes() == last.direction.tobytes()
        and first.angle_std.tobytes() == last.angle_std.tobytes()
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process with four devices measures, with the suite's run-time checks and warnings as
    errors.
    """
    script = (
        "import runpy, sys, jax, jaxtyping\n"
        "jax.config.update('jax_numpy_dtype_promotion', 'strict')\n"
        "jax.config.update('jax_numpy_rank_promotion', 'raise')\n"
        "jaxtyping.install_import_hook('sphere_ebm', 'beartype.beartype')\n"
        "runpy.run_path(sys.argv[1], run_name='__main__')\n"
    )
    output = tmp_path_factory.mktemp("devices") / "measured.json"
    # what is compiled here runs for milliseconds
    flags = f"--xla_force_host_platform_device_count={DEVICES} --xla_backend_optimization_level=0"
    flags = f"{flags} --xla_llvm_disable_expensive_passes=true"
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip(),
        "JAX_PLATFORMS": "cpu",
    }
    subprocess.run([sys.executable, "-c", script, __file__, output], env=environment, check=True)
    return json.loads(output.read_text())


@pytest.mark.parametrize(("points", "evaluator"), CASES)
def test_the_energy_trace_is_that_of_one_device(
    measured: dict[str, Any], points: int, evaluator: str
) -> None:
    found = measured[f"{points} {evaluator}"]
    one, four = ([[step[name] for name in sorted(step)] for step in run] for run in found["runs"])
    np.testing.assert_allclose(four[0], one[0], rtol=2e-6, atol=1e-6 * points)
    np.testing.assert_allclose(four, one, rtol=2e-5, atol=1e-5 * points)
    assert one[0] != one[2]
    assert found["state_off"] < 1e-3
    assert found["moments_off"] < 1e-3


@pytest.mark.parametrize(("points", "evaluator"), CASES)
def test_points_and_work_are_split(measured: dict[str, Any], points: int, evaluator: str) -> None:
    found = measured[f"{points} {evaluator}"]
    # between chunks an array that does not divide is whole
    assert found["state"] == [points // DEVICES if points % DEVICES == 0 else points] * DEVICES
    assert found["share_in_a_step"], "within a step it is split all the same"
    assert {"all-gather", "all-reduce"} <= set(found["in_a_step"])
    assert len(found["slots"]) == (3 if points >= 1024 else 0)
    for rows in found["slots"]:
        assert len(rows) == DEVICES
        assert sum(rows) <= points / 2 + DEVICES


def test_random_numbers_do_not_depend_on_devices(measured: dict[str, Any]) -> None:
    assert measured["warm"]["four"] < 1e-3


def test_a_run_may_be_continued_on_other_devices(measured: dict[str, Any]) -> None:
    assert measured["warm"]["done"] == [27, 32]
    assert measured["warm"]["continued"] < 1e-3


def test_one_device_is_as_good_as_another(measured: dict[str, Any]) -> None:
    assert measured["last_device"]


def test_devices_that_are_not_there_are_refused() -> None:
    present = len(jax.devices())
    for wrong in (0, -1, present + 1):
        with pytest.raises(
            ValueError, match=rf"`devices` must be from 1 to {present}, .* got {wrong}\."
        ):
            place(cloud(5), devices=wrong)
    for none in ([], [jax.devices()[0]] * 2):
        with pytest.raises(ValueError, match="must name one device or more of one kind, each once"):
            device_mesh(none)


if __name__ == "__main__":
    measurements: dict[str, Any] = {
        f"{points} {evaluator}": compared(points, evaluator) for points, evaluator in CASES
    }
    small = CASES[-1]
    measurements |= {"warm": warm_runs(*small), "last_device": on_another_device(*small)}
    Path(sys.argv[2]).write_text(json.dumps(measurements))
