// The page without reloads: art follows the controls. The service is asked what curl could ask, and every address that is
// shown works without this script, too.

const MEGABYTE = 1e6;
const PATIENCE = 300; // milliseconds before it is worth telling that something is under way
const TIMEOUT = 90_000; // an upload of the longest, and its answer
const CELL = { width: 16, height: 32 }; // pixels of a character in a picture, where the picture may be so large
const LARGEST_PICTURE = 16e6; // pixels of a canvas that every browser makes
const FONT = { name: "asciist mono", advance: 0.60205, ascent: 1942 / 2466 }; // of an em; of a line
const ESCAPE_CODE = /\x1b\[[\d;]*m/g;

const $ = (id) => document.getElementById(id);
const form = $("form");
const fields = form.elements;
const maxBytes = Number(document.body.dataset.maxBytes);

let image = null; // {name, file} once it is chosen, and {digest} once the service has it
let shown = null; // {image, text, query, address, columns, rows}: of the image before, where this one failed
let work = null; // {controller, done} while a conversion is under way
let outdated = false; // whether the controls have moved since it began

/** What a person can read. `again`: the same may work later. */
class Problem extends Error {
  constructor(sentence, again = false) {
    super(sentence);
    this.again = again;
  }
}
class Cancelled extends Error {}
const silence = () => new Problem("The service does not answer. Check the connection and try again.", true);

// What the service is asked

/** One request; throws a Problem if nothing was answered. */
function ask(method, address, { body = null, signal = null, onSent = null } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not tell how much was sent
    const lost = () => reject(silence());
    request.open(method, address);
    request.setRequestHeader("Accept", "text/plain");
    request.timeout = TIMEOUT;
    if (onSent) request.upload.onprogress = (event) => onSent(event.loaded, event.total);
    request.onload = () => resolve(request);
    request.onerror = lost;
    request.ontimeout = lost;
    request.onabort = () => reject(new Cancelled());
    if (signal?.aborted) return reject(new Cancelled());
    signal?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

/** Art of an image by these options. The image is sent only where the service has not got it. */
async function convert(image, query, signal = null) {
  let answer = null;
  if (image.digest) answer = await ask("POST", `/${image.digest}/image?${query}`, { signal });
  if (!answer || (answer.status === 404 && image.file)) {
    answer = await ask("PUT", `/?${query}`, { body: image.file, signal, onSent: tellSent });
  }
  if (answer.status === 404) throw new Problem("The service has not got this image any more. Choose it again.");
  if (answer.status !== 200) throw new Problem(sentence(answer), answer.status >= 500);
  return { text: answer.responseText.replace(/\n$/, ""), address: answer.getResponseHeader("Content-Location") };
}

/** What the service says of a failure; whatever stands before it may fail with a page of its own. */
function sentence(answer) {
  const text = answer.responseText.trim();
  const isSentence = text && text.length < 500 && answer.getResponseHeader("Content-Type")?.startsWith("text/plain");
  return isSentence ? `${text[0].toUpperCase()}${text.slice(1)}.` : `The service failed with status ${answer.status}. Try again.`;
}

function options() {
  const query = new URLSearchParams({ width: fields.width.value, style: fields.style.value });
  if (fields.invert.checked) query.set("invert", "true");
  if (fields.color.checked) query.set("color", "ansi");
  if (fields.chars.value && !fields.chars.disabled) query.set("chars", fields.chars.value);
  return query;
}

// From controls to art

/** Bring the art up to date. While one conversion is under way others wait, and only the last of them is made. */
function update() {
  if (!form.checkValidity()) return;
  outdated = true;
  if (work) return;
  const controller = new AbortController();
  work = { controller, done: updateUntilCurrent(controller.signal) };
}

async function updateUntilCurrent(signal) {
  try {
    while (outdated) {
      outdated = false;
      try {
        await showArt(signal);
      } catch (problem) {
        if (!outdated || problem instanceof Cancelled) throw problem; // what failed is not wanted any more
      }
    }
    complain(null);
    document.title = `ASCII art, ${shown.columns} × ${shown.rows}`;
    history.replaceState(null, "", shown.address);
  } catch (problem) {
    outdated = false;
    complain(problem);
  } finally {
    work = null;
  }
}

async function showArt(signal) {
  image ??= await sample(); // the controls were moved before an image was chosen
  const query = options();
  const began = performance.now();
  $("doing").textContent = "Waiting for the art";
  $("bar").removeAttribute("value");
  const impatience = setTimeout(() => ($("progress").hidden = false), PATIENCE);
  try {
    const { text, address } = await convert(image, query, signal);
    image.digest = address.split("/")[1];
    draw(text, query, address);
    say(`${shown.columns} × ${shown.rows} characters, made in ${number((performance.now() - began) / 1000, 2)} s`);
  } finally {
    clearTimeout(impatience);
    $("progress").hidden = true;
  }
}

async function sample() {
  const answer = await fetch(document.body.dataset.sample).catch(() => null);
  if (!answer?.ok) throw silence();
  return { name: "a cup of coffee", file: await answer.blob() };
}

/** An image that was chosen, dropped, pasted or photographed. */
async function take(file) {
  if (!file) return;
  work?.controller.abort();
  await work?.done;
  complain(null);
  if (file.size > maxBytes) {
    const sizes = `${number(file.size / MEGABYTE)} MB, and the limit is ${number(maxBytes / MEGABYTE)} MB`;
    return complain(new Problem(`This image has ${sizes}. Make it smaller and try again.`));
  }
  if (file.size === 0) return complain(new Problem("This file is empty. Choose an image."));
  image = { name: file.name || "the pasted image", file };
  update();
}

// What is seen

/** Runs of characters of the same colours, a list of {text, foreground, background} for each line of art. */
function runs(art) {
  return art.split("\n").map((line) => {
    const found = [];
    let colours = {};
    for (const part of line.split(/(\x1b\[[\d;]*m)/)) {
      const code = part.match(/^\x1b\[(?:([34])8;2;(\d+);(\d+);(\d+))?/);
      if (!code) part && found.push({ text: part, ...colours });
      else if (!code[1]) colours = {}; // a reset
      else colours = { ...colours, [code[1] === "3" ? "foreground" : "background"]: `rgb(${code.slice(2).join()})` };
    }
    return found;
  });
}

function draw(text, query, address) {
  remember(text, query, address);
  const lines = document.createDocumentFragment();
  for (const [row, line] of runs(text).entries()) {
    if (row) lines.append("\n");
    for (const run of line) {
      if (!run.foreground) {
        lines.append(run.text);
        continue;
      }
      const span = document.createElement("span");
      span.textContent = run.text;
      span.style.color = run.foreground;
      span.style.backgroundColor = run.background ?? "";
      lines.append(span);
    }
  }
  const art = $("art");
  art.replaceChildren(lines);
  art.style.setProperty("--columns", shown.columns);
  art.style.setProperty("--rows", shown.rows);
  art.setAttribute("aria-label", `ASCII art of ${image.name}, ${shown.columns} columns wide and ${shown.rows} lines high`);
  $("stage").classList.toggle("light", query.has("invert"));
  $("permalink").href = address;
  $("permalink").hidden = $("copy-link").hidden = false;
}

function remember(text, query, address) {
  const lines = text.replace(ESCAPE_CODE, "").split("\n");
  shown = { image, text, query, address, columns: [...lines[0]].length, rows: lines.length };
}

function tellSent(sent, total) {
  if (sent < total) {
    $("bar").value = sent / total;
    $("doing").textContent = `Sending: ${number(sent / MEGABYTE)} of ${number(total / MEGABYTE)} MB`;
  } else {
    $("bar").removeAttribute("value");
    $("doing").textContent = "Sent. Waiting for the art";
  }
}

function say(text) {
  $("status").textContent = text;
}

function complain(problem) {
  const isTold = problem && !(problem instanceof Cancelled);
  if (isTold && !(problem instanceof Problem)) console.error(problem);
  $("complaint").textContent = !isTold ? "" : problem instanceof Problem ? problem.message : "Something went wrong on this page.";
  $("error").hidden = !isTold;
  $("retry").hidden = !problem?.again;
  if (problem) say(isTold ? "" : "Cancelled.");
}

function number(value, digits = 1) {
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

// What can be taken away

/** The art in characters alone. Blocks in colour are half blocks all over, so they are made once more without. */
async function plain() {
  if (!shown.query.has("color") || shown.query.get("style") !== "blocks") return shown.text.replace(ESCAPE_CODE, "");
  return (await convert(shown.image, withColor(null))).text;
}

async function asDocument() {
  if (shown.query.has("color")) return (await convert(shown.image, withColor("html"))).text;
  const pre = document.createElement("pre");
  pre.textContent = shown.text;
  const colours = shown.query.has("invert") ? "#111;background:#fff" : "#eee;background:#000";
  const style = `body{margin:0;color:${colours}}pre{margin:0;padding:1em;font:10px/1.2 "DejaVu Sans Mono",Menlo,Consolas,monospace}`;
  return `<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>ASCII art</title>\n<style>${style}</style>\n${pre.outerHTML}\n</html>\n`;
}

function withColor(color) {
  const query = new URLSearchParams(shown.query);
  query.delete("color");
  if (color) query.set("color", color);
  return query;
}

async function asPicture() {
  await document.fonts.load(`16px "${FONT.name}"`);
  const { columns, rows } = shown;
  const shrink = Math.min(1, Math.sqrt(LARGEST_PICTURE / ((columns + 2) * CELL.width * (rows + 1) * CELL.height)));
  const width = Math.max(1, Math.floor(CELL.width * shrink));
  const height = 2 * width;
  const canvas = document.createElement("canvas");
  canvas.width = (columns + 2) * width;
  canvas.height = (rows + 1) * height;
  const pen = canvas.getContext("2d");
  const isLight = shown.query.has("invert");
  pen.fillStyle = isLight ? "#fff" : "#000";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.font = `${width / FONT.advance}px "${FONT.name}", monospace`;
  for (const [row, line] of runs(shown.text).entries()) {
    let left = width;
    const top = (row + 0.5) * height;
    for (const run of line) {
      const characters = [...run.text];
      if (run.background) {
        pen.fillStyle = run.background;
        pen.fillRect(left, top, characters.length * width, height);
      }
      pen.fillStyle = run.foreground ?? (isLight ? "#111" : "#eee");
      for (const character of characters) {
        if (character === "▀") pen.fillRect(left, top, width, height / 2);
        else if (character !== " ") pen.fillText(character, left, top + height * FONT.ascent);
        left += width;
      }
    }
  }
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

const DOWNLOADS = {
  txt: async () => new Blob([await plain(), "\n"], { type: "text/plain" }),
  html: async () => new Blob([await asDocument()], { type: "text/html" }),
  png: asPicture,
};

async function download(kind) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await DOWNLOADS[kind]());
  link.download = `${(shown.image?.name ?? "asciist").replace(/\.\w+$/, "").replace(/[^\w-]+/g, "-")}-${shown.columns}.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), TIMEOUT);
}

async function copy(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
  } else { // a page that did not come by HTTPS
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say("Copied.");
}

// What people do

function on(id, event, act) {
  $(id).addEventListener(event, (...given) => Promise.resolve(act(...given)).catch(complain));
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
    allowCharacters();
    update();
  });
  form.addEventListener("change", () => form.reportValidity());
  for (const id of ["image", "photo"]) {
    on(id, "change", ({ target }) => {
      const [file] = target.files;
      target.value = ""; // so that the same file can be chosen again
      return take(file);
    });
  }
  on("cancel", "click", () => work?.controller.abort());
  on("retry", "click", update);
  on("copy", "click", async () => copy(await plain()));
  on("copy-link", "click", () => copy(new URL(shown.address, location.href).href));
  on("zoom", "click", () => {
    const isActual = $("stage").classList.toggle("actual");
    $("zoom").setAttribute("aria-pressed", isActual);
    if (isActual) $("stage").tabIndex = 0; // a keyboard can scroll what has the focus
    else $("stage").removeAttribute("tabindex");
  });
  for (const button of document.querySelectorAll("[data-download]")) {
    button.addEventListener("click", () => download(button.dataset.download).catch(complain));
  }
  addEventListener("paste", ({ clipboardData, target }) => {
    const [file] = clipboardData.files;
    if (file) take(file);
    else if (!target.matches?.("input")) complain(new Problem("There is no image in the clipboard. Copy one and paste it here."));
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
    if (item?.webkitGetAsEntry()?.isDirectory) return complain(new Problem("This is a folder. Drop one image of it."));
    const [file] = event.dataTransfer.files;
    if (file) take(file);
    else complain(new Problem("This is not a file. Save the image first, then drop it here."));
  });
}

function allowCharacters() {
  fields.chars.disabled = ["braille", "blocks"].includes(fields.style.value); // which have patterns of their own
}

function begin() {
  document.documentElement.classList.add("scripting");
  fields.image.required = false; // an image may be dropped or pasted, too
  allowCharacters();
  listen();
  const { permalink } = document.body.dataset;
  if (permalink) {
    image = { name: "an image", digest: permalink.split("/")[1] };
    remember($("art").textContent, options(), permalink);
    history.replaceState(null, "", permalink); // after the form was sent without this script
    if (fields.color.checked) update(); // its colours are not on the page
  } else {
    remember($("art").textContent, new URLSearchParams(), null);
    // About 7 pixels for a character, or 5 on a telephone, whose pixels are finer.
    const room = $("stage").clientWidth;
    fields.width.value = $("slider").value = Math.min(140, Math.max(60, Math.round(room / (room < 600 ? 5 : 7))));
  }
}

begin();
