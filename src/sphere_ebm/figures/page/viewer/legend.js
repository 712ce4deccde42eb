/** The choice of colours, the legend, and the filters that it is. */

import {
  classColours, css, documentColours, endsOf, largest, scaleColour,
} from "./colours.js";
import { inWords, stepsOf } from "./decode.js";

const MOST_LISTED = 300;

function made(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Columns that points can be coloured by: [name, label]; none whose numbers mean nothing. */
export function colourChoices(facts) {
  const choices = [["document", "document"]];
  for (const [name, column] of Object.entries(facts.columns)) {
    if (facts.noise?.includes(name)) continue;
    if (name === "shell") choices.push([name, "shell"]);
    else if (column.label && !/^words/.test(name)) choices.push([name, column.label]);
  }
  return choices;
}

/** Fills the legend. `redraw()` follows the state. */
export function openLegend(viewer) {
  const { part, state, facts } = viewer;
  const choice = part("colour");
  for (const [name, label] of colourChoices(facts)) {
    const option = made("option", "", label);
    option.value = name;
    choice.append(option);
  }
  choice.addEventListener("change", () => {
    state.colour = choice.value;
    // Classes that are no longer listed could not be shown again.
    state.out.clear();
    state.changed("points");
    viewer.say(`Coloured by ${choice.selectedOptions[0].textContent}`);
  });
  openShells(viewer);
  const documents = listGroups(viewer, facts.documents, "hidden", {
    list: part("documents"), more: part("more"), all: part("all"), none: part("none"),
  });
  part("choices").hidden = facts.documents.length < 2;
  let listed = "document";
  let classes = null;

  function listClasses() {
    listed = state.colour;
    classes = null;
    const { names } = facts.columns[listed] ?? {};
    part("classes").hidden = !names;
    part("class-list").replaceChildren();
    if (!names) return;
    const counts = new Uint32Array(names.length);
    for (const code of viewer.data.classes[listed]) counts[code]++;
    part("class-label").textContent = facts.columns[listed].label;
    const buttons = ["all-classes", "no-class"].map((name) => {
      // A new button hears of this column alone.
      const fresh = part(name).cloneNode(true);
      part(name).replaceWith(fresh);
      return fresh;
    });
    classes = listGroups(viewer, names.map((name, k) => [name, counts[k]]), "out", {
      list: part("class-list"), more: part("more-classes"), all: buttons[0], none: buttons[1],
    });
  }

  function redraw() {
    choice.value = state.colour;
    const { data, dark } = viewer;
    if (listed !== state.colour) listClasses();
    classes?.(classColours(data, listed, dark));
    documents(state.colour === "document" ? documentColours(data, dark) : null);
    drawScale(viewer);
  }

  return { redraw };
}

/**
 * A check box for each of `groups`, [name, points], the largest first where there are many; those
 * that are not checked are in the set `state[filter]`. Returns what shows the state in colours.
 */
function listGroups(viewer, groups, filter, { list, more, all, none }) {
  const { state } = viewer;
  const boxes = new Map();
  let order = groups.map((_, d) => d);
  more.textContent = "";
  if (order.length > MOST_LISTED) {
    order.sort((a, b) => groups[b][1] - groups[a][1]);
    order = order.slice(0, MOST_LISTED);
    const rest = groups.length - MOST_LISTED;
    more.textContent = `and ${rest.toLocaleString("en")} smaller ones`;
  }
  list.replaceChildren();
  const only = (kept) => {
    state[filter] = new Set(groups.keys());
    for (const d of kept) state[filter].delete(d);
    viewer.filtered();
  };
  all.addEventListener("click", () => only(groups.keys()));
  none.addEventListener("click", () => only([]));
  for (const d of order) {
    const [name, count] = groups[d];
    const label = made("label", "document");
    const box = made("input");
    box.type = "checkbox";
    const swatch = made("span", "swatch");
    const alone = made("button", "only", "only");
    alone.type = "button";
    alone.setAttribute("aria-label", `show only ${name}`);
    label.append(box, swatch, made("span", "title", name));
    label.title = name;
    const row = made("li");
    row.append(label, made("span", "count", count.toLocaleString("en")), alone);
    list.append(row);
    box.addEventListener("change", () => {
      if (box.checked) state[filter].delete(d);
      else state[filter].add(d);
      viewer.filtered();
    });
    alone.addEventListener("click", () => only([d]));
    boxes.set(d, { box, swatch });
  }
  return (colours) => boxes.forEach(({ box, swatch }, d) => {
    box.checked = !state[filter].has(d);
    swatch.style.background = colours ? css(colours[d]) : "transparent";
    swatch.hidden = !colours;
  });
}

function openShells(viewer) {
  const { part, state, data, facts } = viewer;
  const most = data.shell && !facts.noise ? largest(data.shell) : 0;
  part("shells").hidden = most < 1;
  const low = part("shell-low");
  const high = part("shell-high");
  const follow = () => {
    const [a, b] = state.shells ?? [0, most];
    low.value = a;
    high.value = b;
    part("shell-text").textContent = a === b ? `shell ${a}` : `shells ${a} to ${b}`;
  };
  for (const input of [low, high]) {
    input.min = 0;
    input.max = most;
    input.addEventListener("input", () => {
      const a = Math.min(Number(low.value), Number(high.value));
      const b = Math.max(Number(low.value), Number(high.value));
      state.shells = a === 0 && b === most ? null : [a, b];
      part("shell-text").textContent = a === b ? `shell ${a}` : `shells ${a} to ${b}`;
      viewer.filtered();
    });
  }
  follow();
}

/** The bar that tells which colour is which number. */
function drawScale(viewer) {
  const { part, state, facts, data, dark } = viewer;
  const grouped = state.colour === "document" || state.colour in data.classes;
  part("scale").hidden = grouped;
  if (grouped) return;
  const stops = [0, 0.2, 0.4, 0.6, 0.8, 1].map((share) => css(scaleColour(share, dark)));
  part("bar").style.background = `linear-gradient(to right, ${stops.join(", ")})`;
  part("unknown").hidden = true;
  if (state.colour === "shell") {
    part("low").textContent = "0";
    part("high").textContent = String(largest(data.shell));
    return;
  }
  const column = facts.columns[state.colour];
  const { low, high } = column;
  const steps = stepsOf(column);
  const [first, last] = endsOf(data.numbers[state.colour], steps)
    .map((value) => low + ((high - low) * value) / steps);
  part("unknown").hidden = !column.missing;
  part("low").textContent = (first > low ? "≤ " : "") + inWords(column, first);
  part("high").textContent = (last < high ? "≥ " : "") + inWords(column, last);
}
