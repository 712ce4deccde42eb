/** The viewer: one map in one element. */

import { follow, linkOf, newState, reset } from "./state.js";
import { numberAt, openData } from "./decode.js";
import { openScene } from "./scene.js";
import { openActions } from "./actions.js";
import { openLegend } from "./legend.js";
import { openSearchBox, openSelection } from "./panel.js";
import { openKeys, openPointer, zoomAt } from "./input.js";

const WAIT = 250;

/**
 * Opens a map in an element that holds the viewer's markup.
 * @param {Element} root the element
 * @param {object} facts of the page
 * @param {Map<string, Uint8Array>} packed its columns
 * @param {{keys?: EventTarget, link?: string, plain?: boolean, keepLink?: Function}} options
 *   where keys are listened for, the link to follow at first, whether to do without WebGL, and
 *   what is told the link to the view whenever it has changed
 */
export async function openViewer(root, facts, packed, options = {}) {
  const data = await openData(facts, packed);
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const state = newState(facts.colour);
  const link = options.link ?? "";
  follow(state, link, facts);
  const viewer = {
    root, part, facts, data, state,
    keys: options.keys ?? root,
    near: { map: [], embedding: [] },
    keyboard: false,
  };
  const spread = Object.entries(facts.columns)
    .find(([, column]) => column.label === "spread" && !column.own);
  viewer.spreadOf = (i) => (spread ? numberAt(data, spread[0], i) : 0);
  openActions(viewer);
  openScene(viewer, options.plain);

  const night = matchMedia("(prefers-color-scheme: dark)");
  viewer.readTheme(night.matches);
  viewer.measure();
  viewer.legend = openLegend(viewer);
  viewer.selection = openSelection(viewer);
  viewer.searchBox = openSearchBox(viewer);
  openPointer(viewer);
  openKeys(viewer);
  openButtons(viewer);
  part("title").textContent = facts.title;
  part("search-row").hidden = !data.text && facts.documents.length < 2;

  let keeping = 0;
  viewer.drew = (points) => {
    if (points) viewer.legend.redraw();
    // What a filter lets through decides which points are nearest.
    if (points && state.selected >= 0) {
      viewer.selection.redraw(true).then(() => state.changed("marks"));
    }
    writeStatus(viewer);
    if (!options.keepLink) return;
    clearTimeout(keeping);
    keeping = setTimeout(() => options.keepLink(linkOf(state)), WAIT);
  };
  const listen = new AbortController();
  viewer.close = () => listen.abort();
  state.listen(viewer.schedule);
  night.addEventListener("change", () => {
    viewer.readTheme(night.matches);
    state.changed("points");
    viewer.selection.redraw();
  }, { signal: listen.signal });
  new ResizeObserver(() => state.changed("camera")).observe(part("stage"));

  viewer.follow = async (other) => {
    reset(state);
    follow(state, other, facts);
    state.changed("points");
    await viewer.searchBox.run();
    // A link that says how the map is turned is followed to the letter.
    await viewer.select(state.selected, !/(^|&)turn=/.test(other));
  };
  const first = new Promise((done) => {
    const drew = viewer.drew;
    viewer.drew = (points) => {
      viewer.drew = drew;
      drew(points);
      done();
    };
  });
  state.changed("points");
  await first;
  if (state.query) await viewer.searchBox.run();
  if (state.selected >= 0) await viewer.select(state.selected, !/(^|&)turn=/.test(link));
  return viewer;
}

function openButtons(viewer) {
  const { part } = viewer;
  for (const button of part("views").querySelectorAll("button")) {
    button.addEventListener("click", () => viewer.show(button.value));
  }
  part("home").addEventListener("click", viewer.home);
  part("help-button").addEventListener("click", viewer.help);
  for (const [name, factor] of [["nearer", 1.5], ["farther", 1 / 1.5]]) {
    part(name).addEventListener("click", () => {
      zoomAt(viewer, factor, viewer.frame.x, viewer.frame.y);
    });
  }
}

function writeStatus(viewer) {
  const { data, levels, part, state, stats } = viewer;
  const number = (n) => n.toLocaleString("en");
  const all = data.n === 1 ? "1 point" : `${number(data.n)} points`;
  const shown = levels.n < data.n ? `${number(levels.n)} of ${all} shown` : all;
  const left = stats.level > 0
    ? ` · a sample of ${number(stats.drawn)} drawn, zoom in for all` : "";
  part("status").textContent =
    `${shown}${left} · zoom ${Number(state.zoom.toPrecision(2))}×`;
  for (const button of part("views").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.value === state.view));
  }
}
