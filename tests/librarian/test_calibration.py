import numpy as np
import pytest

from sphere_ebm.librarian.calibration import Calibration


def drawn(count, seed):
    """Errors whose scale the first sign tells, through noise; the second says nothing."""
    random = np.random.default_rng(seed)
    scale = random.uniform(0.05, 1.2, count)
    signs = np.stack([scale + 0.02 * random.standard_normal(count), random.random(count)], axis=1)
    error = scale * np.sqrt(random.chisquare(2, count) / 2)
    return signs.astype(np.float32), error**2


def test_tenths_of_the_stated_error_hold_what_they_state():
    signs, squared = drawn(20_000, 0)
    held = Calibration.fit(signs, squared, 1.0 * (squared < 0.04))
    signs, squared = drawn(20_000, 1)
    spread, hit = held.expected(signs)
    order = np.argsort(spread, kind="stable")
    for tenth in np.array_split(order, 10):
        ratio = np.sqrt(squared[tenth].mean() / (spread[tenth] ** 2).mean())
        assert 0.85 < ratio < 1.15
        assert abs(hit[tenth].mean() - (squared[tenth] < 0.04).mean()) < 0.06
    assert np.quantile(spread, 0.9) > 5 * np.quantile(spread, 0.1)


def test_arrays_bring_it_back():
    signs, squared = drawn(500, 2)
    held = Calibration.fit(signs, squared, 1.0 * (squared < 0.04))
    back = Calibration.from_arrays("c", held.arrays("c"))
    assert np.array_equal(back.expected(signs)[0], held.expected(signs)[0])
    broken = held.arrays("c") | {"c.hit": np.zeros(3, np.float32)}
    with pytest.raises(ValueError, match=r"`c\.hit`"):
        Calibration.from_arrays("c", broken)
