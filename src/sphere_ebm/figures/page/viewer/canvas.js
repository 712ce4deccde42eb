/** Points on a plain canvas, where there is no WebGL 2: fewer of them, and no ground. */

import { project, turned } from "./sphere.js";
import { eachSpan } from "./levels.js";

export const PLAIN_BUDGET = 6000;

/** What draws on a canvas without WebGL; the same functions as `openGraphics` returns. */
export function openPlain(canvas) {
  const context = canvas.getContext("2d");
  let shown = { data: null, rgb: null };
  let faint = false;
  let marked = [];

  function dots(list, frame, turn, size, alpha) {
    const { data, rgb } = shown;
    const half = (size * frame.ratio) / 2;
    context.globalAlpha = alpha;
    for (const i of list) {
      const { direction, reach } = data;
      const eye = turned(turn, direction[3 * i], direction[3 * i + 1], direction[3 * i + 2]);
      const [x, y, nearness] = project(frame, eye, reach[i]);
      if (nearness < 0) continue;
      context.fillStyle = `rgb(${rgb[3 * i]} ${rgb[3 * i + 1]} ${rgb[3 * i + 2]})`;
      context.fillRect(x * frame.ratio - half, y * frame.ratio - half, 2 * half, 2 * half);
    }
  }

  return {
    kind: "2-D canvas",
    take(levels, data, rgb) {
      shown = { data, rgb };
    },
    mark(list) {
      marked = list;
    },
    dim(levels, rgb, dimmed) {
      faint = dimmed;
      shown.rgb = rgb;
    },
    draw({ frame, turn, levels, ranges, level, size, list }) {
      context.clearRect(0, 0, canvas.width, canvas.height);
      if (list) dots(list, frame, turn, size, faint ? 0.25 : 0.9);
      else eachSpan(levels, ranges, level, (first, count) => {
        dots(levels.point.subarray(first, first + count), frame, turn, size, faint ? 0.25 : 0.9);
      });
      dots(marked, frame, turn, size * 1.25 + 2, 1);
    },
  };
}
