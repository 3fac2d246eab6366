// Images as the model takes them: Pillow's antialiased resize, then the centre, pixel for pixel. A browser's own resize
// skips most pixels of a large photo, and answers change with it.
// S = side that the model takes; rows of pixels are RGB, 3 bytes each.

const BITS = 22; // of a weight's fraction, as Pillow has it
// By `resample` of preprocessor_config.json: how far a filter reaches, and its curve.
const FILTERS = { 2: [1, bilinear], 3: [2, bicubic] };

// How `preprocessor_config.json` and `export.json` of a model's folder say that an image becomes a square.
export function recipe(processor, facts) {
  if (!FILTERS[processor.resample]) throw new Error(`resample ${processor.resample} is not known; 2 or 3 is.`);
  return {
    side: facts.image.shape[2],
    resample: processor.resample,
    squash: !processor.do_center_crop,
    floors: facts.image.crop === "transformers",
  };
}

// (H, W, 4) bytes to (S, S, 3).
export function square(rgba, width, height, { side, resample, squash, floors }) {
  const long = Math.floor((side * Math.max(width, height)) / Math.min(width, height));
  const [wide, high] = squash ? [side, side] : width > height ? [long, side] : [side, long];
  const across = weights(width, wide, spare(wide - side, floors), side, FILTERS[resample]);
  const down = weights(height, high, spare(high - side, floors), side, FILTERS[resample]);
  // Between the two passes bytes are rounded and cut off, so that their order matters. Pillow goes across first, but
  // where much more height than width is lost.
  const isDownFirst = height - high > Math.max(0, 2 * (width - wide));
  if (isDownFirst) {
    const strip = passDown(rgba, width, 4, down);
    return passAcross(strip, width, 3, 0, side, across);
  }
  const first = down[0].first;
  const strip = passAcross(rgba, width, 4, first, down[side - 1].end, across);
  return passDown(strip, side, 3, down.map((each) => ({ ...each, first: each.first - first })));
}

// What lies before the centre: of an odd number of pixels that are too many, programs cut different halves off.
function spare(pixels, floors) {
  const half = Math.floor(pixels / 2);
  return pixels % 2 && !floors && half % 2 ? half + 1 : half; // Python rounds halves to even
}

// For `count` pixels from `start` of a side resized from `size` to `resized`: the pixels that each is made of.
function weights(size, resized, start, count, [reach, curve]) {
  const scale = size / resized, wide = Math.max(scale, 1), support = reach * wide;
  return Array.from({ length: count }, (_, index) => {
    const centre = (start + index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(size, Math.trunc(centre + support + 0.5));
    const parts = Float64Array.from({ length: end - first }, (_, at) => curve((at + first - centre + 0.5) * (1 / wide)));
    const sum = parts.reduce((total, part) => total + part, 0);
    return { first, end, parts: Int32Array.from(parts, (part) => rounded((part / sum) * (1 << BITS))) };
  });
}

// Rows from `top` to `bottom` of a picture of any width to (rows, count, 3); a pixel has `stride` bytes.
function passAcross(bytes, width, stride, top, bottom, columns) {
  const result = new Uint8ClampedArray((bottom - top) * columns.length * 3);
  let at = 0;
  for (let row = top; row < bottom; row++) {
    for (const { first, parts } of columns) {
      sum(bytes, (row * width + first) * stride, stride, parts, result, at);
      at += 3;
    }
  }
  return result;
}

// All columns of a picture to (count, width, 3).
function passDown(bytes, width, stride, rows) {
  const result = new Uint8ClampedArray(rows.length * width * 3);
  let at = 0;
  for (const { first, parts } of rows) {
    for (let column = 0; column < width; column++) {
      sum(bytes, (first * width + column) * stride, width * stride, parts, result, at);
      at += 3;
    }
  }
  return result;
}

// Three colours of one pixel: the weighted sum of pixels that lie `step` bytes apart.
function sum(bytes, from, step, parts, result, at) {
  let red = 1 << (BITS - 1), green = red, blue = red;
  for (let index = 0, here = from; index < parts.length; index++, here += step) {
    red += bytes[here] * parts[index];
    green += bytes[here + 1] * parts[index];
    blue += bytes[here + 2] * parts[index];
  }
  result[at] = red >> BITS;
  result[at + 1] = green >> BITS;
  result[at + 2] = blue >> BITS;
}

const rounded = (value) => Math.trunc(value < 0 ? value - 0.5 : value + 0.5);

function bilinear(x) {
  return Math.max(0, 1 - Math.abs(x));
}

function bicubic(x) {
  const far = Math.abs(x);
  if (far < 1) return (1.5 * far - 2.5) * far * far + 1;
  return far < 2 ? ((-0.5 * far + 2.5) * far - 4) * far + 2 : 0;
}
