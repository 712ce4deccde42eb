/** What the viewer shows now, whom it tells when that changes, and the link that brings it back. */

import { lookingAt } from "./sphere.js";

export const VIEWS = ["globe", "flat", "ball"];
export const LARGEST_ZOOM = 4096;

/** A new state. `kinds` of change are "camera", "points" and "marks". */
export function newState() {
  const listeners = [];
  const state = {
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
    colour: "document",
    hidden: new Set(),
    shells: null,
    selected: -1,
    hovered: -1,
    query: "",
    matches: [],
    matchCount: 0,
  });
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
  if (state.colour !== "document") parts.set("colour", state.colour);
  if (state.hidden.size) parts.set("hide", [...state.hidden].sort((a, b) => a - b).join(","));
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
  if (colour === "radius" || colour === "shell" || /^number\d+$/.test(colour ?? "")) {
    if (facts.columns[colour]) state.colour = colour;
  }
  const hidden = (parts.get("hide") ?? "").split(",").filter(Boolean).map(Number);
  state.hidden = new Set(hidden.filter((d) => Number.isInteger(d) && facts.documents[d]));
  const shells = (parts.get("shells") ?? "").split("-").map(Number);
  if (shells.length === 2 && shells.every(Number.isInteger) && parts.get("shells")) {
    state.shells = shells;
  }
  state.query = parts.get("find") ?? "";
  const point = parts.has("point") ? Number(parts.get("point")) : -1;
  if (Number.isInteger(point) && point >= 0 && point < facts.points) state.selected = point;
}
