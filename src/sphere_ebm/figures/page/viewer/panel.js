/** What is written beside the map: the search and its results, and the chosen point. */

import { inWords, nameOf, numberAt, textAround } from "./decode.js";
import { css } from "./colours.js";
import { findDocuments, openSearch } from "./search.js";
import { nearestInEmbedding, nearestOnMap } from "./picking.js";

const AROUND = 350;
const SNIPPET = 36;
const NEAREST = 10;
const WAIT = 180;
/* Per cent of the runs, below which a second place of a point is not drawn either. */
const LEAST_SHARE = 2;

function made(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Bytes of the text of point i: [first, behind the last]. */
function bytesOfDocument(data, i) {
  return textAround(data, i).map((point) => data.text.offset[point]);
}

/** The patch with a little text around it, as an element. */
async function snippet(data, i) {
  const line = made("span", "snippet");
  if (!data.text) {
    line.textContent = await nameOf(data, i);
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
  let answered = "";

  async function run() {
    const mine = ++asked;
    box.value = state.query;
    const { query } = state;
    const found = await search.find(query);
    if (mine !== asked) return;
    state.matches = found.points;
    state.matchCount = found.count;
    firsts = found.firsts;
    answered = query;
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
  box.addEventListener("keydown", async (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    // Enter may come before the search for what was just typed.
    clearTimeout(timer);
    if (answered !== state.query) await run();
    step(event.shiftKey ? -1 : 1);
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
    const place = placeInWords(viewer, i);
    const own = await ownInWords(viewer, i);
    const said = passage?.patch.trim() || await nameOf(data, i);
    if (mine !== asked) return;
    panel.hidden = false;
    part("chosen-document").textContent = viewer.facts.documents[d][0];
    part("chosen-place").textContent = place;
    part("chosen-own").replaceChildren(...own.map((line) => made("li", "", line)));
    writePassage(part("passage"), passage);
    part("near-map").replaceChildren(...lists[0]);
    part("near-embedding").replaceChildren(...lists[1]);
    part("embedding-list").hidden = !data.neighbours;
    const both = viewer.near.map.filter(({ point }) => viewer.near.embedding.includes(point));
    part("shared").textContent = data.neighbours
      ? `${both.length} of ${viewer.near.map.length} are in both lists (⇄)` : "";
    if (quietly) return;
    viewer.say(`Selected in ${viewer.facts.documents[d][0]}: ${said}`);
  }

  return { redraw };
}

function placeInWords(viewer, i) {
  const { data, facts } = viewer;
  const d = data.document[i];
  const count = facts.documents[d][1].toLocaleString("en");
  const first = data.firsts[d];
  // Rows are counted from 0, as data frames count them.
  const words = data.rows.has(d)
    ? [`row ${i - first} of ${count}`]
    : [`patch ${(i - first + 1).toLocaleString("en")} of ${count}`];
  if (!facts.noise) {
    words.push(`radius ${numberAt(data, "radius", i).toFixed(2)}`);
    if (data.shell) words.push(`shell ${data.shell[i]}`);
  }
  for (const [name, column] of Object.entries(facts.columns)) {
    if (name.startsWith("number") && !column.own) {
      words.push(`${column.label} ${inWords(column, numberAt(data, name, i))}`);
    }
  }
  if (data.modes) {
    const shares = [0, 1].map((k) => Math.round((100 * data.modeWeight[2 * i + k]) / 255));
    if (Math.min(...shares) >= LEAST_SHARE) {
      words.push(`two places (■): ${shares[0]} % and ${shares[1]} %`);
    }
  }
  return words.join(" · ");
}

/** What the user's own columns say of a point, a line each. */
async function ownInWords({ data, facts }, i) {
  const lines = [];
  for (const [name, column] of Object.entries(facts.columns)) {
    let said = "";
    if (column.own) said = inWords(column, numberAt(data, name, i));
    else if (data.words[name]) said = (await data.words[name].patch(i)).trim();
    else if (data.classes[name] && !facts.columns[name.replace("class", "words")]) {
      said = column.names[data.classes[name][i]];
    }
    if (said) lines.push(`${column.label}: ${said}`);
  }
  return lines;
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
  const { data, facts, rgb } = viewer;
  const lines = await Promise.all(points.map((i) => snippet(data, i)));
  const names = await Promise.all(points.map((i) => nameOf(data, i)));
  return points.map((i, k) => {
    const row = made("li");
    const button = made("button", "neighbour");
    button.type = "button";
    const swatch = made("span", "swatch");
    swatch.style.background = css(rgb.subarray(3 * i, 3 * i + 3));
    const head = made("span", "from");
    const d = data.document[i];
    const called = data.text && data.rows.has(d) ? ` · ${names[k]}` : "";
    head.append(swatch, facts.documents[d][0] + called);
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
