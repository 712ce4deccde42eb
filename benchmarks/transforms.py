"""Spherical-harmonic transforms: set-up, time, errors against SciPy and of round trips."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from scipy.special import sph_harm_y

from benchmarks.process import warm_milliseconds
from benchmarks.report import Check, markdown_table, say
from sphere_ebm.geometry.harmonics import SphericalHarmonics

BAND_LIMITS = (8, 16, 32, 64, 128, 256)
EXACT_TO = 101
"""Band limit at which every harmonic is compared with SciPy: degrees up to 100."""
MILLISECONDS = 10.0
SETUP_64 = 2.0
SETUP_256 = 20.0
ERROR = 1e-5


@dataclass(frozen=True)
class Transformed:
    """One band limit.

    Seconds of set-up (tables alone), milliseconds of a warm transform and its inverse, error.
    """

    band_limit: int
    setup: float
    first: float
    milliseconds: float
    round_trip: float


def measure_transform(band_limit: int, repeats: int = 25) -> Transformed:
    """Set-up, then forward and inverse of a random field of that band limit in float32."""
    say(f"transforms: band limit {band_limit}")
    begun = time.perf_counter()
    harmonics = SphericalHarmonics.build(band_limit)
    setup = time.perf_counter() - begun
    drawn = np.random.default_rng(band_limit).standard_normal(band_limit**2).astype(np.float32)
    coefficients = jnp.asarray(drawn)
    field = harmonics.inverse(coefficients)
    back = np.asarray(harmonics.forward(field))
    first = time.perf_counter() - begun
    taken = warm_milliseconds(lambda: harmonics.forward(harmonics.inverse(coefficients)), repeats)
    error = float(np.abs(back - drawn).max() / np.abs(drawn).max())
    return Transformed(band_limit, setup, first, statistics.median(taken), error)


def worst_harmonic(band_limit: int = EXACT_TO) -> float:
    """Largest error of any harmonic of degree < `band_limit` at any node of the grid, against
    `sph_harm_y`.
    """
    say(f"transforms: every harmonic below degree {band_limit} against SciPy")
    harmonics = SphericalHarmonics.build(band_limit)
    theta = np.arccos(np.polynomial.legendre.leggauss(band_limit)[0][::-1])[:, None]
    azimuth = np.arange(2 * band_limit) * (np.pi / band_limit)
    worst = 0.0
    for degree in range(band_limit):
        # as many fields for every degree, so that one program serves all; those of no order are
        # zero
        unit = np.eye(2 * band_limit - 1, band_limit**2, k=degree**2, dtype=np.float32)
        ours = np.asarray(harmonics.inverse(jnp.asarray(unit)))[: 2 * degree + 1]
        m = np.arange(degree + 1)[:, None, None]
        exact = sph_harm_y(degree, m, theta, azimuth) * np.where(
            m == 0, 1, np.sqrt(2) * (-1.0) ** m
        )
        wanted = np.concatenate([exact.imag[:0:-1], exact.real])
        worst = max(worst, float(np.abs(ours - wanted).max()))
    return worst


def transform_section(band_limits: Sequence[int] = BAND_LIMITS) -> tuple[str, list[Check]]:
    """The report in Markdown, without a title, and its targets."""
    found = {size: measure_transform(size) for size in band_limits}
    error = worst_harmonic()
    rows = [
        [
            str(size),
            f"{one.setup:.3f}",
            f"{one.first:.2f}",
            f"{one.milliseconds:.2f}",
            f"{one.round_trip:.1e}",
        ]
        for size, one in found.items()
    ]
    header = [
        "band limit",
        "set-up s",
        "first transform with compilation s",
        "transform and inverse ms",
        "round trip",
    ]
    text = f"""Float32, one field, median of 25. Largest error of any harmonic up to degree
{EXACT_TO - 1} at any node of the grid against `scipy.special.sph_harm_y`: {error:.1e}.

{markdown_table(header, rows)}"""
    checks = [
        Check(
            "transform and inverse at band limit 64",
            found[64].milliseconds,
            "<",
            MILLISECONDS,
            "ms",
        ),
        Check("set-up at band limit 64", found[64].setup, "<", SETUP_64, "s"),
        Check("set-up at band limit 256", found[256].setup, "<", SETUP_256, "s"),
        Check(f"every harmonic up to degree {EXACT_TO - 1} against SciPy", error, "<", ERROR),
        Check(
            "largest error of a round trip",
            max(one.round_trip for one in found.values()),
            "<",
            ERROR,
        ),
    ]
    return text, checks
