/**
 * Search over the running text: across patches, not across documents or rows. Bytes are searched,
 * so that text that is no UTF-8 keeps its places: each becomes one character, letters are folded
 * where upper and lower case take equally many bytes, and white space is white space.
 */

const single = new TextDecoder("windows-1252");
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** How many bytes a character takes that begins with this one; 0 where none does. */
function lengthOf(lead) {
  if (lead >= 0xc2 && lead < 0xe0) return 2;
  if (lead >= 0xe0 && lead < 0xf0) return 3;
  return lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
}

/** Bytes with capitals made small, as many as before. */
export function folded(octets) {
  const out = octets.slice();
  const smaller = new Map();
  for (let i = 0; i < out.length; ) {
    const byte = out[i];
    if (byte < 0x80) {
      if (byte >= 65 && byte <= 90) out[i] = byte + 32;
      else if (byte >= 9 && byte <= 13) out[i] = 32;
      i++;
      continue;
    }
    const length = lengthOf(byte);
    let code = length;
    for (let k = 0; k < length; k++) code = code * 256 + (octets[i + k] ?? 0);
    let small = smaller.get(code);
    if (small === undefined) {
      small = length ? smallOf(octets.subarray(i, i + length), length) : null;
      smaller.set(code, small);
    }
    if (small) out.set(small, i);
    i += small === null ? 1 : length;
  }
  return out;
}

/** The bytes of a character in small; undefined bytes are null, what does not change is empty. */
function smallOf(octets, length) {
  let character;
  try {
    character = strict.decode(octets);
  } catch {
    return null;
  }
  if (octets.length !== length) return null;
  // The Greek s at the end of a word is an s.
  const small = encoder.encode(character.toLowerCase().replace("ς", "σ"));
  return small.length === length ? small : octets.slice();
}

/** A pattern that finds the words of a query, however they are spaced; null for none. */
function patternOf(query) {
  const words = query.split(/\s+/).filter(Boolean);
  if (!words.length) return null;
  const coded = words.map((word) =>
    single.decode(folded(encoder.encode(word))).replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"),
  );
  return new RegExp(coded.join(" +"), "g");
}

/** A search of the map's texts. The first one reads and folds all of them. */
export function openSearch(data) {
  let running = null;

  async function fill() {
    running = single.decode(folded(await data.text.whole()));
  }

  /** Where matches begin and end, in bytes, and the points of the patches that they touch. */
  async function find(query) {
    const pattern = patternOf(query);
    const found = { count: 0, points: [], firsts: [] };
    if (!pattern || !data.text) return found;
    if (running === null) await fill();
    const { offset } = data.text;
    let point = 0;
    let marked = -1;
    // One text at a time, so that no match reaches over the border between two.
    for (let text = 0; text < data.borders.length - 1; text++) {
      const from = offset[data.borders[text]];
      const part = running.slice(from, offset[data.borders[text + 1]]);
      pattern.lastIndex = 0;
      for (let match = pattern.exec(part); match; match = pattern.exec(part)) {
        found.count++;
        const begin = from + match.index;
        const end = begin + match[0].length;
        while (offset[point + 1] <= begin) point++;
        found.firsts.push(point);
        for (let p = point; offset[p] < end; p++) {
          if (p > marked && offset[p + 1] > offset[p]) found.points.push((marked = p));
        }
      }
    }
    return found;
  }

  return { find };
}

/** Documents whose name holds the query. */
export function findDocuments(data, query) {
  const small = query.trim().toLowerCase();
  if (!small) return [];
  return data.facts.documents.flatMap(([name], d) =>
    name.toLowerCase().includes(small) ? [d] : [],
  );
}
