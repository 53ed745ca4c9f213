// The API documentation: copies examples, and sends the call of the form. Everything else works without this script.

import { copyText } from "./clipboard.js";

const TEXT = {
  copy: "Copy",
  copied: "Copied",
  sending: "Sending",
  noAnswer: "The service does not answer. Check the connection and try again.",
  tooLarge: (limit) => `The image is too large: the limit is ${limit} MB.`,
  outcome: (status, seconds) => `Status ${status}, in ${seconds} s`,
  shortened: (characters) => `\n… and ${characters} more characters`,
};
const COPIED = 2000; // milliseconds for which a button says so
const TIMEOUT = 90_000; // milliseconds, as on the page
const MAX_SHOWN = 50_000; // characters of an answer: more is slow to lay out
const HEADERS = ["content-type", "content-location", "link", "cache-status", "asciist-invert", "retry-after", "x-request-id"];

const $ = (id) => document.getElementById(id);
const form = $("call");
let call = null; // the controller of the call in progress

/** Adds a button that copies a block of code. */
function addCopyButton(box) {
  const code = box.querySelector("pre");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = TEXT.copy;
  button.setAttribute("aria-label", `${TEXT.copy}: ${code.getAttribute("aria-label")}`);
  button.addEventListener("click", async () => {
    await copyText(code.textContent);
    button.textContent = TEXT.copied;
    setTimeout(() => (button.textContent = TEXT.copy), COPIED);
  });
  box.append(button);
}

/** Returns the options that were chosen, as a query. */
function query() {
  const chosen = new URLSearchParams();
  for (const field of form.querySelectorAll("[data-option]")) if (field.value !== "") chosen.set(field.name, field.value);
  return String(chosen) && `?${chosen}`;
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function showCommand() {
  const name = form.elements.image.files[0]?.name ?? "image.jpg";
  const accept = form.elements.accept.value;
  const header = accept === "text/plain" ? "" : ` -H ${quoted(`Accept: ${accept}`)}`;
  $("command").textContent = `curl${header} --data-binary ${quoted(`@${name}`)} ${quoted(`${location.origin}/${query()}`)}`;
}

/** Shows the text of an answer, with visible escape codes. */
function showBody(text) {
  const rest = text.length - MAX_SHOWN;
  const shown = text.slice(0, MAX_SHOWN).replaceAll("\x1b", "␛");
  $("received").textContent = rest > 0 ? shown + TEXT.shortened(rest) : shown;
}

async function send() {
  call?.abort();
  const controller = (call = new AbortController());
  const [image] = form.elements.image.files;
  $("answer").hidden = $("permalink").hidden = true;
  const limit = Number(document.body.dataset.maxBytes);
  if (image.size > limit) return ($("outcome").textContent = TEXT.tooLarge(limit / 1e6));
  $("outcome").textContent = TEXT.sending;
  const began = performance.now();
  const timer = setTimeout(() => controller.abort(), TIMEOUT);
  try {
    const answer = await fetch(`/${query()}`, {
      method: "POST",
      body: image,
      headers: { Accept: form.elements.accept.value, "Content-Type": "application/octet-stream" },
      signal: controller.signal,
    });
    showBody(await answer.text());
    $("received").classList.toggle("wrapped", answer.headers.get("content-type") === "application/json");
    const sent = HEADERS.filter((name) => answer.headers.has(name)).map((name) => `${name}: ${answer.headers.get(name)}`);
    $("received-headers").textContent = sent.join("\n");
    $("answer").hidden = false;
    const path = answer.headers.get("content-location");
    $("permalink").hidden = !path;
    if (path) $("permalink").href = path;
    $("outcome").textContent = TEXT.outcome(answer.status, ((performance.now() - began) / 1000).toFixed(2));
  } catch {
    if (controller === call) $("outcome").textContent = TEXT.noAnswer; // otherwise another call has begun
  } finally {
    clearTimeout(timer);
  }
}

document.documentElement.classList.add("scripting");
document.querySelectorAll(".code").forEach(addCopyButton);
form.addEventListener("input", showCommand);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
showCommand();
