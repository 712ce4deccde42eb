/** The drawing of frames: what is in view, what of it is drawn, and when. */

import { project, turned } from "./sphere.js";
import { buildLevels, eachSpan, levelFor, onScreen, rangesWhere } from "./levels.js";
import { pointColours } from "./colours.js";
import { openGraphics } from "./drawing.js";
import { openPlain, PLAIN_BUDGET } from "./canvas.js";
import { drawOver, drawUnder } from "./overlay.js";
import { openNames } from "./names.js";

export const BUDGET = 60000;
const MOVING_BUDGET = 16000;
const LEAST_BUDGET = 6000;
const SETTLE = 140;
const SLOW = 45;
const FAST = 22;
const SCANNED = 4;
const THEME = ["paper", "ink", "disc", "shade", "hairline", "rim", "accent"];

/**
 * Gives the viewer its frame, its points in levels, and functions that draw.
 * `plain` does without WebGL.
 */
export function openScene(viewer, plain) {
  const { data, part, state } = viewer;
  const canvas = part("points");
  // A canvas has one kind of context for ever: what can be done is tried on another one.
  const able = !plain && document.createElement("canvas").getContext("webgl2") !== null;
  const graphics = (able ? openGraphics(canvas) : null) ?? openPlain(canvas);
  const names = openNames(part("names"), viewer.facts);
  const dirty = { points: true, marks: true, camera: true };
  let asked = false;
  let moves = 0;
  let movingBudget = MOVING_BUDGET;
  let lastFrame = 0;
  viewer.graphics = graphics;
  viewer.budget = graphics.kind === "WebGL 2" ? BUDGET : PLAIN_BUDGET;
  viewer.stats = { frames: 0, drawn: 0, inView: 0, level: 0, ground: false, names: [] };

  viewer.measure = () => {
    const stage = part("stage");
    const width = Math.max(1, stage.clientWidth);
    const height = Math.max(1, stage.clientHeight);
    const unit = state.view === "flat"
      ? Math.min((0.485 * width) / (2 * Math.SQRT2), (0.47 * height) / Math.SQRT2)
      : 0.465 * Math.min(width, height);
    viewer.frame = {
      view: state.view, width, height, x: width / 2, y: height / 2, unit,
      scale: unit * state.zoom, ratio: Math.min(2, window.devicePixelRatio || 1),
    };
    viewer.free = { left: 4, right: width - 4, top: 4, bottom: height - 4 };
  };

  viewer.readTheme = (dark) => {
    const style = getComputedStyle(viewer.root);
    viewer.dark = dark;
    viewer.theme = {};
    for (const name of THEME) viewer.theme[name] = style.getPropertyValue(`--${name}`).trim();
  };

  function takePoints() {
    const shown = new Uint32Array(data.n);
    let count = 0;
    for (let i = 0; i < data.n; i++) if (viewer.isShown(i)) shown[count++] = i;
    viewer.levels = buildLevels(shown.subarray(0, count), data.key);
    viewer.rgb = pointColours(data, state.colour, viewer.dark);
    graphics.take(viewer.levels, data, viewer.rgb);
  }

  function takeMarks() {
    const asked = state.query.trim() !== "" && data.text !== null;
    const searching = asked || state.matches.length > 0;
    const list = state.matches.filter(viewer.isShown);
    if (state.selected >= 0) {
      const around = [...viewer.near.map.map(({ point }) => point), ...viewer.near.embedding];
      list.push(...[...around, state.selected].filter(viewer.isShown));
    }
    graphics.mark(list, data, viewer.rgb);
    graphics.dim(viewer.levels, viewer.rgb, searching);
  }

  /** The points on the screen, one by one; null as soon as there are more than the budget. */
  function pointsInView(ranges) {
    const { frame, levels } = viewer;
    const found = [];
    for (const [begin, end] of ranges) {
      for (let r = begin; r < end; r++) {
        const i = levels.rank[r];
        const [x, y, nearness] = viewer.placeOf(i);
        if (nearness < 0 || x < -9 || y < -9 || x > frame.width + 9 || y > frame.height + 9) {
          continue;
        }
        found.push(i);
        if (found.length > viewer.budget) return null;
      }
    }
    return found;
  }

  /** Chooses what is drawn of the points in view, and how large. */
  function chooseLevel() {
    const { levels, frame, stats } = viewer;
    const ranges = rangesWhere(levels, onScreen(frame, state.turn));
    const total = ranges.reduce((sum, [begin, end]) => sum + end - begin, 0);
    const moving = moves !== 0;
    let level = levelFor(levels, ranges, Math.min(viewer.budget, moving ? movingBudget : Infinity));
    // Cells reach over the rim of the screen: the points themselves may be few enough.
    const most = frame.view === "ball" ? Infinity : SCANNED * viewer.budget;
    const scan = level > 0 && !moving && total < most && state.zoom > 1;
    const list = scan ? pointsInView(ranges) : null;
    if (list) level = 0;
    let drawn = 0;
    eachSpan(levels, ranges, level, (first, count) => { drawn += count; });
    Object.assign(viewer, { ranges, level, list });
    stats.inView = list ? list.length : total;
    stats.drawn = list ? list.length : drawn;
    stats.level = level;
    stats.ground = level > 0 && frame.view !== "ball";
    // As many discs of this size would cover about a third of the map if none overlapped.
    const shown = Math.max(1, Math.min(levels.n, BUDGET * 2));
    const area = frame.view === "flat" ? 4 * Math.PI : 2 * Math.PI;
    const usual = Math.sqrt((0.34 * area * frame.unit ** 2) / shown);
    return Math.min(14, Math.min(9, Math.max(2.2, usual)) * state.zoom ** 0.4);
  }

  viewer.redraw = () => {
    const { frame } = viewer;
    for (const name of ["under", "points", "over"]) {
      const layer = part(name);
      const wide = Math.round(frame.width * frame.ratio);
      const high = Math.round(frame.height * frame.ratio);
      if (layer.width !== wide) layer.width = wide;
      if (layer.height !== high) layer.height = high;
    }
    drawUnder(part("under"), frame, state.turn, viewer.theme);
    const size = chooseLevel();
    const { data: all, levels, ranges, level, list, rgb, stats } = viewer;
    graphics.draw({
      frame, turn: state.turn, levels, ranges, level, list, size, data: all, rgb,
      withGround: stats.ground,
    });
    stats.names = names.place(viewer);
  };

  function drawFrame(time) {
    asked = false;
    const lasted = time - lastFrame;
    if (moves && lasted < 400) {
      if (lasted > SLOW) movingBudget = Math.max(LEAST_BUDGET, movingBudget * 0.7);
      else if (lasted < FAST) movingBudget = Math.min(BUDGET, movingBudget * 1.15);
    }
    lastFrame = time;
    viewer.measure();
    const { points, marks, camera } = dirty;
    dirty.points = dirty.marks = dirty.camera = false;
    if (points) takePoints();
    if (points || marks) takeMarks();
    if (points || marks || camera) viewer.redraw();
    drawOver(part("over"), viewer);
    viewer.stats.frames++;
    viewer.drew(points);
  }

  viewer.schedule = (kind) => {
    dirty[kind] = true;
    if (!asked) requestAnimationFrame(drawFrame);
    asked = true;
  };

  /** While the map moves fewer points are drawn, if the machine is slow. */
  viewer.moving = () => {
    clearTimeout(moves);
    moves = setTimeout(() => {
      moves = 0;
      viewer.schedule("camera");
    }, SETTLE);
  };

  /** Where point i is on the screen, and how near. */
  viewer.placeOf = (i) => {
    const { direction, reach } = data;
    const eye = turned(state.turn, direction[3 * i], direction[3 * i + 1], direction[3 * i + 2]);
    return project(viewer.frame, eye, reach[i]);
  };

  /** The points that were drawn last. */
  viewer.drawn = () => {
    if (viewer.list) return viewer.list;
    const points = [];
    eachSpan(viewer.levels, viewer.ranges, viewer.level, (first, count) => {
      for (let slot = first; slot < first + count; slot++) points.push(viewer.levels.point[slot]);
    });
    return points;
  };
}
