/** The viewer in a cell of a notebook, whose choice and search go both ways. */

import { openViewer } from "./viewer.js";

/** Bytes that came through the notebook's channel, which are views of a buffer. */
function octetsOf(view) {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function sameNumbers(a, b) {
  return a.length === b.length && a.every((value, k) => value === b[k]);
}

/**
 * Shows a model of anywidget in an element. The model counts points as the placement does, the
 * viewer in the order of documents.
 */
export async function renderWidget({ model, el }) {
  const root = document.createElement("div");
  root.className = "sphere-page in-cell";
  root.style.height = `${model.get("height")}px`;
  root.innerHTML = model.get("markup");
  // JupyterLab's keys of command mode would act on cells while one uses the map: it asks what has
  // the focus, not what is around it.
  root.addEventListener("focusin", (event) => {
    event.target.dataset.lmSuppressShortcuts = "true";
  });
  el.append(root);
  const packed = new Map(
    Object.entries(model.get("columns")).map(([name, view]) => [name, octetsOf(view)]));
  const order = new Uint32Array(octetsOf(model.get("order")).slice().buffer);
  const places = new Uint32Array(order.length);
  order.forEach((point, place) => { places[point] = place; });
  const viewer = await openViewer(root, model.get("facts"), packed);
  const { state } = viewer;
  const chosen = () => (state.selected < 0 ? -1 : order[state.selected]);
  const found = () => state.matches.map((place) => order[place]);

  function tell() {
    if (model.get("selected") !== chosen()) model.set("selected", chosen());
    if (model.get("query") !== state.query) model.set("query", state.query);
    if (!sameNumbers(model.get("matches"), found())) model.set("matches", found());
    model.save_changes();
  }

  function takeSelected() {
    const point = model.get("selected");
    if (point !== chosen() && point < order.length) {
      viewer.select(point < 0 ? -1 : places[point], true);
    }
  }

  function takeQuery() {
    if (model.get("query") === state.query) return null;
    state.query = model.get("query");
    return viewer.searchBox.run();
  }

  function takeMatches() {
    const points = model.get("matches");
    if (sameNumbers(points, found())) return;
    state.matches = points.filter((point) => point < order.length).map((point) => places[point]);
    state.changed("marks");
  }

  model.on("change:selected", takeSelected);
  model.on("change:query", takeQuery);
  model.on("change:matches", takeMatches);
  if (model.get("matches").length && !model.get("query")) takeMatches();
  await takeQuery();
  takeSelected();
  state.listen((kind) => {
    if (kind === "marks") tell();
  });
  root.sphere = viewer;
  root.dataset.ready = "true";
  return () => {
    model.off("change:selected", takeSelected);
    model.off("change:query", takeQuery);
    model.off("change:matches", takeMatches);
    viewer.close();
  };
}
