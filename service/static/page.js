// The editor: converts images without reloading, and draws the art again whenever a control changes. It uses the public HTTP API,
// and every URL that it shows also works without this script.

import { copyText } from "./clipboard.js";
import { chooseColours, chosenColours, isLightPaper } from "./colours.js";
import { convert, Cancelled, noAnswer, remove, send, TIMEOUT, UserError } from "./service.js";
import { TEXT } from "./text.js";

const MEGABYTE = 1e6;
const MAX_IMAGES = 50; // at once
const PROGRESS_DELAY = 300; // milliseconds before the progress bar appears
const ESCAPE_CODE = /\x1b\[[\d;]*m/g;
const INK = { dark: "#eceff3", light: "#111111" }; // as in the style sheet, by the background of the art
const PAPER = { dark: "#0b0e13", light: "#ffffff" };

const $ = (id) => document.getElementById(id);
const form = $("form");
const fields = form.elements;
const maxBytes = Number(document.body.dataset.maxBytes);
const isWide = matchMedia("(min-width: 50rem)"); // as in the style sheet

// An image is {name, file} and, after a reload, has no file; {url} shows it; {address}, once the service has it, converts and
// deletes it; {attempted} is the query of its latest conversion, with {art} or {error}; {refusal} is why it is not sent.
let images = []; // those that were chosen together
let image = null; // the one that the controls apply to
let shown = null; // the art on the page: {image, text, query, address, isLight, columns, rows}; an error does not change it
let wanted = new URLSearchParams(); // the options of the latest change
let conversion = null; // the conversions in progress: {controller, done}
let playing; // the timer of the next frame of an animation
let outdated = false; // true if a control changed since the conversion of `image` began
let comparing = null; // true or false once the reader has chosen whether the original is shown

/** Returns the values of the controls as query parameters. */
function options() {
  const query = new URLSearchParams();
  for (const field of form.querySelectorAll("[data-option]")) {
    const isSet = field.type === "checkbox" ? field.checked : field.value !== "";
    if (isSet && !field.disabled) query.set(field.name, field.type === "checkbox" ? field.dataset.option || "true" : field.value);
  }
  return query;
}

/** Sets the controls to the values of a query. */
function setOptions(query) {
  for (const field of form.querySelectorAll("[data-option]")) {
    if (field.type === "checkbox") field.checked = query.has(field.name);
    else if (query.has(field.name)) field.value = query.get(field.name);
  }
  showControls();
}

// From controls to art

/** Converts the image with the current options, and then the others. Of changes meanwhile, only the latest is remembered. */
function update() {
  if (!form.checkValidity()) return;
  wanted = options();
  outdated = true;
  if (conversion) return;
  const controller = new AbortController();
  conversion = { controller, done: updateUntilCurrent(controller.signal) };
}

async function updateUntilCurrent(signal) {
  try {
    image ??= await sample(); // a control was changed before an image was chosen
    for (let next = image; next; next = outdated ? image : images.find(({ attempted }) => attempted !== wanted.toString())) {
      if (next === image) outdated = false;
      await attempt(next, signal);
    }
  } catch (error) {
    outdated = false;
    showError(error);
  } finally {
    conversion = null;
  }
}

/** Converts one image with the wanted options. Throws if this was cancelled; another error is kept with the image. */
async function attempt(tried, signal) {
  const query = wanted;
  const began = performance.now();
  const progress = tried === image ? startProgress() : null;
  tried.attempted = query.toString();
  tried.error = null;
  try {
    if (tried.refusal) throw tried.refusal;
    const converted = await convert(tried, query, { signal, onProgress: (...sizes) => tried === image && showSent(...sizes) });
    tried.art = describe({ image: tried, query, ...converted });
  } catch (error) {
    if (error instanceof Cancelled) throw error;
    tried.error = error;
  } finally {
    progress?.stop();
  }
  listImages();
  if (tried !== image || (tried.error && outdated)) return; // an error of options that are no longer chosen
  showImage();
  if (!tried.error) showStatus(TEXT.done(shown.columns, shown.rows, number((performance.now() - began) / 1000, 2)));
  keepForReload();
}

/** Keeps the addresses of the images with the entry of this page in the history of this tab, so that they outlive a reload. */
function keepForReload() {
  const kept = images.filter(({ address }) => address);
  const state = kept.length
    ? { images: kept.map(({ name, address }) => ({ name, address })), chosen: kept.indexOf(image), query: wanted.toString() }
    : null;
  history.replaceState(state, "");
}

function restore({ images: kept, chosen, query }) {
  images = kept.map((known) => ({ ...known }));
  image = images[chosen] ?? images[0];
  setOptions(new URLSearchParams(query));
  listImages();
  update();
}

async function sample() {
  const answer = await fetch(document.body.dataset.sample).catch(() => null);
  if (!answer?.ok) throw noAnswer();
  const file = await answer.blob();
  images = [{ name: TEXT.sampleName, file, url: URL.createObjectURL(file), isSample: true }];
  return images[0];
}

/** Converts images that were chosen, dropped, pasted or photographed, in place of the previous ones. */
async function useImages(files) {
  const chosen = [...files];
  if (!chosen.length) return;
  conversion?.controller.abort();
  await conversion?.done;
  showError(null);
  const refusals = chosen.map(refusalOf);
  if (chosen.length > MAX_IMAGES) return showError(new UserError(TEXT.tooMany(MAX_IMAGES)));
  if (chosen.length === 1 && refusals[0]) return showError(refusals[0]);
  for (const { url } of images) if (url) URL.revokeObjectURL(url);
  images = chosen.map((file, number) => ({
    name: file.name || TEXT.pastedName,
    file,
    url: URL.createObjectURL(file),
    refusal: refusals[number],
  }));
  image = images[0];
  listImages();
  update();
}

function refusalOf({ size }) {
  if (size > maxBytes) return new UserError(TEXT.tooLarge(number(size / MEGABYTE), number(maxBytes / MEGABYTE)));
  return size === 0 ? new UserError(TEXT.emptyFile) : null;
}

/** Makes another of the images the one that is shown and that the controls apply to. */
function select(other) {
  image = other;
  listImages();
  showImage();
  keepForReload();
  if (image.attempted !== wanted.toString()) update();
}

/** Deletes the image and all its art from the service. */
async function deleteImage() {
  conversion?.controller.abort();
  await conversion?.done;
  await remove(image);
  image.art.address = null;
  showImage();
  keepForReload();
  showStatus(TEXT.deleted);
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

/** Returns art with its size. */
function describe(art) {
  const lines = art.text.replace(ESCAPE_CODE, "").split("\n");
  return { ...art, columns: [...lines[0]].length, rows: lines.length };
}

/** Shows the art of the image, if it has any, and its error, if it has one. */
function showImage() {
  showError(image.error);
  showOriginal();
  $("stage").classList.toggle("empty", !image.art && images.length > 1); // the art of another image would be misleading
  if (image.art) draw(image.art);
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

function draw(art) {
  shown = art;
  fill(art.text);
  play(art);
  setSize(art);
  $("art").setAttribute("aria-label", TEXT.artLabel(art.image.name, art.columns, art.rows));
  $("stage").classList.toggle("light", art.isLight);
  showColours();
  letKeyboardScroll();
  offerFiles();
  $("permalink").hidden = $("copy-link").hidden = !art.address;
  $("share").hidden = !art.address || !navigator.share;
  if (art.address) $("permalink").href = art.address;
  $("delete").hidden = !art.image.address;
  showStatus(TEXT.size(art.columns, art.rows));
  document.title = TEXT.title(art.columns, art.rows);
}

/** Tells the style sheet the size of the art, from which it fits the art into its place. */
function setSize({ columns, rows }) {
  $("art").style.setProperty("--columns", columns);
  $("art").style.setProperty("--rows", rows);
}

/** Lists the images, if there are several, to choose the one that is shown. */
function listImages() {
  $("images").hidden = images.length < 2;
  $("images").replaceChildren(...(images.length < 2 ? [] : images.map(listed)));
}

function listed(each) {
  const button = document.createElement("button");
  button.type = "button";
  button.ariaCurrent = each === image ? "true" : null;
  const note = each.error ? TEXT.failedImage : each.art ? "" : TEXT.waitingImage;
  if (each.url) {
    const picture = new Image();
    picture.src = each.url;
    picture.alt = "";
    picture.onerror = () => picture.remove(); // a format that this browser does not show
    button.append(picture);
  }
  const name = document.createElement("span");
  name.textContent = each.name;
  button.append(name);
  if (note) button.append(Object.assign(document.createElement("small"), { textContent: note }));
  button.onclick = () => select(each);
  const item = document.createElement("li");
  item.append(button);
  return item;
}

/** Shows the original beside the art or, on a phone, in its place. */
function showOriginal() {
  const canShow = !image || Boolean(image.url);
  const isOfInterest = image && !image.refusal && (image.art || !image.error);
  const shows = canShow && Boolean(isOfInterest) && (comparing ?? (isWide.matches && !image.isSample));
  $("compare").hidden = !canShow;
  $("compare").setAttribute("aria-pressed", shows);
  $("views").classList.toggle("comparing", shows);
  $("original").hidden = !shows;
  if (!shows) return;
  const picture = $("picture");
  if (picture.src !== image.url) {
    picture.hidden = false;
    picture.src = image.url;
  }
  picture.alt = TEXT.original(image.name);
}

/** Makes the stage focusable if it scrolls: at actual size, or with tall art. */
function letKeyboardScroll() {
  const stage = $("stage");
  const scrolls = stage.classList.contains("actual") || stage.scrollHeight > stage.clientHeight + 1; // 1: rounding
  if (scrolls) stage.tabIndex = 0;
  else stage.removeAttribute("tabindex");
}

/** Shows the chosen ink and paper, or those of the art, on the stage and in their controls. */
function showColours() {
  const colours = chosenColours();
  const background = shown.isLight ? "light" : "dark";
  const { style } = $("stage");
  for (const [name, own] of [["ink", INK], ["paper", PAPER]]) {
    if (colours && shown.address) style.setProperty(`--${name}`, colours[name]);
    else style.removeProperty(`--${name}`);
    $(name).value = colours?.[name] ?? own[background];
  }
  $("plain").hidden = !colours;
}

/** Applies an ink and a paper, or null for those of the art, and has the art drawn for a background as dark or light. */
function setColours(colours) {
  chooseColours(colours);
  const invert = colours ? String(isLightPaper(colours)) : "auto";
  if (fields.invert.value === invert) return showColours();
  fields.invert.value = invert;
  update();
}

function startProgress() {
  $("doing").textContent = TEXT.waiting;
  $("bar").removeAttribute("value");
  const timer = setTimeout(() => ($("progress").hidden = false), PROGRESS_DELAY);
  return {
    stop() {
      clearTimeout(timer);
      $("progress").hidden = true;
    },
  };
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
  const query = new URLSearchParams(shown.query);
  query.delete("color");
  return (await convert(shown.image, query)).text;
}

/** Makes the links of files those of the art on the page. */
function offerFiles() {
  $("files").hidden = !shown.address;
  const name = shown.image.name.replace(/\.\w+$/, "").replace(/[^\w-]+/g, "-");
  for (const link of document.querySelectorAll("[data-file]")) {
    link.href = `${shown.address}.${link.dataset.file}`;
    link.download = `${name}-${shown.columns}.${link.dataset.file}`;
  }
}

/** Downloads a file that the service does not have: text without the colours it needs, or art in the chosen colours. */
async function downloadOwn(event) {
  const { file } = event.currentTarget.dataset;
  const { download } = event.currentTarget;
  const colours = chosenColours();
  if (file === "txt" ? !hasBackgrounds() : !colours) return;
  event.preventDefault();
  const blob =
    file === "txt"
      ? new Blob([await plainText(), "\n"], { type: "text/plain" })
      : await (await import("./recolour.js")).colouredFile(shown.address, file, colours, textAt);
  const link = Object.assign(document.createElement("a"), { download, href: URL.createObjectURL(blob) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), TIMEOUT);
}

async function textAt(address) {
  const answer = await send("GET", address);
  if (answer.status !== 200) throw new UserError(answer.responseText || TEXT.failed(answer.status));
  return answer.responseText;
}

const sharing = () => import("./share.js");

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
    if (target.type === "color") return setColours({ ink: $("ink").value, paper: $("paper").value });
    if (target === $("slider")) fields.width.value = target.value;
    showControls();
    update();
  });
  form.addEventListener("change", () => form.reportValidity());
  for (const id of ["image", "photo"]) {
    on(id, "change", ({ target }) => {
      const files = [...target.files];
      target.value = ""; // so that choosing the same file again is a change
      return useImages(files);
    });
  }
  for (const button of document.querySelectorAll("[data-reset]")) {
    button.addEventListener("click", () => {
      for (const field of button.parentElement.querySelectorAll("[data-option]")) field.value = field.dataset.default;
      showControls();
      update();
    });
  }
  on("cancel", "click", () => conversion?.controller.abort());
  on("retry", "click", update);
  on("delete", "click", deleteImage);
  on("copy", "click", async () => copy(await plainText()));
  on("copy-link", "click", async () => showStatus(TEXT.copiedLink(await (await sharing()).copyUrl(shown.address))));
  on("share", "click", async () => (await sharing()).share(shown.address));
  on("permalink", "click", async (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // for a new tab, the long URL does as well
    event.preventDefault();
    location.assign(await (await sharing()).shortUrl(shown.address));
  });
  on("plain", "click", () => setColours(null));
  on("compare", "click", async () => {
    comparing = $("compare").getAttribute("aria-pressed") !== "true";
    image ??= await sample();
    showOriginal();
    letKeyboardScroll();
  });
  on("picture", "error", ({ target }) => (target.hidden = true));
  on("zoom", "click", () => {
    $("zoom").setAttribute("aria-pressed", $("stage").classList.toggle("actual"));
    letKeyboardScroll();
  });
  for (const link of document.querySelectorAll("[data-file]")) {
    link.addEventListener("click", (event) => downloadOwn(event).catch(showError));
  }
  addEventListener("paste", ({ clipboardData, target }) => {
    if (clipboardData.files.length) useImages(clipboardData.files);
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
    const { items, files } = event.dataTransfer;
    if ([...items].some((item) => item.webkitGetAsEntry()?.isDirectory)) return showError(new UserError(TEXT.folder));
    if (files.length) useImages(files);
    else showError(new UserError(TEXT.notAFile));
  });
}

/** Enables the fields that apply to the style and the colour, and shows the values of the sliders. */
function showControls() {
  const { style, color, paint, shapes } = fields;
  paint.disabled = !color.checked || style.value === "ramp";
  shapes.disabled = paint.disabled || paint.value === "text" || style.value !== "blocks";
  fields.chars.disabled = !fields.chars.dataset.styles.split(" ").includes(fields.style.value);
  $("slider").value = fields.width.value;
  for (const output of form.querySelectorAll("output")) output.value = $(output.htmlFor.value).value;
}

function start() {
  document.documentElement.classList.add("scripting");
  fields.image.required = false; // an image may also be dropped or pasted
  fields.image.multiple = true;
  const narrow = $("narrow");
  const sampleArt = getComputedStyle(narrow).display === "none" ? $("art") : narrow;
  shown = describe({ image: { name: TEXT.sampleName }, text: sampleArt.textContent, query: new URLSearchParams(), isLight: false });
  if (sampleArt === narrow) {
    $("art").replaceWith(narrow);
    narrow.id = "art";
    setSize(shown);
  } else {
    narrow.remove();
  }
  fields.width.value = shown.columns; // so that the first conversion has the width of what is seen
  const colours = chosenColours();
  if (colours) fields.invert.value = String(isLightPaper(colours));
  showControls();
  showColours();
  showOriginal();
  listen();
  if (history.state?.images) restore(history.state);
}

start();
