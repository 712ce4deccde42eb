/** Points and ground on WebGL 2. */

import { eachSpan } from "./levels.js";
import { GROUND_SIDE, groundPicture } from "./ground.js";

const VIEW_NUMBER = { globe: 0, flat: 1, ball: 2 };

const POINT_SHADER = `#version 300 es
precision highp float;
precision highp int;
layout(location = 0) in vec4 place;
layout(location = 1) in vec4 colour;
uniform highp mat3 turn;
uniform highp vec4 window;
uniform highp int view;
uniform highp float size;
out vec4 tint;
void main() {
  vec3 eye = turn * place.xyz;
  vec2 at = eye.xy;
  float alpha = colour.a;
  float depth = 0.0;
  float large = size;
  if (view == 1) {
    float half_longitude = atan(eye.x, eye.z) / 2.0;
    float cosine = sqrt(max(0.0, 1.0 - eye.y * eye.y));
    float stretch = sqrt(2.0 / (1.0 + cosine * cos(half_longitude)));
    at = stretch * vec2(2.0 * cosine * sin(half_longitude), eye.y);
  } else if (view == 2) {
    at *= place.w;
    depth = -eye.z * place.w;
    // What is far is paler and smaller.
    alpha *= 0.28 + 0.72 * smoothstep(-1.0, 0.9, -depth);
    large *= 1.0 - 0.25 * depth;
  } else if (eye.z < 0.0) {
    alpha = 0.0;
  }
  tint = vec4(colour.rgb, alpha);
  gl_PointSize = large;
  gl_Position = alpha > 0.0 ? vec4(at * window.xy + window.zw, depth * 0.5, 1.0)
    : vec4(2.0, 2.0, 2.0, 1.0);
}`;

const DISC_SHADER = `#version 300 es
precision highp float;
in vec4 tint;
uniform highp float size;
uniform highp int view;
out vec4 shown;
void main() {
  float away = length(gl_PointCoord - 0.5) * 2.0;
  float inside = 1.0 - smoothstep(1.0 - 2.0 / max(size, 2.0), 1.0, away);
  // The ball's discs hide what is behind them, so that theirs have hard rims.
  if (inside <= (view == 2 ? 0.5 : 0.0)) discard;
  inside = view == 2 ? 1.0 : inside;
  float alpha = tint.a * inside;
  shown = vec4(tint.rgb * alpha, alpha);
}`;

const SCREEN_SHADER = `#version 300 es
precision highp float;
out vec2 corner;
void main() {
  corner = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
  gl_Position = vec4(corner, 0.0, 1.0);
}`;

const GROUND_SHADER = `#version 300 es
precision highp float;
precision highp int;
in vec2 corner;
uniform highp mat3 turn;
uniform highp vec4 window;
uniform highp int view;
uniform sampler2D ground;
out vec4 shown;
void main() {
  vec2 at = (corner - window.zw) / window.xy;
  vec3 eye;
  if (view == 1) {
    if (at.x * at.x / 8.0 + at.y * at.y / 2.0 > 1.0) discard;
    float z = sqrt(1.0 - at.x * at.x / 16.0 - at.y * at.y / 4.0);
    float longitude = 2.0 * atan(z * at.x, 2.0 * (2.0 * z * z - 1.0));
    float cosine = sqrt(max(0.0, 1.0 - z * at.y * z * at.y));
    eye = vec3(cosine * sin(longitude), z * at.y, cosine * cos(longitude));
  } else {
    float rest = 1.0 - dot(at, at);
    if (rest < 0.0) discard;
    eye = vec3(at, sqrt(rest));
  }
  vec3 world = eye * turn;
  vec3 side = abs(world);
  float reach = sqrt(max(0.0, 1.0 - side.z));
  float larger = max(side.x, side.y);
  float less = reach * atan(min(side.x, side.y), max(larger, 1e-9)) * 0.6366197723675814;
  vec2 place = side.x >= side.y ? vec2(reach - less, less) : vec2(less, reach - less);
  if (world.z < 0.0) place = 1.0 - place.yx;
  if (world.x < 0.0) place.x = -place.x;
  if (world.y < 0.0) place.y = -place.y;
  vec4 mean = texture(ground, (place + 1.0) * 0.5);
  shown = vec4(mean.rgb * mean.a, mean.a);
}`;

function program(gl, vertex, fragment) {
  const made = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
  const uniforms = {};
  for (const name of ["turn", "window", "view", "size", "ground"]) {
    uniforms[name] = gl.getUniformLocation(made, name);
  }
  return { made, uniforms };
}

/** Points in the order of slots, or as listed, on the graphics processor. */
function pointBuffer(gl) {
  const array = gl.createVertexArray();
  const place = gl.createBuffer();
  const colour = gl.createBuffer();
  gl.bindVertexArray(array);
  gl.bindBuffer(gl.ARRAY_BUFFER, place);
  gl.enableVertexAttribArray(0);
  gl.vertexAttribPointer(0, 4, gl.FLOAT, false, 0, 0);
  gl.bindBuffer(gl.ARRAY_BUFFER, colour);
  gl.enableVertexAttribArray(1);
  gl.vertexAttribPointer(1, 4, gl.UNSIGNED_BYTE, true, 0, 0);
  return {
    array,
    count: 0,
    fill(points, data, rgb, alpha) {
      this.count = points.length;
      gl.bindBuffer(gl.ARRAY_BUFFER, place);
      gl.bufferData(gl.ARRAY_BUFFER, placesOf(points, data), gl.STATIC_DRAW);
      this.tint(points, rgb, alpha);
    },
    tint(points, rgb, alpha) {
      const tints = new Uint8Array(4 * points.length);
      points.forEach((i, slot) => {
        tints[4 * slot] = rgb[3 * i];
        tints[4 * slot + 1] = rgb[3 * i + 1];
        tints[4 * slot + 2] = rgb[3 * i + 2];
        tints[4 * slot + 3] = alpha;
      });
      gl.bindBuffer(gl.ARRAY_BUFFER, colour);
      gl.bufferData(gl.ARRAY_BUFFER, tints, gl.STATIC_DRAW);
    },
  };
}

function placesOf(points, { direction, reach }) {
  const places = new Float32Array(4 * points.length);
  points.forEach((i, slot) => {
    places[4 * slot] = direction[3 * i];
    places[4 * slot + 1] = direction[3 * i + 1];
    places[4 * slot + 2] = direction[3 * i + 2];
    places[4 * slot + 3] = reach[i];
  });
  return places;
}

/** What draws on a canvas with WebGL 2; null where there is none. */
export function openGraphics(canvas) {
  const gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true });
  if (!gl) return null;
  const points = program(gl, POINT_SHADER, DISC_SHADER);
  const screen = program(gl, SCREEN_SHADER, GROUND_SHADER);
  const all = pointBuffer(gl);
  const found = pointBuffer(gl);
  const listed = pointBuffer(gl);
  const empty = gl.createVertexArray();
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) {
    gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
  }
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  let ground = null;
  let opacity = 235;

  function prepare({ made, uniforms }, frame, turn, size) {
    gl.useProgram(made);
    gl.uniformMatrix3fv(uniforms.turn, true, turn);
    const wide = (2 * frame.scale) / frame.width;
    const high = (2 * frame.scale) / frame.height;
    const x = (2 * frame.x) / frame.width - 1;
    const y = 1 - (2 * frame.y) / frame.height;
    gl.uniform4f(uniforms.window, wide, high, x, y);
    gl.uniform1i(uniforms.view, VIEW_NUMBER[frame.view]);
    if (uniforms.size) gl.uniform1f(uniforms.size, size * frame.ratio);
  }

  return {
    kind: "WebGL 2",
    /** Takes the shown points; the ground is made when it is first needed. */
    take(levels, data, rgb) {
      all.fill(levels.point, data, rgb, opacity);
      ground = () => groundPicture(levels, data.key, rgb);
    },
    /** Takes the points that are drawn over all others. */
    mark(list, data, rgb) {
      found.fill(list, data, rgb, 255);
    },
    /** Makes the others faint while a search stands out. */
    dim(levels, rgb, faint) {
      const now = faint ? 60 : 235;
      if (now !== opacity) all.tint(levels.point, rgb, now);
      opacity = now;
    },
    draw({ frame, turn, levels, ranges, level, size, withGround, list, data, rgb }) {
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      if (withGround) {
        gl.bindTexture(gl.TEXTURE_2D, texture);
        if (ground) {
          const side = GROUND_SIDE;
          gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, side, side, 0, gl.RGBA, gl.UNSIGNED_BYTE,
            ground());
          ground = null;
        }
        prepare(screen, frame, turn, size);
        gl.bindVertexArray(empty);
        gl.drawArrays(gl.TRIANGLES, 0, 3);
      }
      if (frame.view === "ball") gl.enable(gl.DEPTH_TEST);
      prepare(points, frame, turn, size);
      if (list) {
        listed.fill(list, data, rgb, opacity);
        gl.bindVertexArray(listed.array);
        gl.drawArrays(gl.POINTS, 0, list.length);
      } else {
        gl.bindVertexArray(all.array);
        eachSpan(levels, ranges, level, (first, count) => gl.drawArrays(gl.POINTS, first, count));
      }
      gl.disable(gl.DEPTH_TEST);
      if (found.count) {
        prepare(points, frame, turn, size * 1.25 + 2);
        gl.bindVertexArray(found.array);
        gl.drawArrays(gl.POINTS, 0, found.count);
      }
    },
  };
}
