// Requests to the service, by its public HTTP API.

import { TEXT } from "./text.js";

export const TIMEOUT = 90_000; // milliseconds: longer than the longest upload and its conversion

/** An error with a sentence for the user. `retryable`: the same action may work later. */
export class UserError extends Error {
  constructor(sentence, retryable = false) {
    super(sentence);
    this.retryable = retryable;
  }
}
export class Cancelled extends Error {}
export const noAnswer = () => new UserError(TEXT.noAnswer, true);

/** Sends one request. Throws a UserError if there is no response. */
export function send(method, address, { body = null, signal = null, onProgress = null, accept = "text/plain" } = {}) {
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

/**
 * Returns the art of an image with these options: {text, address, isLight}, and of an animation {frames, plays}. Uploads the image only if the service does not have
 * it, and remembers the address that converts and deletes it.
 */
export async function convert(image, query, { signal = null, onProgress = null } = {}) {
  let answer = null;
  const accept = query.has("animate") ? "application/json" : "text/plain"; // text would play while it is sent
  if (image.address) answer = await send("POST", `${image.address}?${query}`, { signal, accept });
  if (image.file && (!answer || answer.status === 404)) {
    answer = await send("PUT", `/?${query}`, { body: image.file, signal, onProgress, accept });
  }
  if (!answer || answer.status === 404) throw new UserError(TEXT.imageGone);
  if (answer.status !== 200) throw failure(answer);
  image.address = answer.getResponseHeader("Link")?.match(/<([^>]+)>; rel="edit"/)?.[1] ?? image.address;
  return {
    ...artOf(answer),
    address: answer.getResponseHeader("Content-Location"),
    // As chosen by the service, or else as asked.
    isLight: (answer.getResponseHeader("Asciist-Invert") ?? query.get("invert")) === "true",
  };
}

const isJson = (answer) => answer.getResponseHeader("Content-Type")?.startsWith("application/json");

function artOf(answer) {
  if (!isJson(answer)) return { text: answer.responseText.replace(/\n$/, "") };
  const { art, frames, plays } = JSON.parse(answer.responseText);
  return { text: art, frames, plays };
}

/** Deletes an image and all its art from the service. */
export async function remove(image) {
  const answer = await send("DELETE", image.address);
  if (answer.status !== 204) throw failure(answer);
  delete image.address;
}

/** Returns the error of a response. If a proxy sent a page instead of a sentence, its sentence has the status. */
function failure(answer) {
  const text = isJson(answer) ? JSON.parse(answer.responseText).error : answer.responseText.trim();
  const isText = isJson(answer) || answer.getResponseHeader("Content-Type")?.startsWith("text/plain");
  const isSentence = text && text.length < 500 && isText;
  return new UserError(isSentence ? `${text[0].toUpperCase()}${text.slice(1)}.` : TEXT.failed(answer.status), answer.status >= 500);
}
