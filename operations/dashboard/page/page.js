// Draws the widgets of the dashboard's definition and polls the server for their values.

// uPlot formats numbers in the browser's language when it is loaded. Without LANG, Chromium's is
// "en-US@posix", which Intl refuses.
try {
  Intl.getCanonicalLocales(navigator.language);
} catch {
  Object.defineProperty(navigator, "language", { value: "en" });
}
const { default: uPlot } = await import("/charts/uPlot.esm.js");

const POLL_MILLISECONDS = 2000;
const TIMEOUT_MILLISECONDS = 4000;
const SILENT_AFTER_SECONDS = 10; // two buckets; a busy service sends metrics several times per second
const BRIDGED_SECONDS = 17; // a line connects points up to three buckets apart
const HEIGHT = 152;
const SERIES_COLOURS = 8;

const $ = (selector) => document.querySelector(selector);
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en", { hour12: false });
const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, maximumFractionDigits: 2, roundingPriority: "morePrecision" });
const SCALES = {
  millisecond: [[1000, " s"], [1, " ms"]],
  byte: [[1e9, " GB"], [1e6, " MB"], [1e3, " kB"], [1, " B"]],
  pixel: [[1e9, " Gpx"], [1e6, " Mpx"], [1e3, " kpx"], [1, " px"]],
  "%": [[1, "%"]],
};

/** Format a value with its unit: `1.25 s`, `340 kB`, `99.95%`, `12`. */
function format(value, unit) {
  if (value == null) return "none";
  const scales = SCALES[unit] ?? [[1e6, " M"], [1, ""]];
  const [size, suffix] = scales.find(([least]) => Math.abs(value) >= least) ?? scales.at(-1);
  return digits.format(value / size) + suffix;
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Return the CSS colour of a line. A tag's value has the same colour in all charts. */
const labels = {};
function colourOf({ tags, label }, title) {
  const known = (labels[tags || title] ??= []);
  if (!known.includes(label)) known.push(label);
  return `var(--series-${known.indexOf(label) % SERIES_COLOURS})`;
}

/** Return a CSS colour with its variables replaced, because a canvas does not support variables. */
function resolve(colour) {
  $("#probe").style.color = colour;
  return getComputedStyle($("#probe")).color;
}

// Each function below builds one type of widget in `node` and returns a function that shows new values.

function note({ content }, node) {
  node.append(...content.split("**").map((part, index) => (index % 2 ? element("strong", {}, part) : part)));
  return () => {};
}

const COMPARISONS = {
  "<": [(a, b) => a < b, "below"],
  ">=": [(a, b) => a >= b, "at least"],
};

function queryValue({ precision, custom_unit: unit = "", requests }, node) {
  const number = node.appendChild(element("p", { class: "number" }));
  const verdict = node.appendChild(element("p", { class: "quiet" }));
  return ({ lines, absent }, { silent, healthy }) => {
    const value = silent ? null : (lines[0]?.points[0] ?? null);
    const rules = value === null ? [] : (requests[0].conditional_formats ?? []);
    const met = rules.find((rule) => COMPARISONS[rule.comparator][0](value, rule.value));
    const isBad = met?.palette.includes("red");
    const state = isBad ? "bad" : met && healthy ? "good" : ""; // never green while requests fail
    const text = value?.toLocaleString("en", { minimumFractionDigits: precision, maximumFractionDigits: precision });
    number.dataset.state = value === null ? "none" : state;
    number.textContent = value === null ? absent || "no data" : text + unit;
    verdict.textContent = state ? `${isBad ? "✗" : "✓"} ${COMPARISONS[met.comparator][1]} ${met.value}${unit}` : "";
  };
}

function topList(_definition, node) {
  const silence = node.appendChild(element("p", { class: "silence" }));
  const list = node.appendChild(element("div", { class: "top" }));
  return ({ lines, absent }) => {
    lines.sort((a, b) => b.points[0] - a.points[0]);
    const rows = lines.map(({ label, points, unit }) => [
      element("span", {}, label),
      element("progress", { value: points[0], max: lines[0].points[0], "aria-label": label }),
      element("strong", {}, format(points[0], unit)),
    ]);
    silence.textContent = lines.length ? "" : absent || "No values yet.";
    list.replaceChildren(...rows.flat());
  };
}

function timeSeries({ title }, node) {
  const detail = node.appendChild(element("p", { class: "quiet" }));
  const silence = node.appendChild(element("p", { class: "silence" }));
  const plot = node.appendChild(element("div", { role: "img", tabindex: "0" }));
  const legend = node.appendChild(element("div"));
  let chart = null;
  new ResizeObserver(() => chart?.setSize({ width: plot.clientWidth, height: HEIGHT })).observe(plot);
  plot.addEventListener("keydown", (event) => chart && moveCrosshair(chart, event));
  return ({ lines, absent }, { times, step }) => {
    const shown = lines.filter((line) => line.points.some((point) => point !== null));
    const key = shown.map((line) => line.label).join();
    if (key !== chart?.key) {
      chart?.destroy();
      chart = shown.length ? Object.assign(drawChart(title, shown, plot, legend), { key }) : null;
    }
    chart?.setData([times, ...shown.map((line) => line.points)]);
    detail.textContent = shown[0]?.is_total ? `total per ${step} s` : "";
    silence.textContent = shown.length ? "" : absent || "No values yet.";
    if (!chart) plot.setAttribute("aria-label", `${title}: ${silence.textContent}`);
  };
}

function drawChart(title, lines, plot, legend) {
  const { unit } = lines[0];
  const latest = (points) => points.findLast((point) => point !== null);
  const axis = { stroke: () => resolve("var(--quiet)"), grid: { stroke: () => resolve("var(--line)"), width: 1 }, ticks: { show: false } };
  const series = lines.map((line) => ({
    label: line.label,
    stroke: () => resolve(colourOf(line, title)),
    width: 1.75,
    value: (chart, value, index, hovered) => format(hovered === null ? latest(chart.data[index]) : value, unit),
    gaps: ({ posToVal }, index, from, to, gaps) => gaps.filter(([a, b]) => posToVal(b, "x", true) - posToVal(a, "x", true) > BRIDGED_SECONDS),
  }));
  const describe = (chart) => {
    const [when, ...values] = chart.legend.values.map((value) => value._);
    plot.setAttribute("aria-label", `${title}: ${when} ${values.map((value, index) => `${lines[index].label} ${value}`).join(", ")}`);
  };
  const options = {
    width: plot.clientWidth,
    height: HEIGHT,
    padding: [8, 10, 0, 0],
    scales: { y: { range: (chart, least, most) => yRange(least, most, unit) } },
    series: [{ label: "Time", value: (chart, time) => (time === null ? "latest" : clock(time)) }, ...series],
    axes: [
      { ...axis, size: 22, space: 70, incrs: [60, 120, 180, 300], values: (chart, times) => times.map((time) => clock(time).slice(0, 5)) },
      { ...axis, size: 58, space: 28, values: (chart, values) => values.map((value) => format(value, unit)) },
    ],
    cursor: { y: false, drag: { x: false }, sync: { key: "dashboard", setSeries: false } },
    legend: {
      mount: (chart, table) => legend.replaceChildren(table),
      markers: { width: 0, fill: (chart, index) => colourOf(lines[index - 1], title) },
    },
    hooks: { setLegend: [describe] },
  };
  return new uPlot(options, null, plot);
}

/** Return the ends of the y axis. It starts at 0, or for percentages above 80 at 99, so that 99.5% and 99.9% differ visibly. */
function yRange(least, most, unit) {
  return unit === "%" && least > 80 ? [Math.min(least, 99), 100] : uPlot.rangeNum(Math.min(least, 0), most || 1, 0.1, true);
}

/** Move the crosshair of all charts with the arrow keys, Home, End and Escape. */
function moveCrosshair(chart, event) {
  const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity, Escape: 0 };
  if (!(event.key in steps)) return;
  event.preventDefault();
  const [times] = chart.data;
  const index = Math.max(0, Math.min(times.length - 1, (chart.cursor.idx ?? times.length) + steps[event.key]));
  chart.setCursor({ left: event.key === "Escape" ? -10 : chart.valToPos(times[index], "x"), top: 1 }, true, true);
}

const KINDS = { note: [note, "notes"], query_value: [queryValue, "values"], toplist: [topList, "charts"], timeseries: [timeSeries, "charts"] };
const panels = [];

/** Add a group of widgets to the page. Consecutive widgets of one kind share a grid. */
function layOut({ title, widgets }) {
  let grid = $("main").appendChild(element("h2", {}, title));
  for (const { definition } of widgets) {
    const [kind, className] = KINDS[definition.type];
    if (grid.className !== className) grid = $("main").appendChild(element("div", { class: className }));
    const node = grid.appendChild(definition.title ? element("article", { class: "panel", "aria-label": definition.title }) : element("p"));
    if (definition.title) node.append(element("h3", {}, definition.title));
    panels.push(kind(definition, node));
  }
}

let minutes = 5;
let polls = 0;
let data = { panels: [], outcomes: [] }; // the latest response

async function fetchJson(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(TIMEOUT_MILLISECONDS) });
  if (!response.ok) throw new Error(response.statusText);
  return response.json();
}

async function refresh() {
  const poll = ++polls;
  const response = await fetchJson(`/data?minutes=${minutes}`).catch(() => null);
  if (poll !== polls) return; // another poll has started since
  data = response ?? data;
  const { silent_seconds: silence, outcomes } = data;
  const failures = outcomes.filter((reason) => reason);
  const problems = [];
  if (!response) problems.push("The dashboard's server does not respond. The values below are older.");
  else if (silence === null) problems.push("No metrics received yet.");
  else if (silence > SILENT_AFTER_SECONDS) problems.push(`No metrics received for ${Math.floor(silence)} s. The values below are older.`);
  const silent = problems.length > 0;
  if (response && failures.length) problems.push(`${failures.length} of the last ${outcomes.length} requests failed (${failures.at(-1)}).`);
  const healthy = problems.length === 0;
  $("#status").dataset.state = healthy ? "live" : "alert";
  $("#status").textContent = problems.join(" ") || "Receiving metrics.";
  data.panels.forEach((panel, index) => panels[index](panel, { ...data, silent, healthy }));
  if (!response) return;
  $("#datagrams").textContent = `${data.datagrams} datagrams on udp ${data.address}, ${data.bad_lines} invalid lines. Service: `;
  $("#service").textContent = $("#service").href = data.service;
  $("#errors").replaceChildren(...data.errors.map((error) => element("li", {}, error)));
  document.body.dataset.drawn = "true"; // for tests and screenshots
}

function poll() {
  refresh().finally(() => setTimeout(poll, POLL_MILLISECONDS));
}

const buttons = document.querySelectorAll("[data-minutes]");
for (const button of buttons) {
  button.addEventListener("click", () => {
    minutes = button.dataset.minutes;
    for (const other of buttons) other.setAttribute("aria-pressed", other === button);
    refresh();
  });
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh); // redraws the canvases
const dashboard = await fetchJson("/dashboard.json");
document.title = `${dashboard.title} (local)`;
$("h1").textContent = dashboard.title;
$("#description").textContent = dashboard.description;
for (const { definition } of dashboard.widgets) layOut(definition);
poll();
