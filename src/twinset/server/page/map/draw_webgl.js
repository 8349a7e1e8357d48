// All points in one call, on WebGL2. No library: the usual one compiles its drawing by `new Function`, which
// this page's security policy forbids, and would leave a browser without WebGL2 with nothing.

const VERTEX = `#version 300 es
in vec2 from; in vec2 to; in vec4 colour;
uniform vec2 middle; uniform vec2 scale; uniform float size; uniform float moved;
out vec4 ink;
void main() {
  vec2 at = (mix(from, to, moved) - middle) * scale;
  // what is hidden goes where nothing is drawn
  gl_Position = vec4(colour.a > 0.0 ? at : vec2(2.0), 0.0, 1.0);
  gl_PointSize = size;
  ink = vec4(colour.rgb * colour.a, colour.a);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec4 ink; out vec4 pixel; uniform float size;
void main() {
  float off = length(gl_PointCoord - 0.5) * size;
  float cover = clamp(0.5 * size - off, 0.0, 1.0); // a rim of one pixel
  if (cover <= 0.0) discard;
  pixel = ink * cover;
}`;

/** @returns a renderer, or null where the browser has no WebGL2, or only one without a graphics card unless `slow` may
 *   be: the processor draws a canvas sooner than it plays a card */
export function onWebgl(canvas, onLost, slow) {
  const asked = { antialias: false, alpha: true, premultipliedAlpha: true, failIfMajorPerformanceCaveat: !slow };
  const gl = canvas.getContext("webgl2", asked);
  // not every browser says so by refusing
  const named = gl?.getExtension("WEBGL_debug_renderer_info")?.UNMASKED_RENDERER_WEBGL;
  if (!slow && named && /swiftshader|llvmpipe|software|basic render/i.test(gl.getParameter(named))) return null;
  if (!gl) return null;
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
  gl.useProgram(program);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  const uniform = (name) => gl.getUniformLocation(program, name);
  const places = Object.fromEntries(["middle", "scale", "size", "moved"].map((name) => [name, uniform(name)]));
  const buffers = {};
  const load = (name, values, parts, type, normal) => {
    buffers[name] ??= gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    const at = gl.getAttribLocation(program, name);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, parts, type, normal, 0, 0);
  };
  const biggest = gl.getParameter(gl.ALIASED_POINT_SIZE_RANGE)[1];
  let n = 0;
  canvas.addEventListener("webglcontextlost", (event) => (event.preventDefault(), onLost()));
  return {
    kind: "webgl2",
    points(from, to) {
      load("from", from, 2, gl.FLOAT, false);
      load("to", to, 2, gl.FLOAT, false);
      n = to.length / 2;
    },
    colours: (rgba) => load("colour", rgba, 4, gl.UNSIGNED_BYTE, true),
    /** `scale` is pixels for 1, `size` the diameter in pixels, `moved` how far from → to. */
    draw({ x, y, scale, size, moved }) {
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.uniform2f(places.middle, x, y);
      gl.uniform2f(places.scale, (2 * scale) / canvas.width, (2 * scale) / canvas.height);
      gl.uniform1f(places.size, Math.min(size, biggest));
      gl.uniform1f(places.moved, moved);
      gl.drawArrays(gl.POINTS, 0, n);
    },
    // browsers allow a page some sixteen contexts, and take the oldest away
    free: () => gl.getExtension("WEBGL_lose_context")?.loseContext(),
  };
}
