/** The columns of the page, unpacked: where points lie, their documents, numbers and texts. */

import { directionOfKey } from "./sphere.js";

function octetsOf(coded) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(coded);
  const raw = atob(coded);
  const octets = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) octets[i] = raw.charCodeAt(i);
  return octets;
}

async function unpacked(octets) {
  const stream = new Blob([octets]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Integers whose bytes of one place were put together. */
function fromPlanes(octets, { bytes, values }) {
  const Kind = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[bytes];
  const out = new Kind(values);
  for (let place = 0; place < bytes; place++) {
    const start = place * values;
    const shift = 8 * place;
    for (let i = 0; i < values; i++) out[i] |= octets[start + i] << shift;
  }
  return out;
}

/** The columns that lie in the document as blocks; each block is emptied once it is read. */
export function columnsOfDocument(root) {
  const found = new Map();
  for (const block of root.querySelectorAll("script[data-column]")) {
    found.set(block.dataset.column, octetsOf(block.textContent));
    block.textContent = "";
  }
  return found;
}

/**
 * Unpacks a map.
 * @param {object} facts of the page
 * @param {Map<string, Uint8Array>} packed its columns
 */
export async function openData(facts, packed) {
  const columns = facts.columns;
  const read = async (name) =>
    columns[name] ? fromPlanes(await unpacked(packed.get(name)), columns[name]) : null;
  const key = await read("key");
  const n = facts.points;
  const direction = new Float32Array(3 * n);
  for (let i = 0; i < n; i++) directionOfKey(key[i], direction, 3 * i);
  const numbers = {};
  const classes = {};
  const words = {};
  for (const name of Object.keys(columns)) {
    if (name === "radius" || name.startsWith("number")) numbers[name] = await read(name);
    else if (/^class\d+$/.test(name)) classes[name] = await read(name);
    else if (/^words\d+$/.test(name)) {
      words[name] = openText(columns[name], packed.get(name), await read(`${name}_length`));
    }
  }
  const data = {
    facts,
    n,
    key,
    direction,
    numbers,
    classes,
    words,
    shell: await read("shell"),
    neighbours: await read("neighbours"),
    modes: await read("modes"),
    modeWeight: await read("mode_weight"),
    document: documentsOf(facts, n),
    firsts: firstsOf(facts),
    text: columns.text ? openText(columns.text, packed.get("text"), await read("length")) : null,
  };
  data.rows = new Set(facts.rows ?? []);
  data.borders = bordersOf(data);
  data.reach = reachesOf(data);
  return data;
}

function firstsOf(facts) {
  const firsts = new Uint32Array(facts.documents.length + 1);
  facts.documents.forEach(([, count], d) => { firsts[d + 1] = firsts[d] + count; });
  return firsts;
}

/** Where texts begin that are read by themselves: documents, or rows of a table. */
function bordersOf({ facts, firsts, n, rows }) {
  if (!rows.size) return firsts;
  const borders = [];
  facts.documents.forEach(([, count], d) => {
    for (let i = 0; i < (rows.has(d) ? count : 1); i++) borders.push(firsts[d] + i);
  });
  return Uint32Array.from([...borders, n]);
}

/** The points of the text that point i belongs to: [first, behind the last]. */
export function textAround({ document, firsts, rows }, i) {
  const d = document[i];
  return rows.has(d) ? [i, i + 1] : [firsts[d], firsts[d + 1]];
}

/** What point i is called where it has no text: its own name, or its number in its document. */
export async function nameOf(data, i) {
  const d = data.document[i];
  const own = data.facts.ids ? (await data.words[data.facts.ids].patch(i)).trim() : "";
  if (own) return own;
  return data.rows.has(d) ? `row ${i - data.firsts[d]}` : `point ${i - data.firsts[d] + 1}`;
}

function documentsOf(facts, n) {
  const document = new Uint32Array(n);
  let first = 0;
  facts.documents.forEach(([, count], d) => {
    document.fill(d, first, first + count);
    first += count;
  });
  return document;
}

/** Radii as shares of the largest, as the ball shows them. */
function reachesOf({ facts, numbers, n }) {
  const { low, high } = facts.columns.radius;
  const out = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    out[i] = high > 0 ? (low + ((high - low) * numbers.radius[i]) / 65535) / high : 1;
  }
  return out;
}

/** The highest code that stands for a number; beyond it is the code of points without one. */
export function stepsOf(column) {
  return column.missing ? 65534 : 65535;
}

/** The number of a column at a point, in its own unit; NaN where the point has none. */
export function numberAt(data, name, i) {
  const column = data.facts.columns[name];
  const code = data.numbers[name][i];
  const steps = stepsOf(column);
  return code > steps ? NaN : column.low + ((column.high - column.low) * code) / steps;
}

/** A number of a column in words: angles, which are stored in radians, in degrees. */
export function inWords(column, value) {
  if (Number.isNaN(value)) return "unknown";
  if (column.own) return String(Number(value.toPrecision(6)));
  if (column.label === "spread") return `${Number(((value * 180) / Math.PI).toPrecision(3))}°`;
  return String(Number(value.toPrecision(3)));
}

/** The bytes of all patches, in chunks that are unpacked when they are read. */
function openText({ bytes, chunk, sizes }, packed, length) {
  const offset = new Uint32Array(length.length + 1);
  for (let i = 0; i < length.length; i++) offset[i + 1] = offset[i] + length[i];
  const all = new Uint8Array(bytes);
  const begins = [0];
  for (const size of sizes) begins.push(begins[begins.length - 1] + size);
  const chunks = new Array(sizes.length).fill(null);
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  function chunkRead(c) {
    chunks[c] ??= unpacked(packed.subarray(begins[c], begins[c + 1])).then((octets) => {
      all.set(octets, c * chunk);
    });
    return chunks[c];
  }

  async function need(begin, end) {
    const waiting = [];
    for (let c = Math.floor(begin / chunk); c * chunk < end; c++) waiting.push(chunkRead(c));
    await Promise.all(waiting);
  }

  return {
    offset,
    /** All bytes, once every chunk has been read. */
    async whole() {
      await need(0, bytes);
      return all;
    },
    /** What patch i says, decoded by itself. */
    async patch(i) {
      await need(offset[i], offset[i + 1]);
      return decoder.decode(all.subarray(offset[i], offset[i + 1]));
    },
    /** The patch with up to `around` bytes before and after it, between `from` and `to`. */
    async passage(i, around, from, to) {
      let begin = Math.max(from, offset[i] - around);
      let end = Math.min(to, offset[i + 1] + around);
      await need(begin, end);
      // Begin and end at whole characters.
      while (begin > from && begin < offset[i] && (all[begin] & 0xc0) === 0x80) begin++;
      while (end < to && end > offset[i + 1] && (all[end] & 0xc0) === 0x80) end--;
      const part = (a, b) => decoder.decode(all.subarray(a, b));
      return {
        before: part(begin, offset[i]),
        patch: part(offset[i], offset[i + 1]),
        after: part(offset[i + 1], end),
        begins: begin === from,
        ends: end === to,
      };
    },
  };
}
