// The page: converts an image without reloading, and draws it again whenever a control changes. It uses the public HTTP
// API, and every URL that it shows also works without this script.

import { copyText } from "./clipboard.js";
import { TEXT } from "./text.js";

const MEGABYTE = 1e6;
const PROGRESS_DELAY = 300; // milliseconds before the progress bar appears
const TIMEOUT = 90_000; // milliseconds: longer than the longest upload and its conversion
const ESCAPE_CODE = /\x1b\[[\d;]*m/g;

const $ = (id) => document.getElementById(id);
const form = $("form");
const fields = form.elements;
const maxBytes = Number(document.body.dataset.maxBytes);

let image = null; // the chosen image: {name, file}, and {address} once the service has it: that converts and deletes it
let shown = null; // the art on the page: {image, text, query, address, isLight, columns, rows}; an error does not change it
let conversion = null; // the conversion in progress: {controller, done}
let playing; // the timer of the next frame of an animation
let outdated = false; // true if a control changed since the conversion began

/** An error with a sentence for the user. `retryable`: the same action may work later. */
class UserError extends Error {
  constructor(sentence, retryable = false) {
    super(sentence);
    this.retryable = retryable;
  }
}
class Cancelled extends Error {}
const noAnswer = () => new UserError(TEXT.noAnswer, true);

// Requests to the service

/** Sends one request. Throws a UserError if there is no response. */
function send(method, address, { body = null, signal = null, onProgress = null, accept = "text/plain" } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch reports no upload progress
    const lost = () => reject(noAnswer());
    request.open(method, address);
    request.setRequestHeader("Accept", accept);
    request.timeout = TIMEOUT;
    if (onProgress) request.upload.onprogress = (event) => onProgress(event.loaded, event.total);
    request.onload = () => resolve(request);
    request.onerror = lost;
    request.ontimeout = lost;
    request.onabort = () => reject(new Cancelled());
    if (signal?.aborted) return reject(new Cancelled());
    signal?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

/** Returns the art of an image with these options. Uploads the image only if the service does not have it. */
async function convert(image, query, signal = null) {
  let answer = null;
  const accept = accepted(query);
  if (image.address) answer = await send("POST", `${image.address}?${query}`, { signal, accept });
  if (image.file && (!answer || answer.status === 404)) {
    answer = await send("PUT", `/?${query}`, { body: image.file, signal, onProgress: showSent, accept });
  }
  if (!answer) throw new UserError(TEXT.notYours);
  if (answer.status === 404) throw new UserError(TEXT.imageGone);
  if (answer.status !== 200) throw new UserError(sentence(answer), answer.status >= 500);
  image.address = answer.getResponseHeader("Link")?.match(/<([^>]+)>; rel="edit"/)?.[1] ?? image.address;
  return { ...artOf(answer), address: answer.getResponseHeader("Content-Location"), isLight: isLight(answer, query) };
}

/** Returns whether art has dark characters for a light background: as chosen by the service, or else as asked. */
const isLight = (answer, query) => (answer.getResponseHeader("Asciist-Invert") ?? query.get("invert")) === "true";

/** Returns the type of an answer: text would play an animation while it is sent. */
const accepted = (query) => (query.has("animate") ? "application/json" : "text/plain");

const isJson = (answer) => answer.getResponseHeader("Content-Type")?.startsWith("application/json");

/** Returns {text}, and of an animation also {frames, plays}. */
function artOf(answer) {
  if (!isJson(answer)) return { text: answer.responseText.replace(/\n$/, "") };
  const { art, frames, plays } = JSON.parse(answer.responseText);
  return { text: art, frames, plays };
}

/** Deletes the image and all its art from the service. */
async function deleteImage() {
  conversion?.controller.abort();
  await conversion?.done;
  const answer = await send("DELETE", image.address);
  if (answer.status !== 204) throw new UserError(sentence(answer), answer.status >= 500);
  delete image.address;
  $("delete").hidden = $("files").hidden = $("permalink").hidden = $("copy-link").hidden = true;
  history.replaceState(null, "", "/");
  showStatus(TEXT.deleted);
}

/** Returns the sentence of an error response. If a proxy sent a page instead, returns a sentence with the status. */
function sentence(answer) {
  if (isJson(answer)) return capitalised(JSON.parse(answer.responseText).error);
  const text = answer.responseText.trim();
  const isSentence = text && text.length < 500 && answer.getResponseHeader("Content-Type")?.startsWith("text/plain");
  return isSentence ? capitalised(text) : TEXT.failed(answer.status);
}

const capitalised = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

/** Returns the values of the controls as query parameters. */
function options() {
  const query = new URLSearchParams();
  for (const field of form.querySelectorAll("[data-option]")) {
    const isSet = field.type === "checkbox" ? field.checked : field.value !== "";
    if (isSet && !field.disabled) query.set(field.name, field.type === "checkbox" ? field.dataset.option || "true" : field.value);
  }
  return query;
}

// From controls to art

/** Converts the image with the current options. During a conversion, only the latest change is remembered. */
function update() {
  if (!form.checkValidity()) return;
  outdated = true;
  if (conversion) return;
  const controller = new AbortController();
  conversion = { controller, done: updateUntilCurrent(controller.signal) };
}

async function updateUntilCurrent(signal) {
  try {
    while (outdated) {
      outdated = false;
      try {
        await showArt(signal);
      } catch (error) {
        if (!outdated || error instanceof Cancelled) throw error; // ignore an error of options that are no longer chosen
      }
    }
    showError(null);
    document.title = TEXT.title(shown.columns, shown.rows);
    rememberImage();
  } catch (error) {
    outdated = false;
    showError(error);
  } finally {
    conversion = null;
  }
}

async function showArt(signal) {
  image ??= await sample(); // a control was changed before an image was chosen
  const query = options();
  const began = performance.now();
  $("doing").textContent = TEXT.waiting;
  $("bar").removeAttribute("value");
  const progressTimer = setTimeout(() => ($("progress").hidden = false), PROGRESS_DELAY);
  try {
    draw({ query, ...(await convert(image, query, signal)) });
    showStatus(TEXT.done(shown.columns, shown.rows, number((performance.now() - began) / 1000, 2)));
  } finally {
    clearTimeout(progressTimer);
    $("progress").hidden = true;
  }
}

/** Keeps the image's address with the entry of this page in the history of this tab, so that it outlives a reload. */
function rememberImage() {
  history.replaceState(image.address ? { address: image.address } : null, "", shown.address);
}

async function sample() {
  const answer = await fetch(document.body.dataset.sample).catch(() => null);
  if (!answer?.ok) throw noAnswer();
  return { name: TEXT.sampleName, file: await answer.blob() };
}

/** Converts an image that was chosen, dropped, pasted or photographed. */
async function useImage(file) {
  if (!file) return;
  conversion?.controller.abort();
  await conversion?.done;
  showError(null);
  if (file.size > maxBytes) {
    return showError(new UserError(TEXT.tooLarge(number(file.size / MEGABYTE), number(maxBytes / MEGABYTE))));
  }
  if (file.size === 0) return showError(new UserError(TEXT.emptyFile));
  image = { name: file.name || TEXT.pastedName, file };
  update();
}

// Drawing

/** Splits each line of art into runs of one colour; returns a list of {text, foreground, background} per line. */
function runs(art) {
  return art.split("\n").map((line) => {
    const found = [];
    let colours = {};
    for (const part of line.split(/(\x1b\[[\d;]*m)/)) {
      if (!part.startsWith("\x1b")) {
        if (part) found.push({ text: part, ...colours });
        continue;
      }
      if (part === "\x1b[0m") colours = {};
      for (const [, layer, ...channels] of part.matchAll(/([34])8;2;(\d+);(\d+);(\d+)/g)) {
        colours = { ...colours, [layer === "3" ? "foreground" : "background"]: `rgb(${channels.join()})` };
      }
    }
    return found;
  });
}

/** Fills the stage with art. */
function fill(text) {
  const lines = document.createDocumentFragment();
  for (const [row, line] of runs(text).entries()) {
    if (row) lines.append("\n");
    for (const run of line) {
      if (!run.foreground && !run.background) {
        lines.append(run.text);
        continue;
      }
      const span = document.createElement("span");
      span.textContent = run.text;
      span.style.color = run.foreground ?? "";
      span.style.backgroundColor = run.background ?? "";
      lines.append(span);
    }
  }
  $("art").replaceChildren(lines);
}

/** Plays the frames of an animation, unless the reader prefers reduced motion. */
function play({ frames, plays }) {
  clearTimeout(playing);
  if (!frames || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const show = (number) => {
    if (number) fill(frames[number % frames.length].art);
    if (plays && number === plays * frames.length - 1) return;
    playing = setTimeout(show, frames[number % frames.length].milliseconds, number + 1);
  };
  show(0);
}

/** Shows art: {text, query, address, isLight}, and of an animation also {frames, plays}. */
function draw(drawn) {
  remember(drawn);
  fill(drawn.text);
  play(drawn);
  const art = $("art");
  art.style.setProperty("--columns", shown.columns);
  art.style.setProperty("--rows", shown.rows);
  art.setAttribute("aria-label", TEXT.artLabel(image.name, shown.columns, shown.rows));
  $("stage").classList.toggle("light", drawn.isLight);
  letKeyboardScroll();
  $("permalink").href = drawn.address;
  $("permalink").hidden = $("copy-link").hidden = false;
  $("delete").hidden = !image.address;
}

/** Makes the stage focusable if it scrolls: at actual size, or with tall art. */
function letKeyboardScroll() {
  const stage = $("stage");
  const scrolls = stage.classList.contains("actual") || stage.scrollHeight > stage.clientHeight + 1; // 1: rounding
  if (scrolls) stage.tabIndex = 0;
  else stage.removeAttribute("tabindex");
}

function remember(drawn) {
  const lines = drawn.text.replace(ESCAPE_CODE, "").split("\n");
  shown = { ...drawn, image, columns: [...lines[0]].length, rows: lines.length };
  if (shown.address) offerFiles();
}

function showSent(sent, total) {
  if (sent < total) {
    $("bar").value = sent / total;
    $("doing").textContent = TEXT.sending(number(sent / MEGABYTE), number(total / MEGABYTE));
  } else {
    $("bar").removeAttribute("value");
    $("doing").textContent = TEXT.sent;
  }
}

const showStatus = (text) => ($("status").textContent = text);

/** Shows an error, or removes the one that is shown. */
function showError(error) {
  const isVisible = error && !(error instanceof Cancelled);
  if (isVisible && !(error instanceof UserError)) console.error(error);
  $("complaint").textContent = !isVisible ? "" : error instanceof UserError ? error.message : TEXT.pageFailed;
  $("error").hidden = !isVisible;
  $("retry").hidden = !error?.retryable;
  if (error) showStatus(isVisible ? "" : TEXT.cancelled);
}

function number(value, digits = 1) {
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

// Copies and downloads

const hasBackgrounds = () => runs(shown.text).some((line) => line.some((run) => run.background));

/** Returns the art without colour. Characters that were chosen together with two colours need them: it is converted again. */
async function plainText() {
  if (!hasBackgrounds()) return shown.text.replace(ESCAPE_CODE, "");
  return (await convert(shown.image, withoutColor())).text;
}

function withoutColor() {
  const query = new URLSearchParams(shown.query);
  query.delete("color");
  return query;
}

/** Makes the links of files those of the art on the page. */
function offerFiles() {
  const name = (shown.image?.name ?? "asciist").replace(/\.\w+$/, "").replace(/[^\w-]+/g, "-");
  for (const link of document.querySelectorAll("[data-file]")) {
    link.href = `${shown.address}.${link.dataset.file}`;
    link.download = `${name}-${shown.columns}.${link.dataset.file}`;
  }
  $("files").hidden = false;
}

/** Downloads the text of art whose characters were chosen together with two colours: that of the art without colour. */
async function downloadText(event) {
  const isConvertible = shown.image.address || shown.image.file; // the art of a link that was opened is not
  if (!hasBackgrounds() || !isConvertible) return;
  event.preventDefault();
  const link = document.createElement("a");
  link.download = event.target.download;
  link.href = URL.createObjectURL(new Blob([await plainText(), "\n"], { type: "text/plain" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), TIMEOUT);
}

async function copy(text) {
  await copyText(text);
  showStatus(TEXT.copied);
}

// Events

function on(id, event, act) {
  $(id).addEventListener(event, (...given) => Promise.resolve(act(...given)).catch(showError));
}

function listen() {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    update();
  });
  form.addEventListener("input", ({ target }) => {
    if (target.type === "file") return;
    if (target === $("slider")) fields.width.value = target.value;
    if (target === fields.width) $("slider").value = target.value;
    enableFields();
    update();
  });
  form.addEventListener("change", () => form.reportValidity());
  for (const id of ["image", "photo"]) {
    on(id, "change", ({ target }) => {
      const [file] = target.files;
      target.value = ""; // so that choosing the same file again is a change
      return useImage(file);
    });
  }
  on("cancel", "click", () => conversion?.controller.abort());
  on("retry", "click", update);
  on("delete", "click", deleteImage);
  on("copy", "click", async () => copy(await plainText()));
  on("copy-link", "click", () => copy(new URL(shown.address, location.href).href));
  on("zoom", "click", () => {
    $("zoom").setAttribute("aria-pressed", $("stage").classList.toggle("actual"));
    letKeyboardScroll();
  });
  for (const link of document.querySelectorAll("[data-file=txt]")) {
    link.addEventListener("click", (event) => downloadText(event).catch(showError));
  }
  addEventListener("paste", ({ clipboardData, target }) => {
    const [file] = clipboardData.files;
    if (file) useImage(file);
    else if (!target.matches?.("input")) showError(new UserError(TEXT.emptyClipboard));
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", ({ relatedTarget }) => relatedTarget || document.body.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    const [item] = event.dataTransfer.items;
    if (item?.webkitGetAsEntry()?.isDirectory) return showError(new UserError(TEXT.folder));
    const [file] = event.dataTransfer.files;
    if (file) useImage(file);
    else showError(new UserError(TEXT.notAFile));
  });
}

/** Enables the fields that apply to the style and the colour. */
function enableFields() {
  const { style, color, paint, shapes } = fields;
  paint.disabled = !color.checked || style.value === "ramp";
  shapes.disabled = paint.disabled || paint.value === "text" || style.value !== "blocks";
  fields.chars.disabled = !fields.chars.dataset.styles.split(" ").includes(fields.style.value);
}

/** Shows the art of the link that was opened. Only whoever uploaded the image has the address that makes other art of it. */
async function openLink(permalink) {
  const known = document.body.dataset.image ? { address: document.body.dataset.image } : (history.state ?? {});
  image = { name: TEXT.permalinkName, ...known };
  const isLight = $("stage").classList.contains("light");
  for (const look of $("art").querySelectorAll("i + i")) look.remove(); // an animation: the first frame is left
  const linked = { text: $("art").textContent, query: options(), address: permalink, isLight };
  remember(linked);
  letKeyboardScroll();
  rememberImage(); // the page may answer a form, and then has the URL /
  $("delete").hidden = !image.address;
  if (fields.color.checked || fields.animate.checked) { // the art in the page has no colours
    const answer = await send("GET", permalink, { accept: accepted(linked.query) });
    if (answer.status === 200) draw({ ...linked, ...artOf(answer) });
  }
}

function start() {
  document.documentElement.classList.add("scripting");
  fields.image.required = false; // an image may also be dropped or pasted
  enableFields();
  listen();
  const { permalink } = document.body.dataset;
  if (permalink) {
    openLink(permalink).catch(showError);
  } else {
    remember({ text: $("art").textContent, query: new URLSearchParams(), address: null, isLight: false });
    // About 7 pixels per character, or 5 in a narrow window such as that of a phone.
    const room = $("stage").clientWidth;
    fields.width.value = $("slider").value = Math.min(140, Math.max(60, Math.round(room / (room < 600 ? 5 : 7))));
  }
}

start();
