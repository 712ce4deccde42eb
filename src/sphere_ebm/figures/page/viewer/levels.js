/**
 * Levels of detail. Points are sorted along the curve of their keys; the level of the one at rank
 * i is the number of zeros that i ends in. So every level is a systematic sample of the sphere with
 * true densities, and each range of keys is one range of slots on every level.
 */

import { fold } from "../../../geometry/cells.mjs";
import { evenBits, hammer, turned } from "./sphere.js";

const MOST_CELLS = 192;
const DEEPEST = 16;

/** Ranks of `points` in rising order of their keys: two passes over 16 bits each. */
function sortedByKey(points, key) {
  let from = points;
  for (const shift of [0, 16]) {
    const start = new Uint32Array(65537);
    for (const i of from) start[((key[i] >>> shift) & 0xffff) + 1]++;
    for (let d = 0; d < 65536; d++) start[d + 1] += start[d];
    const to = new Uint32Array(from.length);
    for (const i of from) to[start[(key[i] >>> shift) & 0xffff]++] = i;
    from = to;
  }
  return from;
}

/** How many of the ranks below `end` are of level `l`. */
function ofLevel(end, l) {
  return end < 1 ? 0 : Math.floor((end - 1) / 2 ** l) - Math.floor((end - 1) / 2 ** (l + 1));
}

/** The levels of some of the points. `point[slot]` is the point in a slot, coarse levels first. */
export function buildLevels(points, key) {
  const rank = sortedByKey(points, key);
  const n = rank.length;
  const keys = new Uint32Array(n);
  for (let i = 0; i < n; i++) keys[i] = key[rank[i]];
  const top = Math.max(0, Math.ceil(Math.log2(Math.max(n, 1))));
  const start = new Array(top + 1).fill(0);
  // Rank 0 ends in no bit at all: it has the first slot, above all levels.
  let next = Math.min(n, 1);
  for (let l = top; l >= 0; l--) {
    start[l] = next;
    next += ofLevel(n, l);
  }
  const point = new Uint32Array(n);
  for (let i = 0; i < n; i++) {
    const level = i ? 31 - Math.clz32(i & -i) : 0;
    point[i ? start[level] + (i >>> (level + 1)) : 0] = rank[i];
  }
  return { n, keys, rank, top, start, point };
}

/** The first rank whose key is not below `key`. */
export function rankOf(keys, key) {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle] < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

const known = new Map();

/** The middle of a cell and how far its rim is from it, in radians. */
function cellOf(level, key) {
  const name = level * 4294967296 + key;
  const found = known.get(name);
  if (found) return found;
  const side = 2 ** level;
  const column = evenBits(key);
  const row = evenBits(key >>> 1);
  const middle = fold((column + 0.5) / side, (row + 0.5) / side);
  let farthest = 0;
  for (let k = 0; k < 9; k++) {
    const rim = fold((column + (k % 3) / 2) / side, (row + Math.floor(k / 3) / 2) / side);
    const chord = Math.hypot(rim[0] - middle[0], rim[1] - middle[1], rim[2] - middle[2]);
    farthest = Math.max(farthest, chord);
  }
  const cell = { middle, radius: 2.1 * Math.asin(Math.min(1, farthest / 2)) };
  if (known.size > 20000) known.clear();
  known.set(name, cell);
  return cell;
}

/** Ranges of ranks, merged, of the cells that `touches(middle, radius)` does not rule out. */
export function rangesWhere(levels, touches, most = MOST_CELLS) {
  let cells = [0, 1, 2, 3];
  let level = 1;
  const seen = (list, l) =>
    list.filter((key) => {
      const cell = cellOf(l, key);
      return touches(cell.middle, cell.radius);
    });
  cells = seen(cells, level);
  while (level < DEEPEST && cells.length && cells.length * 4 <= most * 2) {
    const below = cells.flatMap((key) => [0, 1, 2, 3].map((child) => key * 4 + child));
    const kept = seen(below, level + 1);
    if (kept.length > most) break;
    cells = kept;
    level++;
  }
  cells.sort((a, b) => a - b);
  const ranges = [];
  const width = 4 ** (DEEPEST - level);
  for (const key of cells) {
    const begin = rankOf(levels.keys, key * width);
    const end = key + 1 === 4 ** level ? levels.n : rankOf(levels.keys, (key + 1) * width);
    const last = ranges[ranges.length - 1];
    if (last && last[1] === begin) last[1] = end;
    else if (end > begin) ranges.push([begin, end]);
  }
  return ranges;
}

/** A test of cells for being on the screen, for `rangesWhere`. Everything is, in the ball. */
export function onScreen(frame, turn) {
  if (frame.view === "ball") return () => true;
  const wide = Math.max(frame.x, frame.width - frame.x) / frame.scale;
  const high = Math.max(frame.y, frame.height - frame.y) / frame.scale;
  return (middle, radius) => {
    const eye = turned(turn, middle[0], middle[1], middle[2]);
    if (frame.view === "globe") {
      const away = eye[2] < -Math.sin(Math.min(radius, Math.PI / 2));
      return !away && Math.abs(eye[0]) < wide + radius && Math.abs(eye[1]) < high + radius;
    }
    const [x, y] = hammer(eye);
    // Near the middle Hammer's map stretches little; at its rim cells may lie on both sides.
    const stretched = Math.hypot(x, y) + radius < 1.2 ? 1.3 * radius : 3 * radius;
    const cut = eye[2] < radius && Math.abs(eye[0]) < radius;
    return cut || (Math.abs(x) < wide + stretched && Math.abs(y) < high + stretched);
  };
}

/** The finest level down to which the points in `ranges` are no more than the budget. */
export function levelFor(levels, ranges, budget) {
  let count = ranges.length && ranges[0][0] === 0 ? 1 : 0;
  for (let l = levels.top; l >= 0; l--) {
    for (const [begin, end] of ranges) count += ofLevel(end, l) - ofLevel(begin, l);
    if (count > budget) return l + 1;
  }
  return 0;
}

/** Calls `take(first slot, number of slots)` for the points of `ranges` down to a level. */
export function eachSpan(levels, ranges, level, take) {
  if (ranges.length && ranges[0][0] === 0) take(0, 1);
  for (let l = levels.top; l >= level; l--) {
    let first = -1;
    let last = -1;
    for (const [begin, end] of ranges) {
      const a = levels.start[l] + ofLevel(begin, l);
      const b = levels.start[l] + ofLevel(end, l);
      if (a >= b) continue;
      if (a === last) last = b;
      else {
        if (first >= 0) take(first, last - first);
        first = a;
        last = b;
      }
    }
    if (first >= 0) take(first, last - first);
  }
}
