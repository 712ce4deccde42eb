"""Exact laws of one, two and three points, by closed form, quadrature and the schemes' own
recursions. NumPy only.

Nothing here uses the package's energies or steps: these are written down again, so that a wrong
factor shows. Points have unit mobility; c_ij = u_i·u_j. Sources: Mardia & Jupp 2000 (directions);
Leimkuhler & Matthews 2013 (BAOAB).
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.polynomial import hermite_e, legendre
from scipy import integrate, special, stats

STIFFNESS = 4.0
"""κ: radii relax as fast as the cosine of a free pair, at rate 4 T for T = 1."""
PAIR_COUPLING = 3.0
LATERAL = 4.0
OSMOTIC_SHARPNESS = 2.0
OSMOTIC_STRENGTH = 0.5
ANCHORS = (2.0, 4.0)
"""λ s² of the first point's anchor and of the second's."""
TRIANGLE = ((0, 1, 3.0), (0, 2, 2.0), (1, 2, 1.0))

Cosines = Float[np.ndarray, "..."]


def pair_energy(c: Cosines) -> Cosines:
    """Harmonic kernel of sharpness 1: H = a (1 - c)."""
    return PAIR_COUPLING * (1 - c)


@functools.cache
def anchor_energy(stiffness: float) -> Callable[[Cosines], Cosines]:
    """H = λ s² (1 - c), c the cosine with the anchor: von Mises-Fisher at T = 1.

    One function for each stiffness, by which laws are kept.
    """
    return lambda c: stiffness * (1 - c)


def two_energy(c: Cosines, *, osmotic: bool = True) -> Cosines:
    """Cauchy attraction of sharpness 1, and the pressure 2 Π log q, which pushes close points
    apart.
    """
    repulsion = 2 * OSMOTIC_STRENGTH * np.log1p(2 * OSMOTIC_SHARPNESS**2 * (1 - c))
    return LATERAL * np.log1p(2 * (1 - c)) - (repulsion if osmotic else 0)


def three_energy(c01: Cosines, c02: Cosines, c12: Cosines, *, osmotic: bool = True) -> Cosines:
    """Three edges of different weights, and 3 Π log of the mean of q over the pairs."""
    cosines = (c01, c02, c12)
    attraction = sum(
        w * np.log1p(2 * (1 - c)) for (_, _, w), c in zip(TRIANGLE, cosines, strict=True)
    )
    mean_q = sum(1 / (1 + 2 * OSMOTIC_SHARPNESS**2 * (1 - c)) for c in cosines) / 3
    return attraction + (3 * OSMOTIC_STRENGTH * np.log(mean_q) if osmotic else 0)


@dataclass(frozen=True)
class Separation:
    """Law of c = u_0·u_1 in cells of [-1, 1], with moments of the angular energy.

    `edges` (cells + 1,) and `cdf` there; `midpoints` and `probability` (cells,).
    """

    edges: Float[np.ndarray, " edges"]
    probability: Float[np.ndarray, " cells"]
    energy_mean: float
    energy_variance: float

    @property
    def midpoints(self) -> Float[np.ndarray, " cells"]:
        return (self.edges[1:] + self.edges[:-1]) / 2

    def cdf(self, c: Cosines) -> Cosines:
        return np.interp(c, self.edges, np.concatenate([[0], np.cumsum(self.probability)]))

    def expect(self, values: Float[np.ndarray, " cells"]) -> float:
        """Mean of a function of c that was evaluated at `midpoints`."""
        return float(self.probability @ values)


def _separation(
    edges: Float[np.ndarray, " edges"],
    density: Float[np.ndarray, " cells"],
    energy: Float[np.ndarray, " cells"],
) -> Separation:
    probability = density / density.sum()
    mean = float(probability @ energy)
    return Separation(edges, probability, mean, float(probability @ (energy - mean) ** 2))


@functools.cache
def two_points(energy: Callable[[Cosines], Cosines], cells: int = 20_000) -> Separation:
    """p(c) ∝ exp(-H(c)) at T = 1: the measure of two directions is uniform in c."""
    edges = np.linspace(-1, 1, cells + 1)
    values = energy((edges[1:] + edges[:-1]) / 2)
    return _separation(edges, np.exp(-values), values)


@functools.cache
def three_points(*, osmotic: bool, cells: int = 400, nodes: int = 48) -> Separation:
    """Law of c_01 at T = 1, by Gauss quadrature over c_02 and the azimuth of 2 against 1, seen from
    0.
    """
    edges = np.linspace(-1, 1, cells + 1)
    nodes_c, weights = legendre.leggauss(nodes)
    a, b, azimuth = np.meshgrid(
        (edges[1:] + edges[:-1]) / 2, nodes_c, np.pi / 2 * (1 + nodes_c), indexing="ij"
    )
    values = three_energy(
        a, b, a * b + np.sqrt((1 - a**2) * (1 - b**2)) * np.cos(azimuth), osmotic=osmotic
    )
    mass = np.exp(-values) * weights[:, None] * weights
    mass /= mass.sum()
    mean = float(np.sum(mass * values))
    return Separation(
        edges, mass.sum(axis=(1, 2)), mean, float(np.sum(mass * (values - mean) ** 2))
    )


@functools.cache
def by_euler_maruyama(
    energy: Callable[[Cosines], Cosines],
    step_size: float,
    *,
    fixed: bool = False,
    degree: int = 16,
    noise: int = 24,
) -> Separation:
    """Stationary law of c for Euler-Maruyama's own steps, at T = 1, from its transition operator.

    With `fixed` the other end of c stays where it is. Else both points move from c, so one step
    averages P_l(c') over four normal numbers (Gauss-Hermite,
    `noise` nodes each). Between Legendre moments that is a matrix, of which the law is the fixed
    point. Noise of variance 2 h damps moment l by exp(-2 l (l + 1) h), so few are left for h >=
    0.05; more of them need more nodes.
    """
    nodes, weights = legendre.leggauss(degree + 8)
    forward = np.stack(
        [_mean_legendre(c, energy, step_size, degree, noise, fixed) for c in nodes], axis=1
    )
    density = legendre.legvander(nodes, degree) * (np.arange(degree + 1) + 0.5)
    step = (forward * weights) @ density
    moments = np.linalg.solve(step[1:, 1:] - np.eye(degree), -step[1:, 0])
    edges = np.linspace(-1, 1, 20_001)
    centre = (edges[1:] + edges[:-1]) / 2
    coefficients = np.concatenate([[1], moments]) * (np.arange(degree + 1) + 0.5)
    return _separation(edges, legendre.legval(centre, coefficients), energy(centre))


def _mean_legendre(
    c: float,
    energy: Callable[[Cosines], Cosines],
    step_size: float,
    degree: int,
    noise: int,
    fixed: bool,
) -> Float[np.ndarray, " degrees"]:
    """<P_l(c')> for l = 0 .. `degree`, c' being the cosine one Euler-Maruyama step after `c`."""
    x, weight = hermite_e.hermegauss(noise)
    weight = weight / weight.sum()
    sine = np.sqrt(1 - c**2)
    slope = float(energy(np.asarray(c + 1e-5)) - energy(np.asarray(c - 1e-5))) / 2e-5
    along, across = np.meshgrid(
        -step_size * slope * sine + np.sqrt(2 * step_size) * x, np.sqrt(2 * step_size) * x
    )
    length = np.sqrt(along**2 + across**2)[..., None]
    # towards the other point, across, and the point itself; both points see the same
    frames = np.asarray(
        [[[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[-c, 0, sine], [0, 1, 0], [sine, 0, c]]]
    )
    ends = [
        (
            here * np.cos(length)
            + (along[..., None] * ahead + across[..., None] * side) * np.sinc(length / np.pi)
        )
        for ahead, side, here in frames
    ]
    if fixed:
        there = np.clip(ends[0].reshape(-1, 3) @ [sine, 0, c], -1, 1)
        return np.outer(weight, weight).ravel() @ legendre.legvander(there, degree)
    cosine = np.clip(ends[0].reshape(-1, 3) @ ends[1].reshape(-1, 3).T, -1, 1)
    probability = np.multiply.outer(
        np.outer(weight, weight).ravel(), np.outer(weight, weight).ravel()
    )
    return probability.ravel() @ legendre.legvander(cosine.ravel(), degree)


def leg_cosines(spread: float) -> tuple[float, float]:
    """<P_1> and <P_2> of the cosine of one Gaussian tangent step of `spread` per component.

    The length is Rayleigh distributed, so <cos> = 1 - sqrt(2) σ D(σ / sqrt(2)) with Dawson's
    integral D.
    """
    first = 1 - np.sqrt(2) * spread * special.dawsn(spread / np.sqrt(2))
    second, _ = integrate.quad(
        lambda x: (3 * np.cos(spread * x) ** 2 - 1) / 2 * x * np.exp(-(x**2) / 2), 0, 40, limit=400
    )
    return float(first), second


def z_p_value(sample: Cosines, mean: float, variance: float | None = None) -> float:
    """Two-sided p-value of the mean of independent numbers.

    Their own variance where none is known.
    """
    variance = float(np.var(sample)) if variance is None else variance
    return float(2 * stats.norm.sf(abs(sample.mean() - mean) / np.sqrt(variance / len(sample))))


def chi2_p_value(statistic: float, dof: int) -> float:
    """Of a chi-square statistic that may be too large or too small."""
    return float(min(1.0, 2 * min(stats.chi2.cdf(statistic, dof), stats.chi2.sf(statistic, dof))))


def uniformity_p_values(direction: Float[np.ndarray, "n 3"]) -> tuple[float, float]:
    """Rayleigh's test of the mean direction and Bingham's of the second moments (Mardia & Jupp
    2000, ch. 10).
    """
    n = len(direction)
    spread = direction.T @ direction / n - np.eye(3) / 3
    rayleigh = 3 * n * np.sum(direction.mean(axis=0) ** 2)
    return float(stats.chi2.sf(rayleigh, 3)), float(stats.chi2.sf(7.5 * n * np.sum(spread**2), 5))


def bonferroni(*p_values: float) -> float:
    """One p-value for several tests, valid whatever their dependence."""
    return min(1.0, len(p_values) * min(p_values))
