"""The runs of a fit: the map is the same whether replicas follow or not, and they are like it."""

from typing import Any

import numpy as np
import pytest

from sphere_ebm import Placement, PlacementConfig, place
from sphere_ebm.geometry.frames import angles_between, best_frame
from sphere_ebm.maps.anchors import Anchors

POINTS = 80
SMALL: dict[str, Any] = {"neighbours": 6, "shells": 4, "steps": 60, "average": 10, "tolerance": 0.0}


def fitted(clusters: np.ndarray, anchors: Anchors | None = None, **changes: Any) -> Placement:
    return place(clusters, config=PlacementConfig(**(SMALL | changes)), anchors=anchors)


@pytest.fixture(scope="module")
def clusters() -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.standard_normal((4, 8)), POINTS // 4, axis=0)
    return (centres + 0.3 * rng.standard_normal((POINTS, 8))).astype(np.float32)


@pytest.fixture(scope="module")
def replicated(clusters: np.ndarray) -> Placement:
    return fitted(clusters, replicas=3)


def test_the_map_is_the_same_for_any_number_of_replicas(
    clusters: np.ndarray, replicated: Placement
) -> None:
    alone = fitted(clusters, replicas=0)
    for name in ("direction", "radius", "radius_std", "thermal_std", "point_energy"):
        assert getattr(alone, name).tobytes() == getattr(replicated, name).tobytes()
    assert alone.thermal_std is not None
    assert alone.angle_std.tobytes() == alone.thermal_std.tobytes()
    assert (alone.modes, alone.mode_weight, alone.certainty) == (None, None, None)
    assert alone.replicas is not None
    assert alone.replicas.shape == (0, POINTS, 3)


def test_fewer_replicas_are_the_first_of_more(clusters: np.ndarray, replicated: Placement) -> None:
    two = fitted(clusters, replicas=2)
    assert two.replicas is not None
    assert replicated.replicas is not None
    assert two.replicas.tobytes() == replicated.replicas[:2].tobytes()


def test_replicas_are_further_runs_in_the_frame_of_the_map(replicated: Placement) -> None:
    assert replicated.replicas is not None
    np.testing.assert_allclose(np.linalg.norm(replicated.replicas, axis=2), 1, atol=1e-6)
    for one in replicated.replicas:
        assert (one != replicated.direction).any(axis=1).all()
        # turned back already: the plain best frame has next to nothing left to turn
        frame = best_frame(replicated.direction, one)
        assert angles_between(one, one @ frame).mean() < 0.3
    first, second, _ = replicated.replicas
    assert angles_between(first, second).max() > 0.01


def test_what_the_summary_says_of_error_bars(replicated: Placement) -> None:
    sure = replicated.certainty
    assert sure is not None
    assert sure.replicas == 3
    assert 0 < sure.median <= sure.p90
    assert sure.median == pytest.approx(np.degrees(np.median(replicated.angle_std)))


def test_anchors_hold_the_frame_of_replicas(clusters: np.ndarray, replicated: Placement) -> None:
    held = fitted(clusters, Anchors(replicated.direction, 5.0), replicas=2)
    assert held.replicas is not None
    for one in (held.direction, *held.replicas):
        assert np.median(angles_between(one, replicated.direction)) < 0.2
    assert np.median(held.angle_std) < 0.5 * np.median(replicated.angle_std)


@pytest.mark.parametrize("points", [0, 1, 2])
def test_maps_of_hardly_any_points_have_error_bars(points: int) -> None:
    found = fitted(np.eye(3, 5, dtype=np.float32)[:points], neighbours=1, replicas=2)
    assert found.angle_std.shape == (points,)
    assert np.isfinite(found.angle_std).all()


def test_replicas_of_a_random_start_begin_elsewhere(clusters: np.ndarray) -> None:
    # short cold steps leave every run where it began
    still = {"steps": 1, "average": 2, "temperature_start": 1e-6, "temperature_end": 1e-6}
    apart = {}
    for start in ("random", "pca"):
        found = fitted(clusters, replicas=1, start=start, step_size=1e-4, **still)
        assert found.replicas is not None
        replica = found.replicas[0]
        turned = replica @ best_frame(found.direction, replica)
        apart[start] = float(np.median(angles_between(found.direction, turned)))
    assert apart["random"] > 0.3
    assert apart["pca"] < 0.05
