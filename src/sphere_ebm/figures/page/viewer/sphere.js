/** The sphere: directions of keys, rotations, and the three projections. */

import { fold } from "../../../geometry/cells.mjs";

export const FLAT_WIDTH = 2 * Math.SQRT2;
export const FLAT_HEIGHT = Math.SQRT2;

/** Bit 2k of a key moved to bit k. */
export function evenBits(key) {
  let n = key & 0x55555555;
  n = (n | (n >>> 1)) & 0x33333333;
  n = (n | (n >>> 2)) & 0x0f0f0f0f;
  n = (n | (n >>> 4)) & 0x00ff00ff;
  return (n | (n >>> 8)) & 0x0000ffff;
}

/** Writes the direction at the middle of a cell of level 16 into `out` from `at`. */
export function directionOfKey(key, out, at) {
  const [x, y, z] = fold((evenBits(key) + 0.5) / 65536, (evenBits(key >>> 1) + 0.5) / 65536);
  out[at] = x;
  out[at + 1] = y;
  out[at + 2] = z;
}

/** The product of a 3 x 3 matrix (rows one after another) and a vector. */
export function turned(m, x, y, z) {
  return [
    m[0] * x + m[1] * y + m[2] * z,
    m[3] * x + m[4] * y + m[5] * z,
    m[6] * x + m[7] * y + m[8] * z,
  ];
}

/** The product of the transposed matrix and a vector: back from the eye to the world. */
export function turnedBack(m, [x, y, z]) {
  return [
    m[0] * x + m[3] * y + m[6] * z,
    m[1] * x + m[4] * y + m[7] * z,
    m[2] * x + m[5] * y + m[8] * z,
  ];
}

function product(a, b) {
  const out = new Array(9);
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) {
      out[3 * i + j] = a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j];
    }
  }
  return out;
}

export function dot(a, b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

export function cross(a, b) {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

export function unit(a) {
  const length = Math.hypot(a[0], a[1], a[2]) || 1;
  return [a[0] / length, a[1] / length, a[2] / length];
}

/** The rotation about a unit axis by an angle (Rodrigues). */
export function rotation([x, y, z], angle) {
  const c = Math.cos(angle);
  const s = Math.sin(angle);
  const t = 1 - c;
  return [
    t * x * x + c, t * x * y - s * z, t * x * z + s * y,
    t * x * y + s * z, t * y * y + c, t * y * z - s * x,
    t * x * z - s * y, t * y * z + s * x, t * z * z + c,
  ];
}

/** The matrix `m` followed by a rotation about an axis of the eye; rows are made unit again. */
export function rotated(m, axis, angle) {
  const out = product(rotation(unit(axis), angle), m);
  const x = unit(out.slice(0, 3));
  const z = unit(cross(x, out.slice(3, 6)));
  return [...x, ...cross(z, x), ...z];
}

/** The matrix `m` followed by the shortest rotation that takes `from` to `to`, both of the eye. */
export function dragged(m, from, to) {
  const axis = cross(from, to);
  const sine = Math.hypot(...axis);
  return sine < 1e-12 ? m : rotated(m, axis, Math.atan2(sine, dot(from, to)));
}

/** A matrix that looks at the direction `centre`, with +z up. */
export function lookingAt(centre) {
  const z = unit(centre);
  const up = Math.abs(z[2]) > 0.999 ? [0, 1, 0] : [0, 0, 1];
  const x = unit(cross(up, z));
  return [...x, ...cross(z, x), ...z];
}

/** Hammer's equal-area projection of a direction of the eye, centred on where it looks. */
export function hammer([x, y, z]) {
  const half = Math.atan2(x, z) / 2;
  const cosine = Math.sqrt(Math.max(0, 1 - y * y));
  const scale = Math.sqrt(2 / (1 + cosine * Math.cos(half)));
  return [2 * scale * cosine * Math.sin(half), scale * y];
}

/** The direction of the eye at a place of Hammer's map; null outside of it. */
export function unhammer(x, y) {
  if ((x / FLAT_WIDTH) ** 2 + (y / FLAT_HEIGHT) ** 2 > 1) return null;
  const z = Math.sqrt(1 - (x / 4) ** 2 - (y / 2) ** 2);
  const longitude = 2 * Math.atan2(z * x, 2 * (2 * z * z - 1));
  const sine = z * y;
  const cosine = Math.sqrt(Math.max(0, 1 - sine * sine));
  return [cosine * Math.sin(longitude), sine, cosine * Math.cos(longitude)];
}

/**
 * Where a point is on the screen.
 * @param {{view: string, scale: number, x: number, y: number}} frame middle and pixels a unit
 * @param {number[]} eye its direction in the eye's frame
 * @param {number} reach its radius as a share of the largest
 * @returns {[number, number, number]} x, y and how near it is; nearness < 0 is behind the globe
 */
export function project(frame, eye, reach) {
  if (frame.view === "flat") {
    const [x, y] = hammer(eye);
    return [frame.x + frame.scale * x, frame.y - frame.scale * y, 1];
  }
  const r = frame.view === "ball" ? reach : 1;
  const nearness = frame.view === "ball" ? 2 + eye[2] * r : eye[2];
  return [frame.x + frame.scale * eye[0] * r, frame.y - frame.scale * eye[1] * r, nearness];
}

/** The direction of the eye that a place of the screen shows; null beside the map. */
export function unproject(frame, px, py) {
  const x = (px - frame.x) / frame.scale;
  const y = (frame.y - py) / frame.scale;
  if (frame.view === "flat") return unhammer(x, y);
  const rest = 1 - x * x - y * y;
  return rest < 0 ? null : [x, y, Math.sqrt(rest)];
}
