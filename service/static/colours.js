// Ink and paper: the colours in which the page shows art, and those of the files that it makes itself. They are the reader's, and
// stay in this browser.

const KEY = "asciist.colours";

/** Returns the colours that were chosen, {ink, paper} as #rrggbb; null if none were. */
export function chosenColours() {
  try {
    return JSON.parse(localStorage.getItem(KEY));
  } catch {
    return null; // the browser keeps nothing for this page
  }
}

/** Remembers colours, or null for those of the art. */
export function chooseColours(colours) {
  try {
    if (colours) localStorage.setItem(KEY, JSON.stringify(colours));
    else localStorage.removeItem(KEY);
  } catch {
    // They apply until the page is left.
  }
}

/** Returns whether dark characters on a light background suit the colours. */
export const isLightPaper = ({ ink, paper }) => luminance(paper) > luminance(ink);

function luminance(colour) {
  const [red, green, blue] = [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
