/**
 * Equal-area cells of the sphere in JavaScript: the same keys, bit for bit, as cells.py makes.
 *
 * Only +, -, *, / and Math.sqrt are used from a direction to its key, in the order of cells.py.
 * @module cells
 */

export const MAX_LEVEL = 16;

/** fdlibm's s_atan.c (Sun Microsystems 1993). */
const ARCTAN = [
  3.33333333333329318027e-01, -1.99999999998764832476e-01, 1.42857142725034663711e-01,
  -1.11111104054623557880e-01, 9.09088713343650656196e-02, -7.69187620504482999495e-02,
  6.66107313738753120669e-02, -5.83357013379057348645e-02, 4.97687799461593236017e-02,
  -3.65315727442169155270e-02, 1.62858201153657823623e-02,
];

/** Arctangent of a number in [0, 1], rounded alike in every engine. */
function arctan(ratio) {
  const turned = ratio > 0.4142135623730951;
  const x = turned ? (ratio - 1) / (ratio + 1) : ratio;
  const square = x * x;
  let series = 0;
  for (let k = ARCTAN.length - 1; k >= 0; k--) series = (series + ARCTAN[k]) * square;
  const angle = x - x * series;
  return turned ? angle + 0.7853981633974483 : angle;
}

/** Column and row, each in [0, 1], of a vector that is not zero. */
export function unfold(x, y, z) {
  const wide = Math.abs(x);
  const deep = Math.abs(y);
  const high = Math.abs(z);
  const flat = wide * wide + deep * deep;
  const length = Math.sqrt(flat + high * high);
  const reach = Math.sqrt(flat / (length * (length + high)));
  const larger = Math.max(wide, deep);
  const ratio = Math.min(wide, deep) / (larger > 0 ? larger : 1);
  const less = reach * (0.6366197723675814 * arctan(ratio));
  const more = reach - less;
  let u = wide >= deep ? more : less;
  let v = wide >= deep ? less : more;
  if (z < 0) [u, v] = [1 - v, 1 - u];
  return [((x < 0 ? -u : u) + 1) * 0.5, ((y < 0 ? -v : v) + 1) * 0.5];
}

/** Bit k of 16 moved to bit 2k. */
function spreadBits(number) {
  number = (number | (number << 8)) & 0x00ff00ff;
  number = (number | (number << 4)) & 0x0f0f0f0f;
  number = (number | (number << 2)) & 0x33333333;
  return (number | (number << 1)) & 0x55555555;
}

/** Key of the cell of `level` in column and row of the level's grid; its parent is key >>> 2. */
export function interleave(column, row) {
  return (spreadBits(column) | (spreadBits(row) << 1)) >>> 0;
}

/** Key of the cell of `level` that holds the direction (x, y, z). */
export function cellKey(x, y, z, level = MAX_LEVEL) {
  const side = 2 ** level;
  const [column, row] = unfold(x, y, z);
  const last = side - 1;
  return interleave(
    Math.min(Math.floor(column * side), last), Math.min(Math.floor(row * side), last));
}

/** Unit vector at column and row, each in [0, 1]; undoes `unfold`, to rounding. */
export function fold(column, row) {
  const u = 2 * column - 1;
  const v = 2 * row - 1;
  const wide = Math.abs(u);
  const deep = Math.abs(v);
  const inside = 1 - wide - deep;
  const reach = 1 - Math.abs(inside);
  const azimuth = ((deep - wide) / (reach > 0 ? reach : 1) + 1) * 0.7853981633974483;
  const height = 1 - reach * reach;
  const ring = reach * Math.sqrt(2 - reach * reach);
  const x = ring * Math.cos(azimuth);
  const y = ring * Math.sin(azimuth);
  return [u < 0 ? -x : x, v < 0 ? -y : y, inside < 0 ? -height : height];
}
