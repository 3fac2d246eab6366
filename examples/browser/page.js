// A page that searches and classifies photos with an exported model, on this computer alone: worker.js has the model.
// Words of files are set as text and never read as HTML.

import { byPath, chosenFiles, droppedFiles, onlyPhotos } from "./files.js";

const WAIT_MS = 180; // from the last key to the answer
const REDRAW_MS = 500; // between two drawings while photos are read
const AT_ONCE = 2; // photos in work: one is decoded while the other is encoded
const TOP = 60, BARS = 3; // photos that are drawn at first, and labels of each
const find = (id) => document.getElementById(id);
const tabs = ["search", "classify"];
const state = { photos: [], reading: 0, like: null, shown: { search: TOP, classify: TOP }, facts: null };

// --- the model -------------------------------------------------------------------------------------------------------

const waiting = new Map();
// Out of a blob, as such a worker has this page's policy, and one with an address of its own has none.
const source = `import ${JSON.stringify(new URL("worker.js", import.meta.url).href)};`;
const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })), { type: "module" });
worker.onmessage = ({ data }) => {
  if (data.loaded) return showWork(data.loaded, state.bytes, `${(data.loaded / 1e6).toFixed(0)} MB of the model`);
  const { answer, refuse } = waiting.get(data.id);
  waiting.delete(data.id);
  if (data.error) refuse(new Error(data.error)); else answer(data);
};
worker.onerror = (event) => show(find("source-status"), `The model's worker stopped: ${event.message || "its files are not there"}.`, true);

let asked = 0;
const ask = (kind, rest = {}) => new Promise((answer, refuse) => {
  waiting.set(++asked, { answer, refuse });
  worker.postMessage({ id: asked, kind, ...rest });
});

const rows = new Map(), cut = new Set();

async function rowsOf(texts) {
  const missing = [...new Set(texts.filter((text) => !rows.has(text)))];
  if (missing.length) {
    const found = await ask("texts", { texts: missing });
    missing.forEach((text, index) => {
      rows.set(text, found.rows[index]);
      if (found.cut[index]) cut.add(text);
    });
  }
  return texts.map((text) => rows.get(text));
}

const dot = (one, other) => one.reduce((total, value, index) => total + value * other[index], 0);

function unit(row) {
  const length = Math.sqrt(dot(row, row));
  return row.map((value) => value / length);
}

// The mean of a label's prompts, for each label.
async function classifierOf(labels) {
  const { templates } = state.facts;
  const prompts = labels.flatMap((label) => templates.map((template) => template.replaceAll("{}", label)));
  const found = await rowsOf(prompts);
  return labels.map((_, at) => {
    const own = found.slice(at * templates.length, (at + 1) * templates.length);
    return unit(own[0].map((_, index) => own.reduce((total, row) => total + row[index], 0)));
  });
}

// How well the model knows these labels, 0 to 1 in the mean: by the rarest word of each, where the model's file counts words.
function familiarity(labels) {
  const known = state.facts.facts.confidence;
  if (!known) return 0;
  const countOf = new Map(known.words.flatMap((words, power) => words.split(" ").map((word) => [word, 2 ** power])));
  const each = labels.map((label) => {
    const counts = (label.toLowerCase().match(/[a-z0-9]+/g) || []).map((word) => countOf.get(word) || 0);
    return Math.min(1, Math.log10(1 + (1e5 * (counts.length ? Math.min(...counts) : 0)) / known.pairs) / 2);
  });
  return each.reduce((total, value) => total + value, 0) / each.length;
}

// Of one photo, as `seesay classify`: less sure of labels that the model hardly knows, and where the best cosine is low.
function shares(cosines, known) {
  const { scoring, logit_scale: scale, logit_bias: bias, facts: { confidence } } = state.facts;
  if (scoring === "sigmoid") return cosines.map((cosine) => 1 / (1 + Math.exp(-(scale * cosine + bias))));
  const most = Math.max(...cosines);
  let heat = 1;
  if (confidence) {
    const { start, names, cosine, least, most: limit } = confidence.line;
    heat = Math.exp(Math.min(limit, Math.max(least, start + names * known + cosine * most)));
  }
  const parts = cosines.map((cosine) => Math.exp((scale * (cosine - most)) / heat));
  const sum = parts.reduce((total, part) => total + part, 0);
  return parts.map((part) => part / sum);
}

// --- reading photos --------------------------------------------------------------------------------------------------

async function read({ files, unread }) {
  const turn = ++state.reading;
  const { photos, others, hidden } = onlyPhotos(files);
  const failed = [...unread];
  for (const photo of state.photos) URL.revokeObjectURL(photo.thumbnail);
  Object.assign(state, { photos: [], like: null, shown: { search: TOP, classify: TOP } });
  showLeftOut(failed, others, hidden);
  if (!photos.length) {
    showWork(1, 1, "");
    show(find("source-status"), `No photo among ${counted(files.length, "file")}; photos end in .jpg, .png, .webp, .gif, .bmp or .avif.`, true);
    return draw();
  }
  show(find("source-status"), `Reading ${counted(photos.length, "photo")}.`);
  let done = 0, drawn = performance.now();
  const queue = photos.values();
  const readNext = async () => {
    for (const { path, file } of queue) {
      try {
        const { row, thumbnail } = await ask("photo", { file });
        if (turn !== state.reading) return;
        state.photos.push({ path, row, thumbnail: URL.createObjectURL(thumbnail) });
      } catch (error) {
        if (turn !== state.reading) return;
        failed.push({ path, reason: error.message });
      }
      showWork(++done, photos.length, `${done} of ${counted(photos.length, "photo")}`);
      if (performance.now() - drawn > REDRAW_MS) {
        await draw();
        drawn = performance.now();
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, readNext));
  if (turn !== state.reading) return;
  showLeftOut(failed, others, hidden);
  const lost = failed.length ? `, ${failed.length} not readable` : "";
  show(find("source-status"), `Ready: ${counted(state.photos.length, "photo")}${lost}.`, !state.photos.length);
  await draw();
}

function showWork(done, all, words) {
  find("work").hidden = done >= all;
  find("progress").max = all;
  find("progress").value = done;
  find("count").textContent = words;
}

function showLeftOut(failed, others, hidden) {
  const parts = [[failed.length, "not readable"], [others, "not a photo by name"], [hidden, "hidden"]]
    .filter(([count]) => count).map(([count, words]) => `${count} ${words}`);
  find("left-out").hidden = !parts.length;
  find("left-out").querySelector("summary").textContent = `Left out: ${parts.join(", ")}`;
  find("left-out").querySelector("ul").replaceChildren(
    ...failed.map(({ path, reason }) => element("li", { textContent: `${path}: ${reason}` })),
  );
}

// --- search ----------------------------------------------------------------------------------------------------------

async function search() {
  const text = find("words").value.trim(), { like, photos } = state;
  find("query").hidden = !like;
  if (!text && !like) {
    show(find("status"), photos.length ? "Type words to order the photos by." : "");
    return list("search", [...photos].sort(byPath), (photo) => searchCard(photo, null));
  }
  const row = like ? like.row : (await rowsOf([text]))[0];
  if (text !== find("words").value.trim() || like !== state.like) return null;
  const scores = new Map(photos.map((photo) => [photo, dot(photo.row, row)]));
  const found = photos.filter((photo) => photo !== like).sort((one, other) => scores.get(other) - scores.get(one));
  const note = !like && cut.has(text) ? ` The model reads the first ${state.facts.text.context} tokens of these words.` : "";
  show(find("status"), photos.length ? `${counted(found.length, "photo")}, best first.${note}` : "Choose photos first.");
  return list("search", found, (photo) => searchCard(photo, scores.get(photo)));
}

function searchCard(photo, score) {
  const name = element("span", { className: "name", textContent: photo.path.split("/").pop() });
  const words = element("span", { className: "words" }, name);
  if (score !== null) words.append(element("span", { className: "score", textContent: score.toFixed(3) }));
  const image = element("img", { alt: "", loading: "lazy", src: photo.thumbnail });
  const hint = element("span", { className: "unseen", textContent: "more like this" });
  const button = element("button", { type: "button", title: photo.path, tabIndex: -1 }, image, words, hint);
  button.dataset.path = photo.path;
  button.addEventListener("click", () => {
    Object.assign(state, { like: photo });
    state.shown.search = TOP;
    find("words").value = "";
    find("query-text").textContent = `like ${photo.path}`;
    find("query-image").src = photo.thumbnail;
    window.scrollTo({ top: 0 });
    search();
  });
  return element("li", {}, button);
}

function moveAmongPhotos(event) {
  const buttons = [...find("photos").querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  if (at < 0) return;
  const top = buttons[0].getBoundingClientRect().top;
  const columns = buttons.filter((button) => button.getBoundingClientRect().top === top).length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -at, End: buttons.length - 1 - at }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  const next = buttons[Math.max(0, Math.min(buttons.length - 1, at + step))];
  for (const button of buttons) button.tabIndex = button === next ? 0 : -1;
  next.focus();
}

// --- classify --------------------------------------------------------------------------------------------------------

const labelsTyped = () => [...new Set(find("labels").value.split("\n").map((label) => label.trim()).filter(Boolean))];

async function classify() {
  const labels = labelsTyped(), { photos } = state;
  if (labels.length < 2) {
    show(find("classify-status"), "Type two labels or more, one a line.");
    return list("classify", [], null);
  }
  const weights = await classifierOf(labels);
  if (labels.join("\n") !== labelsTyped().join("\n")) return null;
  const known = familiarity(labels);
  const answers = photos.map((photo) => {
    const share = shares(weights.map((row) => dot(photo.row, row)), known);
    return { photo, share, order: labels.map((_, at) => at).sort((one, other) => share[other] - share[one]) };
  });
  answers.sort((one, other) => one.order[0] - other.order[0] || other.share[other.order[0]] - one.share[one.order[0]]);
  const counts = labels.map((label, at) => [answers.filter(({ order }) => order[0] === at).length, label]);
  const told = counts.filter(([count]) => count).map(([count, label]) => `${label} ${count}`).join(", ");
  show(find("classify-status"), [photos.length ? `${counted(photos.length, "photo")}: ${told}.` : "Choose photos first.", ...notes(labels, weights)].join(" "));
  return list("classify", answers, (answer) => answerCard(answer, labels));
}

// What a reader of the bars has to know of the labels.
function notes(labels, weights) {
  const seen = new Map(), found = [];
  labels.forEach((label, at) => {
    const same = seen.get(weights[at].join());
    if (same) found.push(`“${same}” and “${label}” are the same to the model.`);
    seen.set(weights[at].join(), label);
  });
  const long = labels.filter((label) => state.facts.templates.some((template) => cut.has(template.replaceAll("{}", label))));
  return long.length ? [...found, `Longer than the model reads: ${long.join(", ")}.`] : found;
}

function answerCard({ photo, share, order }, labels) {
  const bars = order.slice(0, BARS).map((at) => {
    const filled = element("i");
    filled.style.width = `${100 * share[at]}%`;
    const score = element("span", { className: "score", textContent: `${(100 * share[at]).toFixed(1)} %` });
    const words = element("div", { className: "words" }, element("span", { textContent: labels[at] }), score);
    return element("li", {}, words, element("div", { className: "bar", ariaHidden: "true" }, filled));
  });
  const name = element("span", { className: "name", title: photo.path, textContent: photo.path.split("/").pop() });
  const image = element("img", { alt: "", loading: "lazy", src: photo.thumbnail });
  return element("li", {}, image, element("div", { className: "body" }, name, element("ul", {}, ...bars)));
}

// --- drawing ---------------------------------------------------------------------------------------------------------

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function show(place, message, isFault = false) {
  if (place.textContent !== message) place.textContent = message;
  place.classList.toggle("fault", isFault);
}

// The first of the items as cards, and a button for more; what had the focus keeps it.
function list(tab, items, card) {
  const panel = find(tab), grid = panel.querySelector("ol"), more = panel.querySelector(".more");
  const focused = grid.contains(document.activeElement) ? document.activeElement.dataset.path : null;
  grid.replaceChildren(...items.slice(0, state.shown[tab]).map(card));
  more.hidden = items.length <= state.shown[tab];
  more.textContent = `Show more of ${counted(items.length, "photo")}`;
  const buttons = [...grid.querySelectorAll("button")];
  const same = buttons.find((button) => button.dataset.path === focused);
  if (buttons.length) (same || buttons[0]).tabIndex = 0;
  if (focused) (same || buttons[0])?.focus();
}

const counted = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
const current = () => tabs.find((name) => !find(name).hidden);
const draw = () => (!state.facts ? null : current() === "search" ? search() : classify());

function later(work) {
  let timer;
  return () => { clearTimeout(timer); timer = setTimeout(work, WAIT_MS); };
}

// --- tabs, files, keys -----------------------------------------------------------------------------------------------

function choose(name, hasFocus = false) {
  for (const each of tabs) {
    const tab = find(`tab-${each}`);
    find(each).hidden = each !== name;
    tab.setAttribute("aria-selected", String(each === name));
    tab.tabIndex = each === name ? 0 : -1;
  }
  if (hasFocus) find(`tab-${name}`).focus();
  draw();
}

for (const name of tabs) {
  find(`tab-${name}`).addEventListener("click", () => choose(name));
  find(`tab-${name}`).addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") choose(tabs[1 - tabs.indexOf(name)], true);
  });
  find(name).querySelector(".more").addEventListener("click", () => { state.shown[name] += TOP; draw(); });
}
for (const id of ["folder", "files"]) {
  find(id).addEventListener("change", (event) => {
    const files = chosenFiles(event.target.files);
    event.target.value = "";
    if (files.length) opened.then(() => read({ files, unread: [] }));
  });
}
const typed = later(() => { Object.assign(state, { like: null }); state.shown.search = TOP; draw(); });
find("words").addEventListener("input", typed);
find("labels").addEventListener("input", later(() => { state.shown.classify = TOP; draw(); }));
find("ask").addEventListener("submit", (event) => { event.preventDefault(); draw(); });
find("clear").addEventListener("click", () => { Object.assign(state, { like: null }); find("words").focus(); draw(); });
find("photos").addEventListener("keydown", moveAmongPhotos);
document.addEventListener("keydown", (event) => {
  const isTyping = /^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName) && document.activeElement.type !== "file";
  if (event.key === "/" && !isTyping) { event.preventDefault(); choose("search"); find("words").focus(); }
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); document.body.classList.add("dragging"); });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dragging"); });
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  const found = await droppedFiles(event.dataTransfer);
  if (found.files.length || found.unread.length) opened.then(() => read(found));
});

async function open() {
  show(find("source-status"), "Loading the model.");
  const answer = await fetch("model/export.json");
  if (!answer.ok) throw new Error(`model/export.json is not there (${answer.status}); make.py writes it.`);
  const facts = await answer.json();
  state.bytes = facts.check.rows.at(-1).bytes;
  await ask("open", { facts });
  state.facts = facts;
  find("templates").textContent = `The model reads each as ${facts.templates.map((each) => `“${each}”`).slice(0, 3).join(", ")}${facts.templates.length > 3 ? ", ..." : ""}`;
  showWork(1, 1, "");
  show(find("source-status"), `The model ${facts.model} is ready; choose photos.`);
}

const opened = open();
opened.catch((error) => show(find("source-status"), `The model could not be loaded: ${error.message}`, true));
