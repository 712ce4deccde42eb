"""Radii against prominence, shells against their capacities."""

import math

import numpy as np
import pytest

from sphere_ebm.geometry.shells import Shells, ideal_radii, make_shells
from sphere_ebm.quality.radii import prominence_spearman, shell_deviation


def test_prominence_spearman_is_one_when_radii_are_right_for_either_order():
    prominence = np.random.default_rng(7).standard_normal(80)
    shells = make_shells(5)
    for order in ("outer", "core"):
        radius = ideal_radii(prominence, shells, order)
        assert prominence_spearman(prominence, radius, order) == pytest.approx(1.0)
    assert prominence_spearman(prominence, radius, "outer") == pytest.approx(-1.0)
    assert math.isnan(prominence_spearman(np.ones(80), radius))


def test_shell_deviation_counts_points_off_capacity():
    shells = Shells(edges=np.array([1.0, 2.0, 3.0, 4.0]), capacity=np.array([0.25, 0.25, 0.5]))
    off = shell_deviation(np.array([0, 0, 0, 1, 2, 2, 2, 2]), shells)
    assert (off.max_points, off.mean_points) == (1.0, pytest.approx(2 / 3))
    assert off.mean_relative == pytest.approx(1 / 3)
