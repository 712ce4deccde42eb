/** Colours of points: by document, by a class, or by a number. */

import { stepsOf } from "./decode.js";

/* Paul Tol's "muted" scheme, safe for the common kinds of colour blindness; lighter for dark. */
const TOL_LIGHT = [
  "#332288", "#CC6677", "#117733", "#DDAA33", "#88CCEE",
  "#882255", "#44AA99", "#999933", "#AA4499", "#4D4D4D",
];
const TOL_DARK = [
  "#8F86E0", "#E8909E", "#4FB871", "#EBC262", "#9BD7F2",
  "#D4729F", "#62C9B7", "#C2C25E", "#D381CB", "#B9B9B9",
];
/* Viridis, without its palest end. */
const VIRIDIS = [
  [68, 1, 84], [72, 36, 117], [65, 68, 135], [53, 95, 141], [42, 120, 142],
  [33, 145, 140], [34, 168, 132], [68, 191, 112], [122, 209, 81], [189, 223, 38],
];
const VIRIDIS_DARK_START = 2;
const CUT = 0.02;
/* So many groups are told apart by three degrees of lightness, too. */
const FEW = 60;
/* Points without a number. */
const NONE = { light: [176, 172, 166], dark: [92, 98, 104] };

function rgbOf(hex) {
  return [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
}

/** RGB of lightness, chroma and hue (radians) in OKLCH (Ottosson 2020). */
export function oklch(lightness, chroma, hue) {
  const a = chroma * Math.cos(hue);
  const b = chroma * Math.sin(hue);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  return linear.map((c) => {
    const v = Math.min(1, Math.max(0, c));
    return Math.round(255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055));
  });
}

/** A colour for each document. */
export function documentColours(data, dark) {
  return groupColours(data, data.document, data.facts.documents.length, dark);
}

/** A colour for each class of a column of words. */
export function classColours(data, name, dark) {
  return groupColours(data, data.classes[name], data.facts.columns[name].names.length, dark);
}

/** A colour for each group of points: of a scheme up to ten, beyond by where it lies around. */
function groupColours(data, group, count, dark) {
  if (count <= TOL_LIGHT.length) return (dark ? TOL_DARK : TOL_LIGHT).slice(0, count).map(rgbOf);
  const sums = new Float64Array(3 * count);
  for (let i = 0; i < data.n; i++) {
    for (let k = 0; k < 3; k++) sums[3 * group[i] + k] += data.direction[3 * i + k];
  }
  const azimuths = Array.from(
    { length: count }, (_, d) => Math.atan2(sums[3 * d + 1], sums[3 * d]));
  const order = azimuths.map((_, d) => d).sort((a, b) => azimuths[a] - azimuths[b]);
  const colours = [];
  // Hues in equal steps, since groups that lie all over the map have almost one direction.
  order.forEach((d, rank) => {
    const [x, y, z] = sums.subarray(3 * d, 3 * d + 3);
    const height = count > FEW ? z / (Math.hypot(x, y, z) || 1) : (rank % 3) - 1;
    colours[d] = oklch((dark ? 0.74 : 0.6) + 0.09 * height, 0.13, (2 * Math.PI * rank) / count);
  });
  return colours;
}

/** The colour at a share of [0, 1] of a scale of numbers. */
export function scaleColour(share, dark) {
  const low = dark ? VIRIDIS_DARK_START : 0;
  const high = VIRIDIS.length - (dark ? 1 : 2);
  const at = low + share * (high - low);
  const k = Math.min(high - 1, Math.floor(at));
  return VIRIDIS[k].map((c, j) => Math.round(c + (at - k) * (VIRIDIS[k + 1][j] - c)));
}

/**
 * The ends of the scale of a column: least and largest stored value but for a fiftieth of the
 * points on either side, so that a few far ones do not take all colours. Values beyond `most` are
 * those of points that have none.
 */
export function endsOf(values, most) {
  const counts = new Uint32Array(65536);
  for (const value of values) counts[value]++;
  let known = 0;
  for (let value = 0; value <= most; value++) known += counts[value];
  const few = known * CUT;
  let low = 0;
  let high = most;
  for (let below = counts[0]; below <= few && low < most; below += counts[low]) low++;
  for (let above = counts[most]; above <= few && high > low; above += counts[high]) high--;
  return high > low ? [low, high] : [0, most];
}

/**
 * Values of the chosen column as shares of [0, 1], -1 for a point without one; null when points are
 * coloured by document or class.
 */
function shareOf(data, colour) {
  const values = colour === "shell" ? data.shell : data.numbers[colour];
  if (!values) return null;
  const shell = colour === "shell";
  const most = shell ? Math.max(1, largest(values)) : stepsOf(data.facts.columns[colour]);
  const [low, high] = shell ? [0, most] : endsOf(values, most);
  const within = (value) => Math.min(1, Math.max(0, (value - low) / (high - low)));
  return (i) => (values[i] > most ? -1 : within(values[i]));
}

export function largest(values) {
  return values.reduce((a, b) => Math.max(a, b), 0);
}

/** RGB bytes (3 n) of all points. */
export function pointColours(data, colour, dark) {
  const out = new Uint8Array(3 * data.n);
  const share = shareOf(data, colour);
  const table = share ? Array.from({ length: 256 }, (_, k) => scaleColour(k / 255, dark))
    : data.classes[colour] ? classColours(data, colour, dark) : documentColours(data, dark);
  const group = data.classes[colour] ?? data.document;
  if (share) table.push(dark ? NONE.dark : NONE.light);
  const placeOf = (value) => (value < 0 ? 256 : Math.round(255 * value));
  for (let i = 0; i < data.n; i++) {
    const rgb = table[share ? placeOf(share(i)) : group[i]];
    out[3 * i] = rgb[0];
    out[3 * i + 1] = rgb[1];
    out[3 * i + 2] = rgb[2];
  }
  return out;
}

export function css([r, g, b]) {
  return `rgb(${r} ${g} ${b})`;
}
