// Short links, and ways to hand them on: that of the device, or the clipboard. Loaded when one is asked for.

import { copyText } from "./clipboard.js";

const SHORT = /^\/[\da-z]{4}-[\da-z]{4}-[\da-z]{4}$/;

/** Returns the short URL for the path of art; the long one, which does as well, if the service cannot store a link now. */
export async function shortUrl(path) {
  let short = path;
  if (!SHORT.test(path)) {
    const answer = await fetch(path, { method: "POST", headers: { Accept: "text/plain" } }).catch(() => null);
    if (answer?.ok) short = answer.headers.get("Location");
  }
  return new URL(short, location.href).href;
}

/** Copies the short URL for the path of art, and returns it. */
export async function copyUrl(path) {
  const url = await shortUrl(path);
  await copyText(url);
  return url;
}

/** Shares the short URL for the path of art in the way of the device. */
export async function share(path) {
  const url = await shortUrl(path);
  await navigator.share({ title: document.title, url }).catch(() => {}); // the person has changed their mind
}
