import numpy as np

from builders import directions_at_random
from sphere_ebm.geometry.cells import cell_centres, neighbours
from sphere_ebm.librarian.heads import decoded, shell_and_radius

LEVEL = 4
CENTRES = cell_centres(np.arange(4**LEVEL), LEVEL).astype(np.float32)
AROUND = neighbours(np.arange(4**LEVEL), LEVEL).astype(np.int32)


def log_law(place, kappa):
    law = np.exp(kappa * (place.astype(np.float64) @ CENTRES.T - 1))
    return np.log(law / law.sum(axis=1, keepdims=True)).astype(np.float32)


def test_a_place_is_read_finer_than_cells_are_wide():
    place = directions_at_random(200, 0)
    found = decoded(log_law(place, 60.0), CENTRES, AROUND)
    angle = np.degrees(np.arccos(np.clip((found.places.modes[:, 0] * place).sum(axis=1), -1, 1)))
    assert np.median(angle) < 3  # a cell is 13 degrees wide


def test_the_expected_squared_angle_is_that_of_the_cells():
    place = directions_at_random(20, 1)
    said = log_law(place, 30.0)
    found = decoded(said, CENTRES, AROUND)
    cosine = found.places.modes[:, 0].astype(np.float64) @ CENTRES.T
    exact = (np.exp(said) * np.arccos(np.clip(cosine, -1, 1)) ** 2).sum(axis=1)
    assert np.allclose(found.squared, exact, rtol=0.02)


def test_the_second_mode_is_elsewhere_and_has_its_share():
    place = np.array([[0, 0, 1]], np.float32)
    both = np.logaddexp(log_law(place, 80.0) + np.log(0.7), log_law(-place, 80.0) + np.log(0.3))
    found = decoded(both.astype(np.float32), CENTRES, AROUND)
    assert found.places.modes[0, 0, 2] > 0.98
    assert found.places.modes[0, 1, 2] < -0.98
    assert abs(found.places.weight[0, 1] / found.places.weight[0, 0] - 3 / 7) < 0.05


def test_the_median_shell_is_told_and_the_radius_between_centres():
    chance = np.array([[0.2, 0.2, 0.6], [0.5, 0.25, 0.25], [0, 1, 0]], np.float32)
    shell, radius = shell_and_radius(np.log(np.maximum(chance, 1e-9)), (10.0, 11.0, 12.0))
    assert shell.tolist() == [2, 0, 1]
    assert np.allclose(radius, [11.667, 10.5, 11], atol=0.01)
