/** Which point is meant: under the pointer, or nearest to another one. Hidden points never are. */

import { turnedBack, unproject } from "./sphere.js";
import { rangesWhere } from "./levels.js";

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
  for (const [begin, end] of rangesWhere(levels, touches)) {
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
  const points = [];
  const squares = [];
  let worst = Infinity;
  for (const j of levels.rank) {
    const dx = direction[3 * j] - x;
    const dy = direction[3 * j + 1] - y;
    const dz = direction[3 * j + 2] - z;
    const square = dx * dx + dy * dy + dz * dz;
    if (square > worst || j === i) continue;
    // Equal distances: the lower number first, whatever the order along the curve.
    let at = points.length;
    while (at && (squares[at - 1] > square || (squares[at - 1] === square && points[at - 1] > j))) {
      at--;
    }
    points.splice(at, 0, j);
    squares.splice(at, 0, square);
    if (points.length > k) {
      points.pop();
      squares.pop();
      worst = squares[k - 1];
    }
  }
  return points.map((point, m) => ({ point, angle: 2 * Math.asin(Math.sqrt(squares[m]) / 2) }));
}

/** The neighbours of point i in the embedding, nearest first; empty where they are not known. */
export function nearestInEmbedding({ data }, i) {
  if (!data.neighbours) return [];
  const { width } = data.facts.columns.neighbours;
  return [...data.neighbours.subarray(i * width, (i + 1) * width)].filter((j) => j !== i);
}
