/** The choice of colours, the legend, and the filters that it is. */

import { css, documentColours, endsOf, largest, scaleColour } from "./colours.js";
import { inWords } from "./decode.js";

const MOST_LISTED = 300;

function made(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Columns that points can be coloured by: [name, label]. */
export function colourChoices(facts) {
  const choices = [["document", "document"]];
  for (const [name, column] of Object.entries(facts.columns)) {
    if (name === "shell") choices.push([name, "shell"]);
    else if (column.label) choices.push([name, column.label]);
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
    state.changed("points");
    viewer.say(`Coloured by ${choice.selectedOptions[0].textContent}`);
  });
  openShells(viewer);
  part("all").addEventListener("click", () => {
    state.hidden.clear();
    viewer.filtered();
  });
  part("none").addEventListener("click", () => {
    state.hidden = new Set(facts.documents.map((_, d) => d));
    viewer.filtered();
  });
  const boxes = listDocuments(viewer);

  function redraw() {
    choice.value = state.colour;
    const colours = state.colour === "document" ? documentColours(viewer.data, viewer.dark) : null;
    boxes.forEach(({ box, swatch }, d) => {
      box.checked = !state.hidden.has(d);
      swatch.style.background = colours ? css(colours[d]) : "transparent";
      swatch.hidden = !colours;
    });
    drawScale(viewer);
  }

  return { redraw };
}

/** A check box for each document, the largest first where there are many. */
function listDocuments(viewer) {
  const { part, state, facts } = viewer;
  const boxes = new Map();
  let order = facts.documents.map((_, d) => d);
  if (order.length > MOST_LISTED) {
    order.sort((a, b) => facts.documents[b][1] - facts.documents[a][1]);
    order = order.slice(0, MOST_LISTED);
    const rest = facts.documents.length - MOST_LISTED;
    part("more").textContent = `and ${rest.toLocaleString("en")} smaller ones`;
  }
  const list = part("documents");
  for (const d of order) {
    const [name, count] = facts.documents[d];
    const label = made("label", "document");
    const box = made("input");
    box.type = "checkbox";
    const swatch = made("span", "swatch");
    const only = made("button", "only", "only");
    only.type = "button";
    only.setAttribute("aria-label", `show only ${name}`);
    label.append(box, swatch, made("span", "title", name));
    label.title = name;
    const row = made("li");
    row.append(label, made("span", "count", count.toLocaleString("en")), only);
    list.append(row);
    box.addEventListener("change", () => {
      if (box.checked) state.hidden.delete(d);
      else state.hidden.add(d);
      viewer.filtered();
    });
    only.addEventListener("click", () => {
      state.hidden = new Set(facts.documents.keys());
      state.hidden.delete(d);
      viewer.filtered();
    });
    boxes.set(d, { box, swatch });
  }
  part("choices").hidden = facts.documents.length < 2;
  return boxes;
}

function openShells(viewer) {
  const { part, state, data } = viewer;
  const most = data.shell ? largest(data.shell) : 0;
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
  part("scale").hidden = state.colour === "document";
  if (state.colour === "document") return;
  const stops = [0, 0.2, 0.4, 0.6, 0.8, 1].map((share) => css(scaleColour(share, dark)));
  part("bar").style.background = `linear-gradient(to right, ${stops.join(", ")})`;
  if (state.colour === "shell") {
    part("low").textContent = "0";
    part("high").textContent = String(largest(data.shell));
    return;
  }
  const column = facts.columns[state.colour];
  const { low, high } = column;
  const [first, last] = endsOf(data.numbers[state.colour], 65535)
    .map((value) => low + ((high - low) * value) / 65535);
  part("low").textContent = (first > low ? "≤ " : "") + inWords(column, first);
  part("high").textContent = (last < high ? "≥ " : "") + inWords(column, last);
}
