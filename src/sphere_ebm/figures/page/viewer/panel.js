/** What is written beside the map: the search and its results, and the chosen point. */

import { inWords, numberAt } from "./decode.js";
import { css, documentColours } from "./colours.js";
import { findDocuments, openSearch } from "./search.js";
import { nearestInEmbedding, nearestOnMap } from "./picking.js";

const AROUND = 350;
const SNIPPET = 36;
const NEAREST = 10;
const WAIT = 180;

function made(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Bytes of the document of point i: [first, behind the last]. */
function bytesOfDocument({ text, firsts, document }, i) {
  return [text.offset[firsts[document[i]]], text.offset[firsts[document[i] + 1]]];
}

/** The patch with a little text around it, as an element. */
async function snippet(data, i) {
  const line = made("span", "snippet");
  if (!data.text) {
    line.textContent = `point ${i - data.firsts[data.document[i]] + 1}`;
    return line;
  }
  const passage = await data.text.passage(i, SNIPPET, ...bytesOfDocument(data, i));
  // Whole words alone, but for those that the patch itself cuts.
  const before = passage.begins ? passage.before : passage.before.replace(/^\S*\s/, "… ");
  const after = passage.ends ? passage.after : passage.after.replace(/\s\S*$/, " …");
  line.append(before, made("mark", "", passage.patch), after);
  return line;
}

/** The search box. `run()` searches for what the state asks for. */
export function openSearchBox(viewer) {
  const { part, state, data } = viewer;
  const box = part("search");
  const search = openSearch(data);
  let timer = 0;
  let asked = 0;
  let firsts = [];
  let at = -1;

  async function run() {
    const mine = ++asked;
    box.value = state.query;
    const found = await search.find(state.query);
    if (mine !== asked) return;
    state.matches = found.points;
    state.matchCount = found.count;
    firsts = found.firsts;
    at = -1;
    report(viewer, found);
    state.changed("marks");
  }

  function step(by) {
    const shown = firsts.filter((i, k) => viewer.isShown(i) && i !== firsts[k - 1]);
    if (!shown.length) return;
    at = (at + by + shown.length) % shown.length;
    if (at < 0) at = shown.length - 1;
    viewer.select(shown[at], true);
    viewer.say(`Match ${at + 1} of ${shown.length}`);
  }

  box.addEventListener("input", () => {
    state.query = box.value;
    clearTimeout(timer);
    timer = setTimeout(run, WAIT);
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      step(event.shiftKey ? -1 : 1);
    }
  });
  part("previous-match").addEventListener("click", () => step(-1));
  part("next-match").addEventListener("click", () => step(1));
  return { run, step };
}

function report(viewer, found) {
  const { part, state, facts } = viewer;
  const named = findDocuments(viewer.data, state.query);
  part("results").hidden = !state.query.trim();
  const places = new Set(found.points.map((i) => viewer.data.document[i])).size;
  const matches = found.count === 1 ? "1 match" : `${found.count.toLocaleString("en")} matches`;
  const where = places === 1 ? "1 document" : `${places} documents`;
  part("count").textContent = found.count ? `${matches} in ${where}` : "no match in the texts";
  part("steps").hidden = !found.count;
  const list = part("named");
  list.replaceChildren();
  for (const d of named.slice(0, 8)) {
    const row = made("li");
    const button = made("button", "plain", `show only “${facts.documents[d][0]}”`);
    button.type = "button";
    button.addEventListener("click", () => {
      state.hidden = new Set(facts.documents.keys());
      state.hidden.delete(d);
      viewer.filtered();
    });
    row.append(button);
    list.append(row);
  }
  if (state.query.trim()) viewer.say(part("count").textContent);
}

/** The chosen point. `redraw()` follows the state. */
export function openSelection(viewer) {
  const { part, state, data } = viewer;
  let asked = 0;
  part("close").addEventListener("click", () => viewer.select(-1));
  part("previous").addEventListener("click", () => viewer.walk(-1));
  part("next").addEventListener("click", () => viewer.walk(1));

  async function redraw(quietly = false) {
    const mine = ++asked;
    const i = state.selected;
    const panel = part("chosen");
    if (i < 0) {
      panel.hidden = true;
      return;
    }
    viewer.near = {
      map: nearestOnMap(viewer, i, NEAREST),
      embedding: nearestInEmbedding(viewer, i),
    };
    const d = data.document[i];
    const passage = data.text
      ? await data.text.passage(i, AROUND, ...bytesOfDocument(data, i))
      : null;
    const lists = await Promise.all([
      neighbourRows(viewer, viewer.near.map.map(({ point }) => point), viewer.near.embedding),
      neighbourRows(viewer, viewer.near.embedding, viewer.near.map.map(({ point }) => point)),
    ]);
    if (mine !== asked) return;
    panel.hidden = false;
    part("chosen-document").textContent = viewer.facts.documents[d][0];
    part("chosen-place").textContent = placeInWords(viewer, i);
    writePassage(part("passage"), passage);
    part("near-map").replaceChildren(...lists[0]);
    part("near-embedding").replaceChildren(...lists[1]);
    part("embedding-list").hidden = !data.neighbours;
    const both = viewer.near.map.filter(({ point }) => viewer.near.embedding.includes(point));
    part("shared").textContent = data.neighbours
      ? `${both.length} of ${viewer.near.map.length} are in both lists (⇄)` : "";
    if (quietly) return;
    const said = passage ? passage.patch.trim() : `point ${i + 1}`;
    viewer.say(`Selected in ${viewer.facts.documents[d][0]}: ${said}`);
  }

  return { redraw };
}

function placeInWords(viewer, i) {
  const { data, facts } = viewer;
  const first = data.firsts[data.document[i]];
  const count = facts.documents[data.document[i]][1];
  const words = [`patch ${(i - first + 1).toLocaleString("en")} of ${count.toLocaleString("en")}`];
  words.push(`radius ${numberAt(data, "radius", i).toFixed(2)}`);
  if (data.shell) words.push(`shell ${data.shell[i]}`);
  for (const [name, column] of Object.entries(facts.columns)) {
    if (name.startsWith("number")) {
      words.push(`${column.label} ${inWords(column, numberAt(data, name, i))}`);
    }
  }
  return words.join(" · ");
}

function writePassage(element, passage) {
  element.replaceChildren();
  element.hidden = !passage;
  if (!passage) return;
  const mark = made("mark", "", passage.patch);
  element.append(passage.begins ? "" : "… ", passage.before, mark, passage.after,
    passage.ends ? "" : " …");
  element.scrollTop = mark.offsetTop - element.offsetTop - element.clientHeight / 3;
}

async function neighbourRows(viewer, points, others) {
  const { data, facts } = viewer;
  const colours = documentColours(data, viewer.dark);
  const lines = await Promise.all(points.map((i) => snippet(data, i)));
  return points.map((i, k) => {
    const row = made("li");
    const button = made("button", "neighbour");
    button.type = "button";
    const swatch = made("span", "swatch");
    swatch.style.background = css(colours[data.document[i]]);
    const head = made("span", "from");
    head.append(swatch, facts.documents[data.document[i]][0]);
    if (others.includes(i)) {
      const both = made("span", "both", "⇄");
      both.setAttribute("aria-label", "in both lists");
      head.append(both);
    }
    if (!viewer.isShown(i)) head.append(made("span", "away", "filtered out"));
    button.append(head, lines[k]);
    button.addEventListener("click", () => viewer.select(i, true));
    row.append(button);
    return row;
  });
}
