"""The lateral search of water-filling: a better direction on the same shell before promotion.

Neighbourhoods are cells of the sphere, so that nothing is compared in pairs; arrays hold one row
per component.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int32


class LateralPlan(NamedTuple):
    """`shells` in `groups`, `rows` x 2 `rows` cells of equal area, and who may search.

    At most `searching` points search in a pass.
    """

    shells: int
    groups: int
    rows: int
    searching: int

    @classmethod
    def of(cls, n_points: int, shells: int) -> "LateralPlan":
        """Cells of about 32 points, and groups of shells with about 16 points in a cell.

        The cells are those of all shells together.
        """
        rows = int(min(max(math.sqrt(n_points / 64), 3), 32))
        groups = int(min(max(n_points / (16 * 2 * rows**2), 1), shells))
        return cls(shells, groups, rows, min(n_points, max(1024, n_points // 8)))


def lateral_search(
    features: Float[Array, "features n"],
    shell: Int[Array, " n"],
    direction: Float[Array, "3 n"],
    promoted: Bool[Array, " n"],
    threshold: Float[Array, ""],
    plan: LateralPlan,
) -> tuple[Bool[Array, " n"], Float[Array, "3 n"], Int32[Array, ""]]:
    """Let promoted points look for a better direction on their shell; who finds one stays there.

    The score of a direction is the mean similarity to the points of its cell less half of the
    cell's density, relative to the mean of the group of shells; the point itself is left out.
    Sixteen directions are tried: one cell's width up and down the gradient of each real harmonic of
    degrees 1 and 2. At most `plan.searching` points search in a pass, those with the lowest index;
    the other promoted ones wait for the next.

    Returns who is promoted after all, all directions, and the number of points that moved.
    """
    n = promoted.size
    cells = 2 * plan.rows**2
    group = shell * plan.groups // plan.shells
    key = group * cells + _cell(direction, plan.rows)
    count = jnp.zeros(plan.groups * cells, jnp.int32).at[key].add(1).astype(features.dtype)
    total = jnp.stack([jnp.zeros_like(count).at[key].add(feature) for feature in features])
    usual = jnp.maximum(count.reshape(plan.groups, cells).mean(axis=1), 1e-6)

    who = jnp.nonzero(promoted, size=plan.searching, fill_value=n)[0]
    one = jnp.minimum(who, n - 1)
    here = direction[:, one]
    mine = features[:, one]
    crowd = usual[group[one]]
    first = group[one] * cells

    def score(key: Int[Array, " k"], itself: float) -> Float[Array, " k"]:
        others = jnp.maximum(count[key] - itself, 0)
        near = [own * (of[key] - itself * own) for own, of in zip(mine, total, strict=True)]
        return sum(near[1:], near[0]) / jnp.maximum(others, 1) - 0.5 * others / crowd

    def attempt(
        best: tuple[Array, Array], form: Float[Array, "3 4"]
    ) -> tuple[tuple[Array, Array], None]:
        there = _step(here, form, math.sqrt(4 * math.pi / cells))
        found = score(first + _cell(there, plan.rows), 0.0)
        better = found > best[0]
        return (jnp.where(better, found, best[0]), jnp.where(better[None, :], there, best[1])), None

    at_home = score(key[one], 1.0)
    (found, there), _ = jax.lax.scan(attempt, (at_home, here), _harmonic_gradients())
    stays = (found > at_home + threshold) & (who < n)
    leaves = jnp.zeros(n, bool).at[who].set(~stays, mode="drop")
    chosen = jnp.where(stays[None, :], there, here)
    moved = [old.at[who].set(new, mode="drop") for old, new in zip(direction, chosen, strict=True)]
    return leaves, jnp.stack(moved), jnp.sum(stays, dtype=jnp.int32)


def _cell(direction: Float[Array, "3 k"], rows: int) -> Int[Array, " k"]:
    """Cells of equal area.

    `rows` bands of equal height, each cut into 2 `rows` parts of its azimuth.
    """
    x, y, z = direction
    band = jnp.clip((z + 1) * (rows / 2), 0, rows - 1).astype(jnp.int32)
    return band * (2 * rows) + jnp.clip(_turn(x, y) * (2 * rows), 0, 2 * rows - 1).astype(jnp.int32)


def _turn(x: Float[Array, " k"], y: Float[Array, " k"]) -> Float[Array, " k"]:
    """Azimuth as a share of the full turn in [0, 1], to 1.3e-5.

    It is an odd polynomial on the first octant, reduced as in Abramowitz & Stegun 4.4.49, with
    coefficients of our own fit: arctan2 takes many times as long.
    """
    low = jnp.minimum(jnp.abs(x), jnp.abs(y))
    high = jnp.maximum(jnp.abs(x), jnp.abs(y))
    a = low / jnp.maximum(high, 1e-30)
    s = a * a
    octant = a * (0.15902986 + s * (-0.05111698 + s * (0.02327969 + s * -0.00620555)))
    quadrant = jnp.where(jnp.abs(y) > jnp.abs(x), 0.25 - octant, octant)
    half = jnp.where(x < 0, 0.5 - quadrant, quadrant)
    return jnp.where(y < 0, 1 - half, half)


def _harmonic_gradients() -> Float[Array, "16 3 4"]:
    """(A, e) of u·A u / 2 + e·u for the real harmonics of degrees 1 and 2, each with both signs.

    They are right up to a factor.
    """
    forms = np.zeros((8, 3, 4), np.float32)
    for form, (a, b) in zip(forms, [(0, 1), (1, 2), (0, 2)], strict=False):
        form[a, b] = form[b, a] = 1
    forms[3, :, :3] = np.diag([1, -1, 0])
    forms[4, :, :3] = np.diag([-1, -1, 2])
    forms[5:, :, 3] = np.eye(3)
    return jnp.asarray(np.concatenate([forms, -forms]))


def _step(
    direction: Float[Array, "3 k"], form: Float[Array, "3 4"], length: float
) -> Float[Array, "3 k"]:
    """An arc of `length` up the gradient of a harmonic; where that vanishes, nowhere."""
    # component by component: XLA is several times slower at products and sums over an axis of three
    u = list(direction)
    gradient = [row[0] * u[0] + row[1] * u[1] + row[2] * u[2] + row[3] for row in form]
    along = u[0] * gradient[0] + u[1] * gradient[1] + u[2] * gradient[2]
    tangent = [g - along * x for g, x in zip(gradient, u, strict=True)]
    size = jnp.sqrt(tangent[0] ** 2 + tangent[1] ** 2 + tangent[2] ** 2)
    still = size < 1e-6
    stay = jnp.where(still, 1, math.cos(length))
    go = jnp.where(still, 0, math.sin(length) / jnp.where(still, 1, size))
    x, y, z = (stay * here + go * t for here, t in zip(u, tangent, strict=True))
    # where the gradient almost vanishes, rounding leaves a tangent that is none
    return jnp.stack([x, y, z]) / jnp.sqrt(x**2 + y**2 + z**2)[None, :]
