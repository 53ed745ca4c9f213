// Draws the dashboard's definition, as Datadog has it, over values that it asks for every two seconds.
// Nothing here knows what is measured: titles, queries and order come from the definition, units from the server.

const POLL_MILLISECONDS = 2000;
const SILENT_AFTER_SECONDS = 30;
const BRIDGED_SECONDS = 60; // points with less than this between them are joined by a dotted line
const HEIGHT = 152;
const MARGIN = { top: 8, right: 10, bottom: 22, left: 58 };
const COLOURS = 8;

const $ = (selector, root = document) => root.querySelector(selector);

/** An element with attributes and children; text is text, never markup. */
function element(name, attributes = {}, ...children) {
  const made = name.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4))
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Numbers and units

const UNITS = {
  millisecond: { short: "ms", name: "milliseconds" },
  byte: { short: "B", name: "bytes", scaled: true },
  pixel: { short: "px", name: "pixels", scaled: true },
  "%": { short: "%", name: "percent" },
};

const unitName = (unit) => UNITS[unit]?.name ?? (unit && (unit === "reply" ? "replies" : unit === "art" ? "art" : `${unit}s`));

function digits(value, most = 3) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  const decimals = Math.max(0, Math.min(4, most - 1 - Math.floor(Math.log10(size))));
  return value.toLocaleString("en", { maximumFractionDigits: size >= 100 ? 0 : decimals });
}

/** A value as people read it: `1.25 s`, `340 kB`, `99.95%`, `12`. */
function format(value, unit) {
  if (value === null || value === undefined) return "none";
  const { short = "", scaled } = UNITS[unit] ?? { scaled: true };
  if (unit === "%") return `${digits(value, value > 99 && value < 100 ? 4 : 3)}%`;
  if (unit === "millisecond" && Math.abs(value) >= 1000) return `${digits(value / 1000)} s`;
  if (scaled && Math.abs(value) >= 10_000) {
    const step = Math.min(4, Math.floor(Math.log10(Math.abs(value)) / 3));
    return `${digits(value / 1000 ** step)} ${["", "k", "M", "G", "T"][step]}${short}`;
  }
  return short ? `${digits(value)} ${short}` : digits(value);
}

/** Round values from bottom to top, four or five of them. */
function ticks(low, high, whole) {
  const raw = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  let step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw * 0.999);
  if (whole) step = Math.max(1, Math.ceil(step));
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
}

const clock = (seconds, withSeconds = false) =>
  new Date(seconds * 1000).toLocaleTimeString([], {
    hour: "2-digit",
    minute: "2-digit",
    second: withSeconds ? "2-digit" : undefined,
    hour12: false,
  });

/** The same value of a tag has the same colour on the whole page; names are the panel's own. */
const colours = new Map();
function colourOf(line, panel) {
  const scope = line.tags || panel;
  if (!colours.has(scope)) colours.set(scope, new Map());
  const known = colours.get(scope);
  if (!known.has(line.label)) known.set(line.label, known.size % COLOURS);
  return `var(--series-${known.get(line.label)})`;
}

/** The last value; not the newest bucket's, which is still being filled, if there is another. */
const latest = (points) => points.slice(0, -1).findLast((point) => point !== null) ?? points.at(-1);

// Panels: each has `node`, and `show(panel, data)` for what the server says of it

class Note {
  constructor(definition) {
    this.node = element("p", { class: "note" });
    for (const [index, part] of definition.content.split("**").entries()) {
      this.node.append(index % 2 ? element("strong", {}, part) : part);
    }
  }
  show() {}
}

class Panel {
  constructor(definition, kind) {
    this.definition = definition;
    this.unit = element("span");
    this.when = element("span");
    this.node = element(
      "article",
      { class: `panel ${kind}`, "aria-label": definition.title },
      element("header", {}, element("h3", {}, definition.title), element("p", { class: "unit" }, this.unit, this.when)),
    );
  }
}

const COMPARISONS = {
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
};

class QueryValue extends Panel {
  constructor(definition) {
    super(definition, "query-value");
    this.number = element("p", { class: "number" });
    this.verdict = element("p", { class: "verdict" });
    this.node.querySelector(".unit").remove();
    this.node.append(this.number, this.verdict);
  }
  show({ lines, absent }) {
    const value = lines[0]?.points[0] ?? null;
    this.number.dataset.silent = value === null;
    delete this.number.dataset.state;
    this.verdict.textContent = "";
    if (value === null) {
      this.number.textContent = absent || "No values yet.";
      return;
    }
    const { precision = 2, custom_unit: unit = "" } = this.definition;
    this.number.textContent = value.toLocaleString("en", { minimumFractionDigits: unit ? precision : 0, maximumFractionDigits: precision }) + unit;
    const met = this.definition.requests[0].conditional_formats?.find((rule) => COMPARISONS[rule.comparator](value, rule.value));
    if (met) {
      const bad = met.palette.includes("red");
      this.number.dataset.state = bad ? "bad" : "good";
      this.verdict.textContent = `${bad ? "✗" : "✓"} ${{ "<": "below", "<=": "up to", ">": "above", ">=": "at least" }[met.comparator]} ${met.value}${unit}`;
    }
  }
}

class TopList extends Panel {
  constructor(definition) {
    super(definition, "toplist");
    this.list = element("ul", { class: "top" });
    this.silence = element("p", { class: "number", "data-silent": "true" });
    this.node.append(this.list, this.silence);
  }
  show({ lines, absent }) {
    const known = lines.filter((line) => line.points[0] !== null).sort((a, b) => b.points[0] - a.points[0]);
    const most = Math.max(...known.map((line) => line.points[0]), 0);
    this.unit.textContent = unitName(known[0]?.unit ?? "");
    this.silence.textContent = known.length ? "" : absent || "No values yet.";
    this.list.replaceChildren(
      ...known.map((line) =>
        element(
          "li",
          {},
          element("span", { class: "name" }, line.label),
          bar(line.points[0] / most, colourOf(line, this)),
          element("span", { class: "now" }, format(line.points[0], line.unit)),
        ),
      ),
    );
  }
}

function bar(share, colour) {
  const filled = element("svg:rect", { width: `${Math.max(0.5, 100 * share)}%`, height: "100%", rx: 3 });
  filled.style.fill = colour;
  return element("svg:svg", { class: "bar", "aria-hidden": "true" }, filled);
}

class TimeSeries extends Panel {
  constructor(definition) {
    super(definition, "timeseries");
    this.svg = element("svg:svg", { role: "img", tabindex: "0" });
    this.silence = element("p", { class: "silence", hidden: "" });
    this.legend = element("ul", { class: "legend" });
    this.node.append(element("div", { class: "plot" }, this.svg, this.silence), this.legend);
    this.svg.addEventListener("pointermove", (event) => pointAt(this.indexAt(event)));
    this.svg.addEventListener("pointerdown", (event) => pointAt(this.indexAt(event)));
    this.svg.addEventListener("pointerleave", () => pointAt(null));
    this.svg.addEventListener("blur", () => pointAt(null));
    this.svg.addEventListener("keydown", (event) => this.move(event));
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  get count() {
    return this.data ? this.data.count : 0;
  }

  indexAt(event) {
    const box = this.svg.getBoundingClientRect();
    const share = (event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
    return Math.max(0, Math.min(this.count - 1, Math.round(share * (this.count - 1))));
  }

  move(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") pointAt(null);
    if (!(event.key in steps)) return;
    event.preventDefault();
    const from = pointed ?? this.count;
    pointAt(Math.max(0, Math.min(this.count - 1, from + steps[event.key])));
  }

  show(panel, data) {
    const lines = panel.lines.filter((line) => line.points.some((point) => point !== null));
    this.data = { ...data, lines, count: Math.round((data.last - data.first) / data.step) + 1 };
    const unit = lines[0]?.unit ?? "";
    const names = [unitName(unit) || "number", lines[0]?.per_bucket && `in ${data.step} s`].filter(Boolean).join(" ");
    this.unit.textContent = lines.length ? names : "";
    this.silence.hidden = lines.length > 0;
    this.silence.textContent = panel.absent || "No values yet.";
    for (const line of lines) colourOf(line, this);
    this.draw();
  }

  draw() {
    if (!this.data) return;
    const { lines, first, step, count, last } = this.data;
    const width = Math.max(120, this.svg.clientWidth);
    const unit = lines[0]?.unit ?? "";
    const values = lines.flatMap((line) => line.points).filter((value) => value !== null);
    const top = Math.max(...values, 0);
    const bottom = Math.min(...values, Infinity);
    // A share close to the whole would be a line along the top: what matters is how much is missing.
    const low = unit === "%" && bottom > 80 ? Math.min(bottom, 99) : Math.min(bottom, 0);
    const high = unit === "%" && bottom > 80 ? 100 : top > low ? top : low + 1;
    const scale = ticks(low, high, lines.every((line) => line.per_bucket) && top <= 20 && unit !== "millisecond");
    const [floor, ceiling] = [scale[0], scale.at(-1)];
    const x = (index) => MARGIN.left + (index / Math.max(1, count - 1)) * (width - MARGIN.left - MARGIN.right);
    const y = (value) => HEIGHT - MARGIN.bottom - ((value - floor) / (ceiling - floor)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    this.x = x;
    this.y = y;

    const children = [];
    for (const value of scale) {
      children.push(element("svg:line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }));
      if (lines.length) children.push(element("svg:text", { class: "axis", x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, format(value, unit)));
    }
    const every = 60 * ((last - first) / 60 > 6 ? (width < 420 ? 5 : 3) : width < 300 ? 2 : 1);
    for (let time = Math.ceil(first / every) * every; time <= last; time += every) {
      const at = x((time - first) / step);
      if (at > width - 20 || at < MARGIN.left + 12) continue;
      children.push(element("svg:text", { class: "axis", x: at, y: HEIGHT - 6, "text-anchor": "middle" }, clock(time)));
    }
    for (const line of lines) children.push(...this.stroke(line));
    this.pointer = element("svg:g", { "aria-hidden": "true" });
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.replaceChildren(...children, this.pointer);
    this.point();
  }

  /** Neighbours are joined; over a gap goes a dotted line, as does the last bucket, which is still being filled. */
  stroke(line) {
    const { step, count } = this.data;
    let [solid, dotted, before] = ["", "", null];
    const lonely = [];
    line.points.forEach((value, index) => {
      if (value === null) return;
      const spot = `${this.x(index).toFixed(1)} ${this.y(value).toFixed(1)}`;
      const joined = before !== null && index - before === 1 && index < count - 1;
      const near = before !== null && (index - before) * step <= BRIDGED_SECONDS;
      if (joined) solid += `L${spot}`;
      else {
        if (near) dotted += `M${this.x(before).toFixed(1)} ${this.y(line.points[before]).toFixed(1)}L${spot}`;
        solid += `M${spot}`;
        if (line.points[index + 1] === null || index >= count - 2) lonely.push(index);
      }
      before = index;
    });
    const made = [element("svg:path", { class: "bridge", d: dotted }), element("svg:path", { class: "drawn", d: solid })];
    made.push(...lonely.map((index) => element("svg:circle", { class: "dot", cx: this.x(index), cy: this.y(line.points[index]), r: 2.5 })));
    for (const part of made) part.style[part.tagName === "circle" ? "fill" : "stroke"] = colourOf(line, this);
    return made;
  }

  /** Crosshair and legend: the values at the time that is pointed at, or the latest. */
  point() {
    if (!this.data) return;
    const { lines, first, step, count } = this.data;
    const index = pointed === null || pointed >= count ? null : pointed;
    this.pointer.replaceChildren();
    if (index !== null && lines.length) {
      this.pointer.append(element("svg:line", { class: "crosshair", x1: this.x(index), x2: this.x(index), y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }));
      for (const line of lines.filter((candidate) => candidate.points[index] !== null)) {
        const dot = element("svg:circle", { class: "dot", cx: this.x(index), cy: this.y(line.points[index]), r: 4 });
        dot.style.fill = colourOf(line, this);
        this.pointer.append(dot);
      }
    }
    const shown = lines.map((line) => [line, format(index === null ? latest(line.points) : line.points[index], line.unit)]);
    this.legend.replaceChildren(
      ...shown.map(([line, value]) => {
        const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
        swatch.style.background = colourOf(line, this);
        return element("li", {}, swatch, element("span", { class: "name" }, line.label), element("span", { class: "now" }, value));
      }),
    );
    const when = index === null ? "latest" : clock(first + index * step, true);
    this.when.textContent = index !== null && lines.length ? when : "";
    const spoken = shown.map(([line, value]) => `${line.label} ${value}`).join(", ") || this.silence.textContent;
    this.svg.setAttribute("aria-label", `${this.definition.title}: ${lines.length ? `${when} ` : ""}${spoken}`);
  }
}

/** The point in time that is pointed at, in all charts; null for now. */
let pointed = null;
function pointAt(index) {
  if (index === pointed) return;
  pointed = index;
  for (const panel of panels) if (panel instanceof TimeSeries) panel.point();
}

// The page

const KINDS = { note: Note, query_value: QueryValue, toplist: TopList, timeseries: TimeSeries };
const panels = [];

/** Panels of one kind that follow each other share a grid. */
function lay(widgets, root) {
  let grid = null;
  for (const { definition } of widgets) {
    if (definition.type === "group") {
      const section = element("section", {}, element("h2", {}, definition.title));
      lay(definition.widgets, section);
      root.append(section);
      grid = null;
      continue;
    }
    const panel = new KINDS[definition.type](definition);
    panels.push(panel);
    const kind = { note: "notes", query_value: "values" }[definition.type] ?? "charts";
    if (grid?.className !== kind) {
      grid = element("div", { class: kind });
      root.append(grid);
    }
    grid.append(panel.node);
  }
}

let minutes = 5;
let previous = null;

function showFeed(feed, now) {
  const ago = feed.last_arrival === null ? null : Math.max(0, now - feed.last_arrival);
  const state = ago === null ? "waiting" : ago < SILENT_AFTER_SECONDS ? "live" : "silent";
  $("#state").dataset.state = state;
  $("#state").textContent = { live: "live", silent: "nothing arrives", waiting: "waiting for the first datagram" }[state];
  if (previous && now > previous.now) {
    $("#rate").textContent = `${digits((feed.datagrams - previous.datagrams) / (now - previous.now), 2)}/s, ${feed.datagrams.toLocaleString("en")} so far`;
  }
  previous = { now, datagrams: feed.datagrams };
  $("#arrival").textContent = ago === null ? "–" : `${digits(ago, 2)} s ago`;
  $("#bad").textContent = feed.bad_lines.toLocaleString("en");
  $("#bad").dataset.any = feed.bad_lines > 0;
  $("#address").textContent = `udp ${feed.address}`;
  if (feed.service && !$("#service a")) $("#service").replaceChildren(element("a", { href: feed.service }, feed.service));
  $("#errors").hidden = !feed.errors.length;
  $("#errors ul").replaceChildren(...feed.errors.map((error) => element("li", {}, error)));
}

let asked = 0;
async function refresh() {
  const question = ++asked;
  try {
    const answer = await fetch(`/data?minutes=${minutes}`);
    if (!answer.ok) throw new Error(answer.statusText);
    const data = await answer.json();
    if (question !== asked) return; // another range was chosen meanwhile
    showFeed(data.feed, data.now);
    data.panels.forEach((panel, index) => panels[index].show(panel, data));
    document.body.dataset.drawn = data.now;
  } catch (error) {
    $("#state").dataset.state = "lost";
    $("#state").textContent = "the dashboard was stopped";
    if (!(error instanceof TypeError)) throw error; // a bug of the page; TypeError is how fetch says that nobody answers
  }
}

function showTheme() {
  const chosen = document.documentElement.dataset.theme;
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  $("#theme").textContent = dark ? "☀ Light" : "☾ Dark";
  $("#theme").dataset.next = dark ? "light" : "dark";
}

function setUp(definition) {
  document.title = `${definition.title}: seen locally`;
  $("h1").textContent = definition.title;
  $(".description").textContent = definition.description;
  lay(definition.widgets, $("main"));
  for (const button of document.querySelectorAll("[data-minutes]")) {
    button.addEventListener("click", () => {
      minutes = Number(button.dataset.minutes);
      for (const other of document.querySelectorAll("[data-minutes]")) other.setAttribute("aria-pressed", other === button);
      pointAt(null);
      refresh();
    });
  }
  if (localStorage.theme) document.documentElement.dataset.theme = localStorage.theme;
  $("#theme").addEventListener("click", () => {
    localStorage.theme = document.documentElement.dataset.theme = $("#theme").dataset.next;
    showTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
  showTheme();
}

setUp(await (await fetch("/dashboard.json")).json());
await refresh();
setInterval(() => document.hidden || refresh(), POLL_MILLISECONDS);
