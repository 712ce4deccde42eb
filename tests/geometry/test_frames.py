"""Frames bring two maps together: by rotation or reflection, whoever wandered."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sphere_ebm.geometry.frames import angles_between, best_frame, robust_frame

TURN = Rotation.from_euler("xyz", [0.4, -1.1, 2.3]).as_matrix()
MIRROR = TURN @ np.diag([1.0, 1.0, -1.0])


def directions(count: int = 60, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, 3))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("frame", [TURN, MIRROR])
def test_a_turned_or_reflected_map_is_brought_back(frame):
    reference = directions()
    found = best_frame(reference, reference @ frame)
    np.testing.assert_allclose(found, frame.T, atol=1e-12)
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-12)


def test_no_turn_near_the_best_frame_is_better():
    reference = directions()
    moved = directions(seed=1) * 0.3 + reference @ MIRROR
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    weights = np.random.default_rng(2).uniform(0, 2, len(moved))

    def misfit(frame: np.ndarray) -> float:
        return float(weights @ np.sum((reference - moved @ frame) ** 2, axis=1))

    found = best_frame(reference, moved, weights)
    for axis in np.eye(3):
        for angle in (-0.01, 0.01):
            turned = found @ Rotation.from_rotvec(angle * axis).as_matrix()
            assert misfit(found) < misfit(turned)


def test_points_without_weight_have_no_say():
    reference = directions()
    moved = reference @ TURN
    moved[:20] = directions(20, seed=3)
    weights = np.where(np.arange(60) < 20, 0.0, 1.0)
    np.testing.assert_allclose(best_frame(reference, moved, weights), TURN.T, atol=1e-12)


def test_wanderers_turn_the_plain_frame_and_not_the_robust_one():
    reference = directions(200)
    moved = (reference + 0.01 * directions(200, seed=4)) @ TURN
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    # a third gathers at one place, far from where it was
    moved[:66] = moved[0]
    plain, robust = (f(reference, moved) for f in (best_frame, robust_frame))
    off = [float(np.abs(found - TURN.T).max()) for found in (plain, robust)]
    assert off[0] > 0.05
    assert off[1] < 0.005


def test_maps_that_agree_and_maps_without_points_have_a_frame():
    reference = directions().astype(np.float32)
    np.testing.assert_allclose(robust_frame(reference, reference), np.eye(3), atol=1e-6)
    np.testing.assert_array_equal(best_frame(np.zeros((0, 3)), np.zeros((0, 3))), np.eye(3))
    np.testing.assert_array_equal(robust_frame(np.zeros((0, 3)), np.zeros((0, 3))), np.eye(3))


def test_small_angles_keep_their_digits():
    a = np.asarray([[1.0, 0, 0], [0, 0, 1.0]])
    b = np.asarray([[np.cos(1e-9), np.sin(1e-9), 0], [0, 0, -1.0]])
    np.testing.assert_allclose(angles_between(a, b), [1e-9, np.pi], rtol=1e-6)


@pytest.mark.parametrize(
    ("moved", "weights", "message"),
    [
        (directions(3), None, "same points"),
        (directions(60), np.ones(3), r"shape \(60,\); got \(3,\)"),
        (directions(60), np.full(60, -1.0), "finite and >= 0"),
    ],
)
def test_what_does_not_fit_is_refused(moved, weights, message):
    with pytest.raises(ValueError, match=message):
        best_frame(directions(60), moved, weights)
