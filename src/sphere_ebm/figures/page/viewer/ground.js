/**
 * What the drawn points leave out: mean colour and density of all shown points in 512 x 512 equal
 * cells, as a picture of the unfolded sphere.
 */

import { evenBits } from "./sphere.js";

export const GROUND_SIDE = 512;
const SHIFT = 14;

/** RGBA bytes of the ground, rows of the square one after another. */
export function groundPicture(levels, key, rgb) {
  const cells = GROUND_SIDE * GROUND_SIDE;
  const sums = new Float32Array(4 * cells);
  for (const i of levels.rank) {
    const cell = key[i] >>> SHIFT;
    const at = 4 * (evenBits(cell >>> 1) * GROUND_SIDE + evenBits(cell));
    sums[at] += rgb[3 * i];
    sums[at + 1] += rgb[3 * i + 1];
    sums[at + 2] += rgb[3 * i + 2];
    sums[at + 3] += 1;
  }
  const smooth = blurred(blurred(blurred(sums)));
  // The usual density decides what is dense, whatever part of the points is shown.
  const usual = Math.max(levels.n / cells, 1e-9);
  const out = new Uint8Array(4 * cells);
  for (let c = 0; c < cells; c++) {
    const count = smooth[4 * c + 3];
    if (count <= 0) continue;
    for (let k = 0; k < 3; k++) out[4 * c + k] = smooth[4 * c + k] / count;
    out[4 * c + 3] = Math.min(150, 85 * Math.log1p(count / usual));
  }
  return out;
}

/** Means over 3 x 3 cells. Beyond a side the sphere goes on there, turned about its middle. */
function blurred(sums) {
  const side = GROUND_SIDE;
  const out = new Float32Array(sums.length);
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const to = 4 * (row * side + column);
      for (let d = 0; d < 9; d++) {
        let x = column + (d % 3) - 1;
        let y = row + Math.floor(d / 3) - 1;
        if (x < 0 || x >= side) {
          x = Math.min(side - 1, Math.max(0, x));
          y = side - 1 - y;
        }
        if (y < 0 || y >= side) {
          y = Math.min(side - 1, Math.max(0, y));
          x = side - 1 - x;
        }
        const from = 4 * (y * side + x);
        for (let k = 0; k < 4; k++) out[to + k] += sums[from + k] / 9;
      }
    }
  }
  return out;
}
