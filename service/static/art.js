// The page of a link: copies its art and its URL, and hands the URL on. Everything else works without this script.

import { copyText } from "./clipboard.js";
import { copyUrl, share } from "./share.js";
import { TEXT } from "./text.js";

const $ = (id) => document.getElementById(id);
const { path } = document.body.dataset;

const say = (text) => ($("status").textContent = text);

document.documentElement.classList.add("scripting");
$("share").hidden = !navigator.share;
$("share").addEventListener("click", () => share(path));
$("copy").addEventListener("click", async () => {
  const art = $("art").cloneNode(true);
  for (const look of art.querySelectorAll("i + i")) look.remove(); // of an animation, the first frame is left
  await copyText(art.textContent);
  say(TEXT.copied);
});
$("copy-link").addEventListener("click", async () => say(TEXT.copiedLink(await copyUrl(path))));
$("zoom").addEventListener("click", () => {
  $("zoom").setAttribute("aria-pressed", $("stage").classList.toggle("actual"));
  if ($("stage").scrollWidth > $("stage").clientWidth || $("stage").scrollHeight > $("stage").clientHeight) $("stage").tabIndex = 0;
});
