/** Lines: the disc and its grid below the points, rings and arcs above them. */

import {
  cross, directionOfKey, FLAT_HEIGHT, FLAT_WIDTH, project, turned, unit,
} from "./sphere.js";

const STEPS = 48;

function grid() {
  const lines = [];
  const line = (at) => lines.push(Array.from({ length: STEPS + 1 }, (_, k) => at(k / STEPS)));
  for (let m = 0; m < 12; m++) {
    const a = (m * Math.PI) / 6;
    line((t) => {
      const b = (t - 0.5) * Math.PI;
      return [Math.cos(b) * Math.cos(a), Math.cos(b) * Math.sin(a), Math.sin(b)];
    });
  }
  for (let p = -2; p <= 2; p++) {
    const b = (p * Math.PI) / 6;
    line((t) => {
      const a = t * 2 * Math.PI;
      return [Math.cos(b) * Math.cos(a), Math.cos(b) * Math.sin(a), Math.sin(b)];
    });
  }
  return lines;
}

const GRID = grid();

/** Strokes a line of directions, broken where it goes behind the globe or over the map's rim. */
function stroke(context, frame, turn, line, reach = 1) {
  let last = null;
  context.beginPath();
  for (const [x, y, z] of line) {
    const here = project(frame, turned(turn, x, y, z), reach);
    const jumps = last && Math.hypot(here[0] - last[0], here[1] - last[1]) > frame.scale;
    if (here[2] < 0) last = null;
    else {
      if (!last || jumps) context.moveTo(here[0], here[1]);
      else context.lineTo(here[0], here[1]);
      last = here;
    }
  }
  context.stroke();
}

function cleared(canvas, frame) {
  const context = canvas.getContext("2d");
  context.setTransform(frame.ratio, 0, 0, frame.ratio, 0, 0);
  context.clearRect(0, 0, frame.width, frame.height);
  return context;
}

/** Draws the sphere that the points lie on. */
export function drawUnder(canvas, frame, turn, theme) {
  const context = cleared(canvas, frame);
  context.beginPath();
  if (frame.view === "flat") {
    const wide = FLAT_WIDTH * frame.scale;
    context.ellipse(frame.x, frame.y, wide, FLAT_HEIGHT * frame.scale, 0, 0, 2 * Math.PI);
  } else context.arc(frame.x, frame.y, frame.scale, 0, 2 * Math.PI);
  if (frame.view === "flat") context.fillStyle = theme.disc;
  else {
    const light = context.createRadialGradient(
      frame.x - 0.35 * frame.scale, frame.y - 0.4 * frame.scale, 0.1 * frame.scale,
      frame.x, frame.y, 1.05 * frame.scale);
    light.addColorStop(0, theme.disc);
    light.addColorStop(1, theme.shade);
    context.fillStyle = light;
  }
  context.fill();
  context.lineWidth = 1;
  context.strokeStyle = theme.hairline;
  for (const line of GRID) stroke(context, frame, turn, line);
  context.strokeStyle = theme.rim;
  context.beginPath();
  if (frame.view === "flat") {
    const wide = FLAT_WIDTH * frame.scale;
    context.ellipse(frame.x, frame.y, wide, FLAT_HEIGHT * frame.scale, 0, 0, 2 * Math.PI);
  } else context.arc(frame.x, frame.y, frame.scale, 0, 2 * Math.PI);
  context.stroke();
}

/** Draws what belongs to the selection, the pointer and the keyboard. */
export function drawOver(canvas, viewer) {
  const { frame, state, theme } = viewer;
  const context = cleared(canvas, frame);
  const shown = (i) => i >= 0 && viewer.isShown(i);
  if (shown(state.selected)) drawSelection(context, viewer);
  if (shown(state.hovered)) ring(context, viewer, state.hovered, 7, theme.ink, 1.5);
  if (viewer.keyboard && state.selected < 0) {
    context.strokeStyle = theme.ink;
    context.lineWidth = 1.5;
    context.beginPath();
    for (const [a, b] of [[-12, 0], [12, 0], [0, -12], [0, 12]]) {
      context.moveTo(frame.x + a / 2, frame.y + b / 2);
      context.lineTo(frame.x + a, frame.y + b);
    }
    context.stroke();
  }
}

function ring(context, viewer, i, radius, colour, width, dashed = false) {
  const [x, y, nearness] = viewer.placeOf(i);
  if (nearness < 0) return;
  context.setLineDash(dashed ? [3, 2.5] : []);
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.strokeStyle = viewer.theme.paper;
  context.lineWidth = width + 2;
  context.stroke();
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke();
  context.setLineDash([]);
}

function drawSelection(context, viewer) {
  const { state, theme, near } = viewer;
  const inMap = new Set(near.map.map(({ point }) => point));
  const inEmbedding = new Set(near.embedding);
  context.lineWidth = 1;
  context.globalAlpha = 0.5;
  context.strokeStyle = theme.accent;
  for (const point of near.embedding) {
    if (viewer.isShown(point)) arc(context, viewer, state.selected, point);
  }
  context.globalAlpha = 1;
  drawSpread(context, viewer, state.selected);
  for (const point of inMap) {
    if (!inEmbedding.has(point)) ring(context, viewer, point, 6, theme.ink, 1.5);
  }
  for (const point of inEmbedding) {
    if (!viewer.isShown(point)) continue;
    if (inMap.has(point)) ring(context, viewer, point, 7, theme.accent, 2.5);
    else ring(context, viewer, point, 6, theme.accent, 1.5, true);
  }
  ring(context, viewer, state.selected, 10, theme.ink, 3);
}

/** The great circle between two points; in the ball, which has none, a straight line. */
function arc(context, viewer, i, j) {
  const { data, frame, state } = viewer;
  const from = data.direction.subarray(3 * i, 3 * i + 3);
  const to = data.direction.subarray(3 * j, 3 * j + 3);
  if (frame.view === "ball") {
    const [ax, ay] = viewer.placeOf(i);
    const [bx, by] = viewer.placeOf(j);
    context.beginPath();
    context.moveTo(ax, ay);
    context.lineTo(bx, by);
    context.stroke();
    return;
  }
  stroke(context, frame, state.turn, greatCircle(from, to));
}

function greatCircle(from, to) {
  return Array.from({ length: STEPS + 1 }, (_, k) => {
    const t = k / STEPS;
    return unit([0, 1, 2].map((c) => from[c] * (1 - t) + to[c] * t));
  });
}

/** The spread of a point's direction as a ring, and its two modes where the map knows them. */
function drawSpread(context, viewer, i) {
  const { data, frame, state, theme } = viewer;
  const spread = viewer.spreadOf(i);
  const centre = [...data.direction.subarray(3 * i, 3 * i + 3)];
  context.strokeStyle = theme.ink;
  if (spread > 0 && frame.view !== "ball") {
    const up = Math.abs(centre[2]) > 0.9 ? [1, 0, 0] : [0, 0, 1];
    const east = unit(cross(up, centre));
    const north = cross(centre, east);
    const angle = Math.min(spread, Math.PI / 2);
    context.setLineDash([2, 4]);
    context.lineWidth = 1.5;
    stroke(context, frame, state.turn, Array.from({ length: STEPS + 1 }, (_, k) => {
      const a = (2 * Math.PI * k) / STEPS;
      return [0, 1, 2].map((c) => centre[c] * Math.cos(angle) +
        Math.sin(angle) * (Math.cos(a) * east[c] + Math.sin(a) * north[c]));
    }));
    context.setLineDash([]);
  }
  if (!data.modes || frame.view === "ball") return;
  for (let k = 0; k < 2; k++) {
    const weight = data.modeWeight[2 * i + k] / 255;
    if (weight < 0.02) continue;
    const mode = [0, 0, 0];
    directionOfKey(data.modes[2 * i + k], mode, 0);
    context.lineWidth = 1 + 3 * weight;
    stroke(context, frame, state.turn, greatCircle(centre, mode));
    const [x, y, nearness] = project(frame, turned(state.turn, ...mode), 1);
    if (nearness < 0) continue;
    context.fillStyle = theme.ink;
    context.fillRect(x - 4, y - 4, 8, 8);
  }
}
