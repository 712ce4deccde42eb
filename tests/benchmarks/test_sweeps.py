"""What the benchmark of swept maps' error bars compares; the maps themselves are swept by hand."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sphere_ebm.maps.starts import random_directions


@pytest.fixture
def sweeps(benchmark):
    return benchmark("sweeps")


def moved(direction, angle, rng):
    """Each direction turned by its angle, towards anywhere."""
    axis = np.cross(direction, rng.standard_normal(direction.shape))
    axis *= angle[:, None] / np.linalg.norm(axis, axis=1, keepdims=True)
    return Rotation.from_rotvec(axis).apply(direction).astype(np.float32)


def test_labels_that_state_the_truth_are_found_to_in_whatever_frame(sweeps):
    rng = np.random.default_rng(0)
    direction = random_directions(2_000, 0)
    stated = np.linspace(0.01, 0.2, 2_000).astype(np.float32)
    # twice what is stated for the surest half
    angle = stated * np.where(np.arange(2_000) < 1_000, 2, 1)
    other = Rotation.random(random_state=1).apply(moved(direction, angle, rng)).astype(np.float32)
    one = sweeps.Labelled(direction, stated)
    found = sweeps.compared("made up", (3, 5), one, sweeps.Labelled(other, stated))
    np.testing.assert_allclose(found.tenths, [2] * 5 + [1] * 5, rtol=0.05)
    assert found.ratio == pytest.approx(found.found / found.stated)
    assert found.cells()[:2] == ["made up", "3, 5"]
    assert [check.passed for check in sweeps.checks([found])] == [True, found.ratio <= 1.25]
