/** Pointer, wheel and keys. */

import { dragged, rotated, unproject } from "./sphere.js";
import { LARGEST_ZOOM, VIEWS } from "./state.js";
import { pointAt } from "./picking.js";

const STEP = 0.12;
const STILL = 4;

/** Zooms by a factor, so that what is at a place of the screen stays there. */
export function zoomAt(viewer, factor, px, py) {
  const { state } = viewer;
  const before = unproject(viewer.frame, px, py);
  state.zoom = Math.min(LARGEST_ZOOM, Math.max(0.6, state.zoom * factor));
  viewer.measure();
  const after = unproject(viewer.frame, px, py);
  if (before && after) state.turn = dragged(state.turn, before, after);
  state.changed("camera");
}

/** Lets pointers drag, pinch, hover and choose on the stage. */
export function openPointer(viewer) {
  const { part, state } = viewer;
  const stage = part("stage");
  const held = new Map();
  let moved = 0;
  let grip = null;

  const placeOf = (event) => {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    held.set(event.pointerId, placeOf(event));
    moved = held.size > 1 ? STILL + 1 : 0;
    grip = unproject(viewer.frame, ...placeOf(event));
    viewer.keyboard = false;
  });

  stage.addEventListener("pointermove", (event) => {
    const at = placeOf(event);
    const last = held.get(event.pointerId);
    if (!last) {
      if (event.pointerType !== "touch") viewer.hover(pointAt(viewer, ...at), ...at);
      return;
    }
    if (held.size === 2) pinch(event.pointerId, at);
    else {
      moved += Math.hypot(at[0] - last[0], at[1] - last[1]);
      if (moved > STILL) drag(last, at);
    }
    held.set(event.pointerId, at);
  });

  function drag(last, at) {
    viewer.hover(-1);
    viewer.moving();
    const to = unproject(viewer.frame, ...at);
    if (grip && to) {
      const from = unproject(viewer.frame, ...last) ?? grip;
      state.turn = dragged(state.turn, from, to);
    } else {
      // Beside the globe there is nothing to hold: it is rolled by the way of the pointer.
      const x = at[0] - last[0];
      const y = at[1] - last[1];
      state.turn = rotated(state.turn, [y, x, 0], Math.hypot(x, y) / viewer.frame.scale);
    }
    state.changed("camera");
  }

  function pinch(id, at) {
    const [other] = [...held].filter(([key]) => key !== id).map(([, place]) => place);
    const last = held.get(id);
    const before = Math.hypot(last[0] - other[0], last[1] - other[1]);
    const after = Math.hypot(at[0] - other[0], at[1] - other[1]);
    if (before > 0) {
      zoomAt(viewer, after / before, (at[0] + other[0]) / 2, (at[1] + other[1]) / 2);
    }
  }

  const release = (event) => {
    const was = held.delete(event.pointerId);
    if (!was || event.type !== "pointerup") return;
    // A notebook takes the focus when the pointer goes down, and keys are for the map now.
    stage.focus({ preventScroll: true });
    if (moved <= STILL) viewer.select(pointAt(viewer, ...placeOf(event)));
  };
  stage.addEventListener("pointerup", release);
  stage.addEventListener("pointercancel", release);
  stage.addEventListener("pointerleave", () => viewer.hover(-1));
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    viewer.moving();
    const lines = event.deltaMode === 1 ? 16 : 1;
    zoomAt(viewer, Math.exp(-event.deltaY * lines * 0.0018), ...placeOf(event));
  }, { passive: false });
}

/** Lets keys do all of it: keys that reach `viewer.keys`, the document or the viewer's element. */
export function openKeys(viewer) {
  const { keys, part, state } = viewer;
  const stage = part("stage");
  const turn = (axis, sign) => {
    state.turn = rotated(state.turn, axis, (sign * STEP) / Math.max(1, state.zoom));
    state.changed("camera");
  };
  const actions = {
    ArrowLeft: (event) => {
      if (state.selected >= 0 && !event.shiftKey) viewer.walk(-1);
      else turn([0, 1, 0], 1);
    },
    ArrowRight: (event) => {
      if (state.selected >= 0 && !event.shiftKey) viewer.walk(1);
      else turn([0, 1, 0], -1);
    },
    ArrowUp: () => turn([1, 0, 0], 1),
    ArrowDown: () => turn([1, 0, 0], -1),
    "+": () => zoomAt(viewer, 1.3, viewer.frame.x, viewer.frame.y),
    "=": () => zoomAt(viewer, 1.3, viewer.frame.x, viewer.frame.y),
    "-": () => zoomAt(viewer, 1 / 1.3, viewer.frame.x, viewer.frame.y),
    0: () => viewer.home(),
    1: () => viewer.show(VIEWS[0]),
    2: () => viewer.show(VIEWS[1]),
    3: () => viewer.show(VIEWS[2]),
    n: () => viewer.searchBox.step(1),
    N: () => viewer.searchBox.step(-1),
    Enter: () => viewer.select(pointAt(viewer, viewer.frame.x, viewer.frame.y, 80)),
    "/": () => part("search").focus(),
    "?": () => viewer.help(),
    Escape: () => viewer.select(-1),
  };
  const ofStage = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Enter"]);

  keys.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (part("help").open) return;
    const at = event.composedPath()[0];
    const action = Object.hasOwn(actions, event.key) ? actions[event.key] : null;
    if (!action) return;
    const writes = at instanceof HTMLSelectElement || at.type === "search";
    if (event.key === "Escape" && at === part("search")) {
      state.query = "";
      viewer.searchBox.run();
      stage.focus();
    } else if (writes && event.key !== "Escape") return;
    else if (ofStage.has(event.key) && at !== stage && at !== document.body) return;
    else action(event);
    event.preventDefault();
  });
  stage.addEventListener("focus", () => {
    viewer.keyboard = stage.matches(":focus-visible");
    state.changed("marks");
  });
  stage.addEventListener("blur", () => {
    viewer.keyboard = false;
    state.changed("marks");
  });
}
