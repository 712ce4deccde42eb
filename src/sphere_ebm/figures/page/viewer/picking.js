/** Which point is meant: under the pointer, or nearest to another one. Hidden points never are. */

import { turnedBack, unproject } from "./sphere.js";
import { rangesWhere } from "./levels.js";

/* Cells that cover a small cap well enough. */
const FEW_CELLS = 24;

/** The shown point nearest to a place of the screen, at most `within` pixels away; -1 for none. */
export function pointAt(viewer, px, py, within = 14) {
  const { levels, frame, state } = viewer;
  let best = -1;
  let least = within * within;
  const look = (i) => {
    const [x, y, nearness] = viewer.placeOf(i);
    if (nearness < 0) return;
    // In the ball points lie behind one another: a nearer one may be two or three pixels farther.
    const cost = (x - px) ** 2 + (y - py) ** 2 + (frame.view === "ball" ? 6 * (3 - nearness) : 0);
    if (cost < least) {
      best = i;
      least = cost;
    }
  };
  if (frame.view === "ball") {
    for (const i of levels.rank) look(i);
    return best;
  }
  const eye = unproject(frame, px, py) ?? rimOf(frame, px, py);
  if (!eye) return -1;
  const [x, y, z] = turnedBack(state.turn, eye);
  // Near the rim of a globe a few pixels are a wide angle.
  const share = (1.5 * within) / frame.scale;
  const angle = frame.view === "globe" ? Math.acos(Math.max(-1, eye[2] - share)) -
    Math.acos(Math.min(1, eye[2])) + share : 3 * share;
  const touches = (middle, radius) =>
    Math.hypot(middle[0] - x, middle[1] - y, middle[2] - z) < 2 * Math.sin(Math.min(
      (angle + radius) / 2, Math.PI / 2));
  for (const [begin, end] of rangesWhere(levels, touches, FEW_CELLS)) {
    for (let r = begin; r < end; r++) look(levels.rank[r]);
  }
  return best;
}

/** The direction of the eye at the rim of the globe beside which the pointer is. */
function rimOf(frame, px, py) {
  const x = px - frame.x;
  const y = frame.y - py;
  const length = Math.hypot(x, y);
  if (frame.view !== "globe" || length > frame.scale + 20) return null;
  return [x / length, y / length, 0];
}

/** The k shown points nearest to point i by angle, nearest first, without itself. */
export function nearestOnMap({ data, levels }, i, k) {
  const { direction } = data;
  const [x, y, z] = direction.subarray(3 * i, 3 * i + 3);
  // A cap that would hold a few times as many points if they were spread evenly, then larger ones.
  let angle = 2 * Math.sqrt((4 * k) / Math.max(levels.n, 1));
  for (;;) {
    const chord = angle < Math.PI ? 2 * Math.sin(angle / 2) : Infinity;
    const found = inCap(levels, direction, i, [x, y, z], chord);
    if (found.length >= k || chord === Infinity) {
      // Equal distances: the lower number first, whatever the order along the curve.
      found.sort((a, b) => a.square - b.square || a.point - b.point);
      return found.slice(0, k).map(({ point, square }) => (
        { point, angle: 2 * Math.asin(Math.min(1, Math.sqrt(square) / 2)) }));
    }
    angle *= 2;
  }
}

/** The shown points but i whose chord to a direction is at most so long. */
function inCap(levels, direction, i, [x, y, z], chord) {
  const touches = (middle, radius) => {
    const reach = chord + 2 * Math.sin(Math.min(radius, Math.PI) / 2);
    return Math.hypot(middle[0] - x, middle[1] - y, middle[2] - z) <= reach;
  };
  const found = [];
  for (const [begin, end] of rangesWhere(levels, touches, FEW_CELLS)) {
    for (let r = begin; r < end; r++) {
      const j = levels.rank[r];
      const dx = direction[3 * j] - x;
      const dy = direction[3 * j + 1] - y;
      const dz = direction[3 * j + 2] - z;
      const square = dx * dx + dy * dy + dz * dz;
      if (square <= chord * chord && j !== i) found.push({ point: j, square });
    }
  }
  return found;
}

/** The neighbours of point i in the embedding, nearest first; empty where they are not known. */
export function nearestInEmbedding({ data }, i) {
  if (!data.neighbours) return [];
  const { width } = data.facts.columns.neighbours;
  return [...data.neighbours.subarray(i * width, (i + 1) * width)].filter((j) => j !== i);
}
