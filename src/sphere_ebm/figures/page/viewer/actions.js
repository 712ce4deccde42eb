/** What a user, a link or a program may do with the map. */

import { nameOf } from "./decode.js";
import { dragged, lookingAt, turned, turnedBack, unproject } from "./sphere.js";
import { nearestOnMap, pointAt } from "./picking.js";

const GLIDE = 260;

/** Gives the viewer its actions. */
export function openActions(viewer) {
  const { data, part, state, facts } = viewer;
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let hovering = 0;

  viewer.say = (text) => { part("live").textContent = text; };
  viewer.pick = (x, y, within) => pointAt(viewer, x, y, within);
  viewer.nearest = (i, k) => nearestOnMap(viewer, i, k).map(({ point }) => point);

  viewer.isShown = (i) => {
    const shell = state.shells && data.shell ? data.shell[i] : -1;
    const out = shell >= 0 && (shell < state.shells[0] || shell > state.shells[1]);
    if (out || state.hidden.has(data.document[i])) return false;
    return !state.out.size || !state.out.has(data.classes[state.colour]?.[i]);
  };

  /** The direction of the world at a place of the screen; null beside the map. */
  viewer.directionAt = (x, y) => {
    const eye = unproject(viewer.frame, x, y);
    return eye && turnedBack(state.turn, eye);
  };

  viewer.lookAt = (direction) => {
    state.turn = lookingAt(direction);
    state.changed("camera");
  };

  viewer.home = () => {
    state.zoom = 1;
    viewer.lookAt([1, 0, 0]);
  };

  viewer.show = (view) => {
    state.view = view;
    state.changed("camera");
    viewer.say(`View: ${view}`);
  };

  viewer.help = () => part("help").showModal();

  /** After a filter has changed. */
  viewer.filtered = () => {
    viewer.hover(-1);
    viewer.legend.redraw();
    state.changed("points");
    if (state.selected >= 0 && !viewer.isShown(state.selected)) viewer.select(-1);
    const said = [];
    const classes = facts.columns[state.colour]?.names ?? [];
    if (state.out.size) said.push(`${state.out.size} of ${classes.length} classes hidden`);
    if (state.hidden.size) {
      said.push(`${state.hidden.size} of ${facts.documents.length} documents hidden`);
    }
    viewer.say(said.join(", ") || "Everything shown");
  };

  /** Chooses point i, or none (-1); with `bring` the map turns to it where it is out of sight. */
  viewer.select = (i, bring = false) => {
    state.selected = i;
    viewer.near = { map: [], embedding: [] };
    if (i >= 0 && bring) bringIntoView(i);
    state.changed("marks");
    return viewer.selection.redraw().then(() => state.changed("marks"));
  };

  /** Goes to the patch before or after the chosen one in its document. */
  viewer.walk = (by) => {
    const next = state.selected + by;
    const inside = next >= 0 && next < data.n;
    if (!inside || data.document[next] !== data.document[state.selected]) {
      viewer.say(by > 0 ? "End of the document" : "Beginning of the document");
    } else if (viewer.isShown(next)) viewer.select(next, true);
    else viewer.say("The next patch is filtered out");
  };

  /** Shows what point i says beside a place of the screen; -1 shows nothing. */
  viewer.hover = async (i, x = 0, y = 0) => {
    const tip = part("tip");
    const mine = ++hovering;
    if (i !== state.hovered) {
      state.hovered = i;
      viewer.schedule("over");
    }
    part("stage").classList.toggle("over-point", i >= 0);
    if (i < 0) {
      tip.hidden = true;
      return;
    }
    const name = await nameOf(data, i);
    const text = data.text ? await data.text.patch(i) : name;
    if (mine !== hovering) return;
    const d = data.document[i];
    const row = data.text && data.rows.has(d) ? ` · ${name}` : "";
    part("tip-document").textContent = facts.documents[d][0] + row;
    part("tip-text").textContent = text;
    tip.hidden = false;
    const left = Math.min(x + 14, viewer.frame.width - tip.offsetWidth - 6);
    const above = y + 18 + tip.offsetHeight > viewer.frame.height;
    const top = above ? y - tip.offsetHeight - 12 : y + 18;
    tip.style.transform = `translate(${Math.max(6, left)}px, ${Math.max(6, top)}px)`;
  };

  /** Turns a point that is at the rim, behind the globe or off the screen to the middle. */
  function bringIntoView(i) {
    viewer.measure();
    const [x, y, nearness] = viewer.placeOf(i);
    const { width, height } = viewer.frame;
    const inside = x > 0.12 * width && x < 0.88 * width && y > 0.12 * height && y < 0.88 * height;
    if (inside && nearness > 0.25) return;
    const at = data.direction.subarray(3 * i, 3 * i + 3);
    const from = turned(state.turn, at[0], at[1], at[2]);
    if (still.matches) {
      state.turn = dragged(state.turn, from, [0, 0, 1]);
      state.changed("camera");
    } else glide(state.turn, from);
  }

  function glide(begin, from) {
    const start = performance.now();
    const angle = Math.acos(Math.max(-1, Math.min(1, from[2])));
    const away = Math.hypot(from[0], from[1]) || 1;
    const step = (now) => {
      const t = Math.min(1, Math.max(0, (now - start) / GLIDE));
      const turn = angle * t * t * (3 - 2 * t);
      // The middle of the view goes away from the point by as much as the point comes to it.
      const to = [(-from[0] / away) * Math.sin(turn), (-from[1] / away) * Math.sin(turn)];
      state.turn = dragged(begin, [0, 0, 1], [...to, Math.cos(turn)]);
      viewer.moving();
      state.changed("camera");
      if (t < 1) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }
}
