"""How `place` runs its sampler.

Stable or with a warning, cut short or not, continued only if it is the same run.
"""

import dataclasses
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
import pytest

from sphere_ebm import Placement, PlacementConfig, place
from sphere_ebm.errors import MapWarning
from sphere_ebm.sampling.run import RunResult, run_program

POINTS = 300
BASE: dict[str, Any] = {"neighbours": 8, "shells": 8, "replicas": 0}


@pytest.fixture(scope="module")
def cloud() -> np.ndarray:
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((10, 12))
    return (
        centres[rng.integers(10, size=POINTS)] + 0.7 * rng.standard_normal((POINTS, 12))
    ).astype(np.float32)


def placed(cloud: np.ndarray, **changes: Any) -> Placement:
    return place(cloud, config=PlacementConfig(**(BASE | changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scheme": "euler-maruyama"},
        {"temperature_start": 0.0, "temperature_end": 0.0},
        {"temperature_start": 1.0, "temperature_end": 1.0, "radius_stiffness": 20.0},
        {"osmotic_strength": 0.0},
    ],
)
def test_a_stable_run_comes_without_a_warning(cloud: np.ndarray, changes: dict[str, Any]) -> None:
    assert placed(cloud, **changes).notes == ()


@pytest.mark.parametrize("strength", [0.25, 0.5, 2.0, 3.0, 8.0])
@pytest.mark.parametrize("term", ["lateral_strength", "osmotic_strength"])
def test_the_step_follows_the_strengths(cloud: np.ndarray, term: str, strength: float) -> None:
    times = {"lateral_strength": 1.0, "osmotic_strength": 2.0}[term]
    found = placed(cloud, **{term: strength * times})
    assert found.notes == ()
    assert found.quality().recall[15] > 0.3


@pytest.mark.parametrize("changes", [{"friction": 1e-9}, {"step_size": 1.2}])
def test_an_unstable_run_is_not_passed_off_as_a_map(
    cloud: np.ndarray, changes: dict[str, Any]
) -> None:
    with pytest.warns(MapWarning, match="the dynamics are unstable"):
        notes = placed(cloud, **changes).notes
    assert len(notes) == 1
    assert "the dynamics are unstable" in notes[0]
    assert "Lower step_size" in notes[0]


def test_a_long_run_ends_early_at_its_final_temperature_and_says_so(cloud: np.ndarray) -> None:
    found = placed(cloud, steps=4000, cooling=0.1)
    assert found.converged
    assert 525 <= found.step[-1] < 3000
    total = np.sum(list(found.energy.values()), axis=0) / POINTS
    settled = total[found.step >= 400]
    later = (
        np.sum(list(placed(cloud, steps=4000, cooling=0.1, tolerance=0.0).energy.values()), axis=0)[
            -40:
        ]
        / POINTS
    )
    assert abs(settled[-8:].mean() - later.mean()) < 0.05, "what would still have come is small"


def test_tolerance_zero_takes_all_steps(cloud: np.ndarray) -> None:
    assert placed(cloud, steps=700, cooling=0.1, tolerance=0.0).step[-1] == 750


def test_a_longer_average_sees_more_of_the_spread(cloud: np.ndarray) -> None:
    short = placed(cloud, average=10)
    long = placed(cloud, average=400)
    assert np.mean(short.thermal_std) < 0.8 * np.mean(long.thermal_std)
    # radii are harmonic wells with T = 0.01 and unit stiffness
    assert long.radius_std.mean() == pytest.approx(0.1, rel=0.05)


def test_radii_stay_above_the_inner_edge_of_the_first_shell(cloud: np.ndarray) -> None:
    soft = placed(cloud, radius_stiffness=0.001, temperature_start=0.1, temperature_end=0.1)
    assert soft.radius.min() > soft.shells.edges[0]


def test_a_mean_without_a_direction_is_said(
    cloud: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_to_opposite_places(*given: Any, **options: Any) -> RunResult:
        result = run_program(*given, **options)
        mean = result.carry.moments.mean.direction
        carry = eqx.tree_at(
            lambda carry: carry.moments.mean.direction, result.carry, mean.at[7].set(0)
        )
        return dataclasses.replace(result, carry=carry)

    monkeypatch.setattr("sphere_ebm.maps.runs.run_program", run_to_opposite_places)
    found = placed(cloud, steps=10, average=2, replicas=0)
    np.testing.assert_allclose(np.linalg.norm(found.direction, axis=1), 1, atol=1e-6)
    assert found.notes[-1].startswith("1 of 300 points have no mean direction")
    assert not found.converged


@pytest.mark.usefixtures("kept_at_once")
def test_a_checkpoint_of_another_graph_is_not_continued(cloud: np.ndarray, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    changes = {"steps": 100, "average": 10, "replicas": 1}
    edges = (np.array([0]), np.array([1]), np.array([3.0]))

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "steps" and done >= 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place(
            cloud, config=PlacementConfig(**(BASE | changes)), progress=stop, checkpoint=checkpoint
        )
    assert checkpoint.exists()
    config = PlacementConfig(**(BASE | changes))
    continued = place(cloud, config=config, extra_edges=edges, checkpoint=checkpoint)
    fresh = place(cloud, config=config, extra_edges=edges)
    assert continued.direction.tobytes() == fresh.direction.tobytes()
