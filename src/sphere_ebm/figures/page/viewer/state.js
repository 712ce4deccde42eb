/** What the viewer shows now, whom it tells when that changes, and the link that brings it back. */

import { lookingAt } from "./sphere.js";

export const VIEWS = ["globe", "flat", "ball"];
export const LARGEST_ZOOM = 4096;

/**
 * A new state of a map that is coloured by `first` when it opens. `kinds` of change are "camera",
 * "points" and "marks".
 */
export function newState(first = "document") {
  const listeners = [];
  const state = {
    first,
    listen(listener) {
      listeners.push(listener);
    },
    changed(kind) {
      for (const listener of listeners) listener(kind);
    },
  };
  return reset(state);
}

/** Sets everything to what a map begins with. */
export function reset(state) {
  return Object.assign(state, {
    view: "globe",
    turn: lookingAt([1, 0, 0]),
    zoom: 1,
    colour: state.first,
    hidden: new Set(),
    out: new Set(),
    shells: null,
    selected: -1,
    hovered: -1,
    query: "",
    matches: [],
    matchCount: 0,
  });
}

function inOrder(numbers) {
  return [...numbers].sort((a, b) => a - b).join(",");
}

/** The part of a link behind "#" that brings the state back; empty for the first view. */
export function linkOf(state) {
  const parts = new URLSearchParams();
  if (state.view !== "globe") parts.set("view", state.view);
  const first = lookingAt([1, 0, 0]);
  // With a chosen point the turn is told in any case: without, the map would turn to the point.
  const elsewhere = state.turn.some((value, i) => Math.abs(value - first[i]) > 1e-6);
  if (elsewhere || state.selected >= 0) {
    parts.set("turn", state.turn.slice(0, 6).map((value) => value.toFixed(5)).join(","));
  }
  if (state.zoom !== 1) parts.set("zoom", state.zoom.toPrecision(5));
  if (state.colour !== state.first) parts.set("colour", state.colour);
  if (state.hidden.size) parts.set("hide", inOrder(state.hidden));
  if (state.out.size) parts.set("out", inOrder(state.out));
  if (state.shells) parts.set("shells", state.shells.join("-"));
  if (state.query) parts.set("find", state.query);
  if (state.selected >= 0) parts.set("point", String(state.selected));
  return parts.toString();
}

/** Takes over what a link says; what does not fit the map is passed over. */
export function follow(state, link, facts) {
  const parts = new URLSearchParams(link);
  if (VIEWS.includes(parts.get("view"))) state.view = parts.get("view");
  const turn = (parts.get("turn") ?? "").split(",").map(Number);
  if (turn.length === 6 && turn.every(Number.isFinite)) {
    const [a, b, c, d, e, f] = turn;
    state.turn = [...turn, b * f - c * e, c * d - a * f, a * e - b * d];
  }
  const zoom = Number(parts.get("zoom"));
  if (zoom >= 0.5 && zoom <= LARGEST_ZOOM) state.zoom = zoom;
  const colour = parts.get("colour");
  if (/^(radius|shell|(number|class)\d+)$/.test(colour ?? "")) {
    if (facts.columns[colour] && !facts.noise?.includes(colour)) state.colour = colour;
  } else if (colour === "document") state.colour = colour;
  const listed = (name) => (parts.get(name) ?? "").split(",").filter(Boolean).map(Number);
  const known = (groups) => (d) => Number.isInteger(d) && groups[d] !== undefined;
  state.hidden = new Set(listed("hide").filter(known(facts.documents)));
  state.out = new Set(listed("out").filter(known(facts.columns[state.colour]?.names ?? [])));
  const shells = (parts.get("shells") ?? "").split("-").map(Number);
  if (shells.length === 2 && shells.every(Number.isInteger) && parts.get("shells")) {
    state.shells = shells;
  }
  state.query = parts.get("find") ?? "";
  const point = parts.has("point") ? Number(parts.get("point")) : -1;
  if (Number.isInteger(point) && point >= 0 && point < facts.points) state.selected = point;
}
