// Files of art in an ink and on a paper that the reader has chosen. Loaded when one is asked for.

const PIXELS = 2; // pixels of a PNG for each pixel at which the SVG is first shown
const MAX_PIXELS = 16e6; // every browser supports a canvas of this size

/** Returns a file of art in these colours, as a Blob: kind `svg`, `png` or `html`. `get` returns the text at an address. */
export async function colouredFile(address, kind, colours, get) {
  if (kind === "html") return new Blob([colouredDocument(await get(`${address}.html`), colours)], { type: "text/html" });
  const svg = new Blob([colouredSvg(await get(`${address}.svg`), colours)], { type: "image/svg+xml" });
  return kind === "svg" ? svg : drawn(svg);
}

/** The first fill after the definitions is the ground, and that of the last group is the ink. */
const colouredSvg = (svg, { ink, paper }) =>
  svg.replace(/(<\/defs>\n<path fill=")[^"]*/, `$1${paper}`).replace(/(<\/g>\n<g fill=")[^"]*/, `$1${ink}`);

/** Characters without a colour of their own have the ink of the document. */
const colouredDocument = (html, { ink, paper }) =>
  html.replace(/(body\{margin:0;background:)[^}]*/, `$1${paper};color:${ink}`).replaceAll(/style=color:#(?:eee){2}>|style=color:#(?:11){3}>/g, ">");

async function drawn(svg) {
  const picture = new Image();
  picture.src = URL.createObjectURL(svg);
  await picture.decode();
  const scale = Math.min(PIXELS, Math.sqrt(MAX_PIXELS / (picture.width * picture.height)));
  const canvas = document.createElement("canvas");
  canvas.width = picture.width * scale;
  canvas.height = picture.height * scale;
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(picture.src);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
