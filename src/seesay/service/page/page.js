// The page of `seesay serve`. Words of files and of the service are set as text and never read as HTML.
"use strict";

const WAIT_MS = 180; // from the last key to the search
const TOP = 60;
const find = (id) => document.getElementById(id);
let token = sessionStorage.getItem("token") || "";
const state = { search: null, classify: null, photo: null };

// --- the service -----------------------------------------------------------------------------------------------------

async function call(path, options = {}) {
  const headers = { ...(options.headers || {}), ...(token ? { authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(path, { ...options, headers });
  if (answer.ok) return answer;
  find("unlock").hidden = answer.status !== 401;
  let message = `The service answered ${answer.status}.`;
  try { message = (await answer.json()).error.message; } catch { /* it was no JSON */ }
  throw new Error(message);
}

// One question of a kind at a time: a newer one ends the one before, and a busy service is asked again.
async function ask(kind, path, options) {
  state[kind]?.abort();
  const own = (state[kind] = new AbortController());
  for (let turn = 0; ; turn++) {
    try {
      const answer = await (await call(path, { ...options, method: "POST", signal: own.signal })).json();
      return own.signal.aborted ? null : answer;
    } catch (error) {
      if (own.signal.aborted) return null;
      if (turn >= 3 || !/try again/.test(error.message)) throw error;
      await new Promise((done) => setTimeout(done, 1000));
    }
  }
}

const asJson = (value) => ({ body: JSON.stringify(value), headers: { "content-type": "application/json" } });

function asForm(fields) {
  const form = new FormData();
  for (const [name, value] of fields) form.append(name, value);
  return { body: form };
}

function later(work) {
  let timer;
  return () => { clearTimeout(timer); timer = setTimeout(work, WAIT_MS); };
}

function show(element, message, isFault = false) {
  element.textContent = message;
  element.classList.toggle("fault", isFault);
}

// --- search ----------------------------------------------------------------------------------------------------------

async function search(options, query) {
  const status = find("status");
  showQuery(query);
  try {
    const answer = await ask("search", "/v1/search", options);
    if (!answer) return;
    showPhotos(answer.photos);
    show(status, [`${answer.photos.length} photos, best first${query ? `: ${query.text}` : ""}.`, ...answer.notes].join(" "));
  } catch (error) {
    find("photos").replaceChildren();
    show(status, error.message, true);
  }
}

const searchWords = () => {
  const text = find("words").value.trim();
  if (text) return search(asJson({ text, top: TOP }), null);
  state.search?.abort();
  find("photos").replaceChildren();
  show(find("status"), "");
  showQuery(null);
};

function searchFile(file) {
  find("words").value = "";
  return search(asForm([["image", file], ["top", TOP]]), { text: `like ${file.name || "your photo"}`, source: URL.createObjectURL(file) });
}

function searchLike(photo, source) {
  find("words").value = "";
  window.scrollTo({ top: 0 });
  return search(asJson({ like: photo.id, top: TOP }), { text: `like ${photo.path}`, source });
}

function showQuery(query) {
  find("query").hidden = !query;
  if (!query) return;
  find("query-text").textContent = query.text;
  find("query-image").src = query.source;
}

function showPhotos(photos) {
  find("photos").replaceChildren(...photos.map((photo, index) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    const image = document.createElement("img");
    const words = document.createElement("span");
    const name = document.createElement("span");
    const score = document.createElement("span");
    const hint = document.createElement("span");
    button.type = "button";
    button.tabIndex = index ? -1 : 0;
    button.title = photo.path;
    image.alt = "";
    image.loading = index < 24 ? "eager" : "lazy";
    words.className = "words";
    name.className = "name";
    score.className = "score";
    name.textContent = photo.path.split("/").pop();
    score.textContent = photo.score.toFixed(3);
    hint.className = "unseen";
    hint.textContent = "more like this";
    button.addEventListener("click", () => searchLike(photo, image.src));
    setThumbnail(image, photo.thumbnail);
    words.append(name, score);
    button.append(image, words, hint);
    item.append(button);
    return item;
  }));
}

// An <img> sends no token, so with one its bytes are fetched.
async function setThumbnail(image, path) {
  if (!token) { image.src = path; return; }
  try {
    image.src = URL.createObjectURL(await (await call(path)).blob());
  } catch { /* the name stands below */ }
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

async function classify() {
  const status = find("classify-status");
  const labels = find("labels").value.split("\n").map((label) => label.trim()).filter(Boolean);
  if (!state.photo || labels.length < 2) {
    find("bars").replaceChildren();
    show(status, state.photo ? "Type two labels or more, one a line." : "Choose a photo first.");
    return;
  }
  try {
    const fields = [["image", state.photo], ["templates", "{}"], ...labels.map((label) => ["labels", label])];
    const answer = await ask("classify", "/v1/classify", asForm(fields));
    if (!answer) return;
    showBars(answer.labels);
    const best = answer.labels[0];
    show(status, [`Best: ${best.label}, ${percent(best.probability)}.`, ...answer.notes].join(" "));
  } catch (error) {
    show(status, error.message, true);
  }
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

// A bar stays the same element while its label does, so that it is seen to move.
function showBars(labels) {
  const list = find("bars");
  const known = new Map([...list.children].map((item) => [item.dataset.label, item]));
  list.replaceChildren(...labels.map(({ label, probability }) => {
    const item = known.get(label) || newBar(label);
    item.querySelector(".score").textContent = percent(probability);
    item.querySelector("progress").value = probability;
    return item;
  }));
}

function newBar(label) {
  const item = document.createElement("li");
  const words = document.createElement("span");
  const name = document.createElement("span");
  const score = document.createElement("span");
  const bar = document.createElement("progress");
  item.dataset.label = label;
  words.className = "words";
  score.className = "score";
  name.textContent = label;
  bar.max = 1;
  bar.setAttribute("aria-label", label);
  words.append(name, score);
  item.append(words, bar);
  return item;
}

function classifyFile(file) {
  state.photo = file;
  find("photo").src = URL.createObjectURL(file);
  find("photo").hidden = false;
  find("stage-text").hidden = true;
  return classify();
}

// --- tabs, files, keys -----------------------------------------------------------------------------------------------

const tabs = ["search", "classify"];
const current = () => tabs.find((name) => !find(name).hidden);

function choose(name, hasFocus = false) {
  for (const each of tabs) {
    const tab = find(`tab-${each}`);
    find(each).hidden = each !== name;
    tab.setAttribute("aria-selected", String(each === name));
    tab.tabIndex = each === name ? 0 : -1;
  }
  if (hasFocus) find(`tab-${name}`).focus();
  if (name === "classify") classify();
}

const takeFile = (file) => (current() === "search" ? searchFile(file) : classifyFile(file));

for (const name of tabs) {
  find(`tab-${name}`).addEventListener("click", () => choose(name));
  find(`tab-${name}`).addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") choose(tabs[1 - tabs.indexOf(name)], true);
  });
}
for (const [id, take] of [["like-file", searchFile], ["photo-file", classifyFile]]) {
  find(id).addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) take(file);
    event.target.value = "";
  });
}
find("words").addEventListener("input", later(searchWords));
find("labels").addEventListener("input", later(classify));
find("ask").addEventListener("submit", (event) => { event.preventDefault(); searchWords(); });
find("clear").addEventListener("click", () => { find("words").value = ""; searchWords(); find("words").focus(); });
find("photos").addEventListener("keydown", moveAmongPhotos);
find("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  token = find("token").value.trim();
  sessionStorage.setItem("token", token);
  find("unlock").hidden = true;
  if (current() === "search") searchWords(); else classify();
});
document.addEventListener("keydown", (event) => {
  const isTyping = /^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName);
  if (event.key === "/" && !isTyping) { event.preventDefault(); choose("search"); find("words").focus(); }
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); document.body.classList.add("dragging"); });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dragging"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  const [file] = event.dataTransfer.files;
  if (file) takeFile(file);
});
