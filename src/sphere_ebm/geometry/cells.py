"""Equal-area cells of the sphere with integer keys: a quad-tree that search and pictures share.

The sphere is unfolded onto a square by the equal-area octahedral map, and the square is halved
`level` times along both of its sides: 4^level cells of area 4π/4^level. A cell's key interleaves
the bits of its column (even bits) and its row (odd bits), so that the four children of `key` are
`4 key` to `4 key + 3` one level down, its parent is `key >> 2`, and points that are sorted by key
are sorted by cell on every level. A cell is named by its level and its key together.

Keys are the same bits in NumPy and in JavaScript, whose numbers are float64 as well: what is done
from a direction to its key is a fixed list of additions, products, quotients and square roots,
which IEEE 754 rounds in one way only. The arctangent, which libraries round as they please, is a
polynomial here (`_arctan`). `cells.mjs` beside this file is that list in JavaScript. `MAX_LEVEL` is
16, where a key is an unsigned number of 32 bits: there, shift it by `>>> 2`.

Source: Clarberg 2008, "Fast equal-area mapping of the (hemi)sphere using SIMD". Ours differs at
two places: 1 - |z| comes from x² + y², which keeps its digits near the poles, and the angle is
taken from the larger of |x| and |y|, so that swapping the two swaps column and row exactly.
"""

import math
from types import ModuleType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int64, Integer, UInt32
from numpy.typing import ArrayLike

MAX_LEVEL = 16
"""Columns and rows have 16 bits there, and keys 32."""

Keys = TypeVar("Keys", np.ndarray, jax.Array)

# fdlibm's s_atan.c (Sun Microsystems 1993): arctan x = x - x (c₀ x² + c₁ x⁴ + ...) for |x| < 7/16,
# to the last bit but one
_ARCTAN = (
    3.33333333333329318027e-01,
    -1.99999999998764832476e-01,
    1.42857142725034663711e-01,
    -1.11111104054623557880e-01,
    9.09088713343650656196e-02,
    -7.69187620504482999495e-02,
    6.66107313738753120669e-02,
    -5.83357013379057348645e-02,
    4.97687799461593236017e-02,
    -3.65315727442169155270e-02,
    1.62858201153657823623e-02,
)
_TAN_EIGHTH = 0.4142135623730951
_QUARTER_PI = 0.7853981633974483
_TWO_OVER_PI = 0.6366197723675814
# masks and shifts that spread 16 bits over the even ones of 32
_SPREAD = ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555))


def cell_keys(direction: ArrayLike, level: int = MAX_LEVEL) -> Int64[np.ndarray, "*points"]:
    """The cell of `level` that holds each direction: its key in [0, 4^level).

    A direction on the border of two cells belongs to one of them, the same on all levels: keys of
    a coarser level are those of a finer one, shifted. The same bits everywhere, see above. O(1)
    for each.

    Args:
        direction: (*points, 3) vectors of any length but 0; float32 is widened to float64.
        level: in [0, 16].

    Raises:
        ValueError: another shape, a vector that is zero or not finite, or a level out of range.
    """
    checked_level(level)
    square = unfold(direction)
    side = 1 << level
    place = np.minimum((square * side).astype(np.int64), side - 1)
    return _interleaved(place[..., 0], place[..., 1])


def cell_centres(key: ArrayLike, level: int) -> Float64[np.ndarray, "*cells 3"]:
    """The unit vector at the middle of each cell of `level`; its key there is `key` again.

    Raises ValueError for keys that are no integers of [0, 4^level).
    """
    keys = checked_keys(key, level)
    middle = np.stack([_even_bits(keys), _even_bits(keys >> 1)], axis=-1) + 0.5
    return fold(middle / (1 << level))


def unfold(direction: ArrayLike) -> Float64[np.ndarray, "*points 2"]:
    """Where directions lie on the square: (column, row) in [0, 1], equal areas to equal areas.

    The north pole is the middle, the equator the diamond of the sides' middles, the south pole all
    four corners. Raises as `cell_keys`.
    """
    given = np.asarray(direction)
    if given.ndim < 1 or given.shape[-1] != 3 or given.dtype.kind not in "fiu":
        raise ValueError(
            f"`direction` must have shape (*points, 3) of real numbers; got {given.dtype}"
            f" {given.shape}. Give Cartesian vectors."
        )
    vector = given.astype(np.float64)
    largest = np.abs(vector).max(axis=-1, initial=0)
    usable = (largest > 1e-100) & (largest < 1e100)
    if not usable.all():
        first = np.unravel_index(int(np.argmin(usable)), usable.shape)
        place = f" at index ({', '.join(str(int(i)) for i in first)})" if first else ""
        raise ValueError(
            f"`direction` must be finite and not zero; got {vector[first]}{place}. Drop or repair"
            " that row."
        )
    return np.stack(_unfolded(np, vector[..., 0], vector[..., 1], vector[..., 2]), axis=-1)


def fold(square: Float[np.ndarray, "*points 2"]) -> Float64[np.ndarray, "*points 3"]:
    """The unit vectors at places (column, row) of the square, each in [0, 1]; undoes `unfold`."""
    place = np.asarray(square, np.float64)
    return np.stack(_folded(np, place[..., 0], place[..., 1]), axis=-1)


def traced_keys(
    direction: Float[Array, "*points 3"], level: int = MAX_LEVEL
) -> UInt32[Array, "*points"]:
    """`cell_keys` within compiled JAX programs, in the precision of `direction`.

    In float32 a direction within about 1e-6 of a border may fall on the other side of it, so keys
    that are kept or compared come from `cell_keys`. Zero vectors and NaN give an arbitrary key.
    """
    checked_level(level)
    side = 1 << level
    places = _unfolded(jnp, direction[..., 0], direction[..., 1], direction[..., 2])
    column, row = (jnp.clip(place * side, 0, side - 1).astype(jnp.uint32) for place in places)
    return _interleaved(column, row)


def traced_centres(key: Integer[Array, "*cells"], level: int) -> Float[Array, "*cells 3"]:
    """`cell_centres` within compiled JAX programs, in float32; keys are not checked."""
    checked_level(level)
    keys = key.astype(jnp.uint32)
    side = jnp.asarray(1 << level, jnp.float32)
    column, row = (
        (_even_bits(bits).astype(jnp.float32) + 0.5) / side for bits in (keys, keys >> 1)
    )
    return jnp.stack(_folded(jnp, column, row), axis=-1)


def parents(key: Keys, levels: int = 1) -> Keys:
    """Keys of the cells that hold these, so many levels up."""
    return key >> (2 * levels)


def children(key: Integer[np.ndarray, "*cells"]) -> Integer[np.ndarray, "*cells 4"]:
    """Keys of the four cells of each, one level down, in rising order."""
    return (key[..., None] << 2) + np.arange(4, dtype=key.dtype)


def neighbours(key: ArrayLike, level: int) -> Int64[np.ndarray, "*cells 8"]:
    """Keys of the cells around each of `level`: four across its sides, then four at its corners.

    Sides: next column, previous column, next row, previous row. Beyond a side of the square the
    sphere goes on at that side, turned around its middle. Where the square is folded two of the
    eight may be the same cell, on levels 0 and 1 many. Raises as `cell_centres`.
    """
    keys = checked_keys(key, level)
    columns = _even_bits(keys)[..., None] + np.array([1, -1, 0, 0, 1, 1, -1, -1])
    rows = _even_bits(keys >> 1)[..., None] + np.array([0, 0, 1, -1, 1, -1, 1, -1])
    last = (1 << level) - 1
    for along, across in ((columns, rows), (rows, columns)):
        beyond = (along < 0) | (along > last)
        across[beyond] = last - across[beyond]
        np.clip(along, 0, last, out=along)
    return _interleaved(columns, rows)


def cell_area(level: int) -> float:
    """Area of every cell of `level` in steradians, 4π/4^level."""
    checked_level(level)
    return 4 * math.pi / 4**level


def checked_level(level: int, name: str = "level") -> int:
    """The level. Raises ValueError for one that is not in [0, 16]."""
    if not 0 <= level <= MAX_LEVEL:
        raise ValueError(
            f"`{name}` must be an integer in [0, {MAX_LEVEL}]; got {level}. Level l has 4^l cells."
        )
    return level


def checked_keys(key: ArrayLike, level: int) -> Int64[np.ndarray, "*cells"]:
    """Keys in int64. Raises ValueError for such as no cell of `level` has."""
    checked_level(level)
    keys = np.asarray(key)
    if keys.dtype.kind not in "iu":
        raise ValueError(
            f"`key` must hold integers; got dtype {keys.dtype}. `cell_keys` makes them."
        )
    wide = keys.astype(np.int64)
    wrong = (wide < 0) | (wide >= 4**level)
    if wrong.any():
        raise ValueError(
            f"`key` must lie in [0, {4**level}) at level {level}; got {wide[wrong].flat[0]}. Give"
            " the level that the key was made for."
        )
    return wide


def _unfolded(xp: ModuleType, x: Any, y: Any, z: Any) -> tuple[Any, Any]:
    """Column and row, each in [0, 1], of vectors of any length."""
    wide = xp.abs(x)
    deep = xp.abs(y)
    high = xp.abs(z)
    flat = wide * wide + deep * deep
    length = xp.sqrt(flat + high * high)
    # sqrt(1 - |z|) of the unit vector; on the square the distance |u| + |v| from the middle
    reach = xp.sqrt(flat / (length * (length + high)))
    larger = xp.maximum(wide, deep)
    ratio = xp.minimum(wide, deep) / xp.where(larger > 0, larger, xp.ones_like(larger))
    less = reach * (_TWO_OVER_PI * _arctan(xp, ratio))
    more = reach - less
    u = xp.where(wide >= deep, more, less)
    v = xp.where(wide >= deep, less, more)
    # the southern half is the outside of the diamond, mirrored at its sides
    below = z < 0
    outer = xp.where(below, 1 - v, u)
    v = xp.where(below, 1 - u, v)
    return (
        (xp.where(x < 0, -outer, outer) + 1) * 0.5,
        (xp.where(y < 0, -v, v) + 1) * 0.5,
    )


def _folded(xp: ModuleType, column: Any, row: Any) -> tuple[Any, Any, Any]:
    """Unit vectors of places on the square."""
    u = 2 * column - 1
    v = 2 * row - 1
    wide = xp.abs(u)
    deep = xp.abs(v)
    inside = 1 - wide - deep
    reach = 1 - xp.abs(inside)
    turn = (deep - wide) / xp.where(reach > 0, reach, xp.ones_like(reach))
    azimuth = (turn + 1) * _QUARTER_PI
    height = 1 - reach * reach
    ring = reach * xp.sqrt(2 - reach * reach)
    x = ring * xp.cos(azimuth)
    y = ring * xp.sin(azimuth)
    return (
        xp.where(u < 0, -x, x),
        xp.where(v < 0, -y, y),
        xp.where(inside < 0, -height, height),
    )


def _arctan(xp: ModuleType, ratio: Any) -> Any:
    """Arctangent of numbers in [0, 1], from operations that are rounded alike everywhere."""
    turned = ratio > _TAN_EIGHTH
    x = xp.where(turned, (ratio - 1) / (ratio + 1), ratio)
    square = x * x
    series = xp.zeros_like(x)
    for coefficient in reversed(_ARCTAN):
        series = (series + coefficient) * square
    angle = x - x * series
    return xp.where(turned, angle + _QUARTER_PI, angle)


def _interleaved(column: Keys, row: Keys) -> Keys:
    """Keys of columns and rows: bits of columns at the even places, of rows at the odd ones."""
    return _spread_bits(column) | (_spread_bits(row) << 1)


def _spread_bits(number: Keys) -> Keys:
    """Bit k of 16 moved to bit 2k."""
    for shift, mask in _SPREAD:
        number = (number | (number << shift)) & mask
    return number


def _even_bits(key: Keys) -> Keys:
    """Bit 2k of 32 moved to bit k: undoes `_spread_bits`."""
    number = key & 0x55555555
    for shift, mask in ((1, 0x33333333), (2, 0x0F0F0F0F), (4, 0x00FF00FF), (8, 0x0000FFFF)):
        number = (number | (number >> shift)) & mask
    return number
