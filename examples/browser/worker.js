// The model, beside the page so that this stays quick: rows of photos and of texts by transformers.js.
// Questions and answers: {id, kind, ...} comes in; {id, ...} or {id, error} goes back, and {loaded} while files load.
// S = side that the model takes, D = embedding width.

import {
  AutoProcessor, AutoTokenizer, CLIPTextModelWithProjection, CLIPVisionModelWithProjection, RawImage, env,
} from "./library/transformers.min.js";
import { recipe, square } from "./pixels.js";

const THUMBNAIL = 360; // pixels of the longer side: a guess, twice what a card is wide
const TEXTS_AT_ONCE = 32;
const NAME = "model";
const here = new URL(".", import.meta.url).href;
const side = {};

// All is beside this file, and nothing is asked for elsewhere.
env.allowRemoteModels = false;
env.allowLocalModels = true;
// A path, as an address would not count as local; and a worker out of a blob has no address to begin at.
env.localModelPath = ".";
env.fetch = (path, options) => fetch(new URL(path, here), options);
env.useBrowserCache = false;
env.useWasmCache = false;
env.backends.onnx.wasm.wasmPaths = {
  mjs: `${here}library/ort-wasm-simd-threaded.mjs`,
  wasm: `${here}library/ort-wasm-simd-threaded.wasm`,
};

const answers = {
  // What the model's export.json says comes with the question.
  async open({ facts }) {
    const preparation = await (await fetch(`${here}${NAME}/preprocessor_config.json`)).json();
    Object.assign(side, { recipe: recipe(preparation, facts), context: facts.text.context });
    const bytes = new Map();
    const options = {
      device: "wasm",
      dtype: facts.precision === "int8" ? "q8" : "fp32",
      progress_callback: ({ status, file, loaded }) => {
        if (status !== "progress") return;
        bytes.set(file, loaded);
        postMessage({ loaded: [...bytes.values()].reduce((total, each) => total + each, 0) });
      },
    };
    [side.tokenizer, side.processor, side.text, side.vision] = await Promise.all([
      AutoTokenizer.from_pretrained(NAME),
      AutoProcessor.from_pretrained(NAME),
      CLIPTextModelWithProjection.from_pretrained(NAME, options),
      CLIPVisionModelWithProjection.from_pretrained(NAME, options),
    ]);
    return {};
  },

  // Unit rows (D) of texts, and whether each was longer than the model reads.
  async texts({ texts }) {
    const rows = [], cut = [];
    for (let first = 0; first < texts.length; first += TEXTS_AT_ONCE) {
      const some = texts.slice(first, first + TEXTS_AT_ONCE);
      const ids = side.tokenizer(some, { padding: true, truncation: true, max_length: side.context });
      rows.push(...(await side.text(ids)).text_embeds.tolist());
      cut.push(...some.map((text) => side.tokenizer.encode(text).length > side.context));
    }
    return { rows: rows.map((row) => Float32Array.from(row)), cut };
  },

  // The unit row (D) of a photo, and a small copy of it.
  async photo({ file }) {
    const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
    const { width, height } = bitmap;
    const pixels = square(onWhite(bitmap, width, height).getImageData(0, 0, width, height).data, width, height, side.recipe);
    const share = Math.min(1, THUMBNAIL / Math.max(width, height));
    const small = onWhite(bitmap, Math.max(1, Math.round(width * share)), Math.max(1, Math.round(height * share)));
    bitmap.close();
    const inputs = await side.processor(new RawImage(pixels, side.recipe.side, side.recipe.side, 3));
    const [row] = (await side.vision(inputs)).image_embeds.tolist();
    const thumbnail = await small.canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
    return { row: Float32Array.from(row), thumbnail };
  },
};

// A canvas with the picture, transparent parts on white.
function onWhite(bitmap, width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return context;
}

onmessage = async ({ data: { id, kind, ...rest } }) => {
  try {
    postMessage({ id, ...(await answers[kind](rest)) });
  } catch (error) {
    postMessage({ id, error: error.message || String(error) });
  }
};
