/** Names of regions on the screen: those of cells as large as a name is, none over another. */

import { project, turned } from "./sphere.js";
import { eachSpan, rankOf } from "./levels.js";

const CELL_PIXELS = 110;
/* How far out names are in the ball, whose radii are not theirs. */
const REACH = 0.85;
const SAMPLE = 500;
const MARGIN = 6;
const DEEPEST = 16;

/** Writes names into `element`. `place()` puts them anew and returns what it has put where. */
export function openNames(element, facts) {
  const levels = [];
  const ofCell = new Map();
  for (const [level, key, name, x, y, z] of facts.regions) {
    const region = { level, key, name, at: [x, y, z] };
    (levels[level] ??= []).push(region);
    ofCell.set(`${level} ${key}`, region);
  }
  const pool = [];
  const measure = document.createElement("canvas").getContext("2d");
  const widths = new Map();

  function widthOf(name) {
    if (!widths.has(name)) {
      measure.font = "600 13px system-ui, sans-serif";
      widths.set(name, measure.measureText(name).width);
    }
    return widths.get(name);
  }

  function place(viewer) {
    const put = [];
    if (levels.length) {
      const finest = levels.length - 1;
      // A cell of level l is sqrt(4 pi) / 2^l wide.
      const wanted = Math.floor(0.4 + Math.log2((3.545 * viewer.frame.scale) / CELL_PIXELS));
      const level = Math.min(finest, Math.max(1, wanted));
      for (const region of levels[level] ?? []) {
        if (isPopulated(viewer.levels, region)) tryAt(viewer, put, region, region.at);
      }
      fillThirds(viewer, put, Math.min(finest, level + 1));
    }
    show(put);
    return put;
  }

  /** Puts a name where a direction is seen, if there is room; tells whether it did. */
  function tryAt(viewer, put, region, at, again = false) {
    const { frame, state } = viewer;
    const eye = turned(state.turn, ...at);
    if (frame.view !== "flat" && eye[2] < 0.15) return false;
    const [x, y] = project(frame, eye, REACH);
    const half = widthOf(region.name) / 2 + MARGIN;
    const { left, right, top, bottom } = viewer.free;
    if (x < left || x > right || y < top + 10 || y > bottom - 10) return false;
    const middle = Math.min(Math.max(x, left + half), right - half);
    for (const other of put) {
      if (!again && other.name === region.name) return false;
      const apart = Math.abs(other.x - middle) > other.half + half;
      if (!apart && Math.abs(other.y - y) < 24) return false;
    }
    put.push({ name: region.name, x: middle, y, half, level: region.level });
    return true;
  }

  /** Where a third of the view has points but no name, one of the cell that they are in. */
  function fillThirds(viewer, put, deepest) {
    const empty = thirdsOf(viewer).filter(({ points, left, right }) =>
      points.length > 2 && !put.some(({ x }) => x >= left && x < right));
    for (const again of [false, true]) {
      for (const third of empty) {
        if (put.some(({ x }) => x >= third.left && x < third.right)) continue;
        third.points.some((i) => nameOf(viewer, put, i, deepest, again));
      }
    }
  }

  function nameOf(viewer, put, i, deepest, again) {
    const { key, direction } = viewer.data;
    const at = [...direction.subarray(3 * i, 3 * i + 3)];
    for (let level = deepest; level > 0; level--) {
      const cell = Math.floor(key[i] / 4 ** (DEEPEST - level));
      const region = ofCell.get(`${level} ${cell}`);
      if (region && tryAt(viewer, put, region, at, again)) return true;
    }
    return false;
  }

  function show(put) {
    while (pool.length < put.length) {
      const label = document.createElement("span");
      element.append(label);
      pool.push(label);
    }
    pool.forEach((label, i) => {
      label.hidden = i >= put.length;
      if (label.hidden) return;
      if (label.textContent !== put[i].name) label.textContent = put[i].name;
      label.style.transform =
        `translate(${put[i].x.toFixed(1)}px, ${put[i].y.toFixed(1)}px) translate(-50%, -50%)`;
    });
  }

  return { place };
}

/** Whether a filter leaves any point in the cell of a region. */
function isPopulated(levels, { level, key }) {
  const width = 4 ** (DEEPEST - level);
  const end = key + 1 === 4 ** level ? levels.n : rankOf(levels.keys, (key + 1) * width);
  return end > rankOf(levels.keys, key * width);
}

/** The thirds of the view, left to right, each with some of the points in it, middle ones first. */
function thirdsOf({ data, frame, free, levels, ranges, level, state }) {
  const wide = (free.right - free.left) / 3;
  const thirds = [0, 1, 2].map((k) => ({
    left: free.left + k * wide, right: free.left + (k + 1) * wide, points: [], away: [],
  }));
  let left = SAMPLE;
  eachSpan(levels, ranges, level, (first, count) => {
    const step = Math.max(1, Math.floor(count / 60));
    for (let slot = first; slot < first + count && left > 0; slot += step, left--) {
      const i = levels.point[slot];
      const at = data.direction.subarray(3 * i, 3 * i + 3);
      const eye = turned(state.turn, at[0], at[1], at[2]);
      if (frame.view !== "flat" && eye[2] < 0.15) continue;
      const [x, y] = project(frame, eye, REACH);
      if (y < free.top + 10 || y > free.bottom - 10) continue;
      const third = thirds.find((t) => x >= t.left && x < t.right);
      if (!third) continue;
      third.points.push(i);
      third.away.push(Math.abs(x - (third.left + third.right) / 2) + Math.abs(y - frame.y) / 3);
    }
  });
  for (const third of thirds) {
    const order = third.points.map((_, k) => k).sort((a, b) => third.away[a] - third.away[b]);
    third.points = order.map((k) => third.points[k]);
  }
  return thirds;
}
