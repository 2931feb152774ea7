// Curves of the last minutes. Rows are those of the server, by their columns.
import { brief, draw, make, mark, say, size, span } from "./text.js";

const longest_ms = 300_000, shortest_ms = 60_000;
let window_ms = shortest_ms; // as long as there are rows
const perSecond = (n) => brief(n) + "/s";
const bytesPerSecond = (n) => size(n) + "/s";
const micros = (n) => (n ? span(n / 1e6) : "–");

const charts = [
  { title: "Writes", write: perSecond, series: [{ name: "operations", column: "operations" }] },
  { title: "Bytes written", write: bytesPerSecond, series: [{ name: "to the disk in all", value: (r) => r.log_bytes + r.table_bytes }, { name: "by callers", column: "user_bytes", second: true }] },
  { title: "Writers wait", write: (n) => Math.round(n) + " %", most: 100, warm: true, series: [{ name: "of the time", column: "waiting_percent" }] },
  { title: "Level 0", write: (n) => brief(n) + (n === 1 ? " run" : " runs"), steps: true, series: [{ name: "tables that overlap", column: "level0" }], bound: (s) => s.level0.limit },
  { title: "Latency", write: micros, gaps: true, series: [{ name: "a sync", column: "sync_us" }, { name: "a group of writes", column: "group_us", second: true }] },
  { title: "Blocks read", write: perSecond, series: [{ name: "from the cache", column: "cached" }, { name: "from files", column: "from_files", second: true }] },
];

const container = document.getElementById("charts");
for (const chart of charts) {
  chart.now = chart.series.map((s) => make("span", { class: "now" + (s.second ? " second" : "") }));
  chart.svg = draw("svg", { class: "curve" + (chart.warm ? " warm" : ""), "aria-hidden": "true" });
  chart.bound_line = draw("line", { class: "bound" });
  chart.cursor = draw("line", { class: "cursor" });
  chart.paths = chart.series.map((s) => draw("path", { class: "line" + (s.second ? " second" : "") }));
  chart.area = draw("path", { class: "area" });
  chart.svg.append(chart.area, ...chart.paths.slice().reverse(), chart.bound_line, chart.cursor);
  chart.top = make("span", { class: "scaletop" });
  chart.when = make("span", { class: "when" });
  chart.figure = make("figure", { tabindex: "0", role: "img" },
    make("figcaption", {}, make("h3", {}, chart.title), ...chart.series.map((s, i) => make("p", {}, chart.now[i], make("span", { class: "name" }, " " + s.name)))),
    make("div", { class: "plot" }, chart.svg, chart.top, chart.when));
  container.append(chart.figure);
}

let rows = [];
let state = null;
let looked = null; // the moment that the reader points at, in milliseconds; null: now
let width = 0;

const height = 72;
new ResizeObserver(() => {
  const plot = charts[0].svg.parentElement.clientWidth;
  if (plot !== width) {
    width = plot;
    paint();
  }
}).observe(container);

const value = (series, row) => (series.value ? series.value(row) : row[series.column]);

// showCurves paints new rows.
export function showCurves(newRows, newState) {
  rows = newRows;
  state = newState;
  paint();
}

// rowAt finds the row of a moment.
function rowAt(ms) {
  let best = rows.length - 1;
  for (let i = rows.length - 1; i >= 0; i--) {
    if (Math.abs(rows[i].time_ms - ms) <= Math.abs(rows[best].time_ms - ms)) best = i;
    if (rows[i].time_ms < ms) break;
  }
  return rows[best];
}

function paint() {
  if (!rows.length || !width) return;
  const end = rows[rows.length - 1].time_ms;
  window_ms = Math.min(Math.max(end - rows[0].time_ms, shortest_ms), longest_ms);
  const shown = rows.filter((r) => r.time_ms > end - window_ms - 2000 && r.seconds > 0);
  const x = (ms) => width - ((end - ms) / window_ms) * width;
  const at = looked === null ? rows[rows.length - 1] : rowAt(Math.max(looked, end - window_ms));
  for (const chart of charts) {
    const highest = Math.max(...chart.series.flatMap((s) => shown.map((r) => value(s, r))), 0);
    const bound = chart.bound && state ? chart.bound(state) : 0;
    const top = chart.most || round(Math.max(highest, bound) * 1.05) || 1;
    const y = (v) => height - 1 - (Math.min(v, top) / top) * (height - 6);
    chart.paths.forEach((path, i) => path.setAttribute("d", line(shown, chart, chart.series[i], x, y)));
    const first = line(shown, { ...chart, gaps: false }, chart.series[0], x, y);
    chart.area.setAttribute("d", first && !chart.gaps ? `${first} L${x(shown[shown.length - 1].time_ms)},${height} L${x(shown[0].time_ms)},${height} Z` : "");
    mark(chart.svg, "viewBox", `0 0 ${width} ${height}`);
    say(chart.top, highest > 0 || chart.most ? chart.write(top) : "");
    chart.bound_line.toggleAttribute("hidden", !bound);
    if (bound) for (const [name, v] of [["x1", 0], ["x2", width], ["y1", y(bound)], ["y2", y(bound)]]) chart.bound_line.setAttribute(name, v);
    chart.cursor.toggleAttribute("hidden", looked === null);
    for (const [name, v] of [["x1", x(at.time_ms)], ["x2", x(at.time_ms)], ["y1", 0], ["y2", height]]) chart.cursor.setAttribute(name, v);
    say(chart.when, looked === null ? "" : Math.round((end - at.time_ms) / 1000) + " s ago");
    chart.series.forEach((s, i) => say(chart.now[i], chart.write(value(s, at))));
    const label = chart.series.map((s) => `${chart.write(value(s, at))} ${s.name}`).join(", ");
    mark(chart.figure, "aria-label", `${chart.title}: ${label}${looked === null ? "" : ", " + chart.when.textContent}. At most ${chart.write(highest)} in the last ${span(window_ms / 1000)}.`);
  }
}

// line is a path through the values. It is broken where nobody looked, and in some charts
// where there was nothing to measure.
function line(shown, chart, series, x, y) {
  let d = "";
  let pen = false;
  for (const row of shown) {
    const v = value(series, row);
    if (chart.gaps && v === 0) {
      pen = false;
      continue;
    }
    const px = x(row.time_ms).toFixed(1), py = y(v).toFixed(1);
    if (pen && chart.steps) d += `H${px}`;
    if (pen && row.seconds > 3) d += `L${x(row.time_ms - row.seconds * 1000).toFixed(1)},${py}`;
    d += (pen ? "L" : "M") + px + "," + py;
    if (!pen) d += `h0.01`;
    pen = true;
  }
  return d;
}

// round makes a scale end at a round number.
function round(n) {
  if (n <= 0) return 0;
  const power = 10 ** Math.floor(Math.log10(n));
  for (const step of [1, 1.5, 2, 3, 4, 5, 6, 8, 10]) if (step * power >= n) return step * power;
  return n;
}

function point(ms) {
  looked = ms;
  paint();
}

for (const chart of charts) {
  const plot = chart.svg.parentElement;
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    point(rows.length ? rows[rows.length - 1].time_ms - (1 - (event.clientX - box.left) / box.width) * window_ms : null);
  });
  plot.addEventListener("pointerleave", () => point(null));
  chart.figure.addEventListener("blur", () => point(null));
  chart.figure.addEventListener("keydown", (event) => {
    if (!rows.length) return;
    const step = { ArrowLeft: -5000, ArrowRight: 5000 }[event.key];
    if (event.key === "Escape") point(null);
    if (!step) return;
    event.preventDefault();
    const end = rows[rows.length - 1].time_ms;
    const next = (looked === null ? end : looked) + step;
    point(next >= end ? null : Math.max(next, end - window_ms));
  });
}
