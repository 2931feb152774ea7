// The tree: levels from top to bottom, keys from left to right, a button for each table.
import { count, make, mark, percent, plural, say, size } from "./text.js";

const unit = 10_000; // the server's for places on the axis
const lanes = document.getElementById("lanes");
const line = document.getElementById("boxline");
const detail = document.getElementById("table");
const hint = line.textContent;

let tree = null;
let drawn = []; // of each level: { level, lane, label, boxes: [{ data, button }] }
let memory = null; // the lane of the memtables
let current = null; // the box that the Tab key comes to
let asked = new Map(); // number of a table to what a search found there
let opened = null;

// showTree draws a new tree, where there is one, and what has changed about the old one.
export function showTree(newTree, state) {
  if (newTree) draw(newTree);
  if (!tree) return;
  showMemory(state.memtable);
  for (const level of drawn) if (level.level.level === 0) labelRuns(level, state.level0);
  const marks = state.marks;
  if (!marks || state.tree.id !== tree.id) return;
  drawn.forEach((level, l) => {
    level.boxes.forEach((box, i) => {
      mark(box.button, "data-heat", marks.heat[l][i]);
      mark(box.button, "data-age", marks.age[l][i]);
      mark(box.button, "data-busy", marks.busy[l][i]);
    });
  });
}

function draw(newTree) {
  const focused = document.activeElement && document.activeElement.classList.contains("box") ? current : null;
  tree = newTree;
  const there = new Set(tree.levels.flatMap((level) => level.boxes.map((data) => data.n)));
  const old = new Map();
  for (const level of drawn) {
    for (const box of level.boxes) {
      if (there.has(box.data.n)) old.set(box.data.n, box.button);
      else box.button.remove();
    }
  }
  drawn = tree.levels.map((level) => {
    const before = drawn.find((d) => d.level.level === level.level);
    const row = before || lane(level.level);
    row.level = level;
    const rowHeight = level.boxes.length ? Math.max(4, Math.min(13, 260 / level.boxes.length)) : 0;
    row.boxes = level.boxes.map((data, i) => {
      const button = old.get(data.n) || make("button", { class: "box", type: "button", tabindex: "-1" });
      const width = Math.max(data.y - data.x, unit / 500);
      button.style.left = Math.min(data.x, unit - width) / (unit / 100) + "%";
      button.style.width = width / (unit / 100) + "%";
      button.style.top = level.level === 0 ? i * rowHeight + "px" : "0";
      button.style.height = level.level === 0 ? Math.max(3, rowHeight - 2) + "px" : "100%";
      button.box = { data, level };
      mark(button, "aria-label", describe(data, level));
      mark(button, "data-asked", asked.get(data.n) || "no");
      return { data, button };
    });
    // In the order of keys, also for who hears the page. What has its place is not moved: it
    // would lose the focus.
    row.boxes.forEach((box, i) => {
      if (row.lane.children[i] !== box.button) row.lane.insertBefore(box.button, row.lane.children[i] || null);
    });
    row.lane.style.height = level.level === 0 ? Math.max(level.boxes.length * rowHeight, 13) + "px" : "";
    mark(row.lane, "data-empty", level.boxes.length ? "no" : "yes");
    if (level.level > 0) label(row);
    return row;
  });
  if (!memory) memory = memoryLane();
  const rows = [memory.row, ...drawn.map((d) => d.row)];
  for (const row of [...lanes.children]) if (!rows.includes(row)) row.remove();
  rows.forEach((row, i) => {
    if (lanes.children[i] !== row) lanes.insertBefore(row, lanes.children[i] || null);
  });
  say(document.getElementById("first"), tree.first);
  say(document.getElementById("last"), tree.last);
  keepPlace(focused);
}

function lane(number) {
  const label = make("p", { class: "lanelabel" });
  const boxes = make("div", { class: "lane" + (number === 0 ? " runs" : ""), role: "group", "aria-label": "Level " + number });
  return { row: make("div", { class: "laneline" }, label, boxes), lane: boxes, label };
}

function memoryLane() {
  const label = make("p", { class: "lanelabel" });
  const boxes = make("div", { class: "lane memory", "aria-hidden": "true" });
  return { row: make("div", { class: "laneline" }, label, boxes), lane: boxes, label };
}

function showMemory(m) {
  if (!memory) return;
  two(memory.label, "Memory", m.sealed ? plural(m.sealed, "full memtable", "full memtables") + ", " + percent(m.bytes / (m.limit || 1)) + " of the next" : "memtable " + percent(m.bytes / (m.limit || 1)) + " full");
  const parts = [...Array(Math.min(m.sealed, 3)).fill(1), m.limit ? Math.min(1, m.bytes / m.limit) : 0];
  while (memory.lane.children.length < parts.length) memory.lane.append(make("span", {}, make("i")));
  while (memory.lane.children.length > parts.length) memory.lane.lastChild.remove();
  parts.forEach((share, i) => {
    memory.lane.children[i].firstChild.style.width = 100 * share + "%";
    mark(memory.lane.children[i], "data-full", share >= 1 ? "yes" : "no");
  });
}

function two(label, first, second) {
  if (label.children.length !== 2) label.replaceChildren(make("b"), make("span"));
  say(label.children[0], first);
  say(label.children[1], second);
}

function label(row) {
  const level = row.level;
  const bound = level.target ? " of " + size(level.target) : "";
  two(row.label, "Level " + level.level, level.tables ? plural(level.tables, "table", "tables") + ", " + size(level.bytes) + bound : "empty");
  mark(row.label, "data-over", level.target && level.bytes > level.target * 1.02 ? "yes" : "no");
}

function labelRuns(row, level0) {
  two(row.label, "Level 0", plural(level0.runs, "run", "runs") + (level0.runs ? ", " + size(row.level.bytes) : "") + `; merged from ${level0.trigger} on, writers wait at ${level0.limit}`);
  mark(row.label, "data-over", level0.runs >= level0.limit * 0.75 ? "yes" : "no");
}

function describe(box, level) {
  const what = box.c ? plural(box.c, "table", "tables") + " from number " + box.n + " on" : "Table " + box.n;
  return `${what}, level ${level.level}, ${size(box.b)}, from ${box.f || "the empty key"} to ${box.t || "the empty key"}` + (box.d ? `, ${box.d} % deletes` : "");
}

// keepPlace makes one box the one that the Tab key comes to. If the focused one has gone, its
// neighbour gets the focus.
function keepPlace(focused) {
  const all = drawn.flatMap((d) => d.boxes);
  if (!all.some((b) => b.button === current)) {
    const was = current && current.box;
    current = null;
    if (was) {
      const level = drawn.find((d) => d.level.level === was.level.level && d.boxes.length);
      if (level) current = nearest(level.boxes, was.data).button;
    }
    if (!current && all.length) current = all[0].button;
  }
  for (const b of all) mark(b.button, "tabindex", b.button === current ? "0" : "-1");
  if (focused && current && document.activeElement !== current) current.focus({ preventScroll: true });
}

function nearest(boxes, data) {
  const middle = (d) => (d.x + d.y) / 2;
  return boxes.reduce((best, b) => (Math.abs(middle(b.data) - middle(data)) < Math.abs(middle(best.data) - middle(data)) ? b : best));
}

function go(button) {
  if (!button) return;
  if (current) mark(current, "tabindex", "-1");
  current = button;
  mark(button, "tabindex", "0");
  button.focus();
}

lanes.addEventListener("keydown", (event) => {
  const box = event.target.box;
  if (!box) return;
  const l = drawn.findIndex((d) => d.level === box.level);
  if (l < 0) return;
  const row = drawn[l].boxes;
  const i = row.findIndex((b) => b.button === event.target);
  const vertical = (by) => {
    if (drawn[l].level.level === 0 && row[i + by]) return row[i + by].button;
    for (let next = l + by; next >= 0 && next < drawn.length; next += by) {
      if (drawn[next].boxes.length === 0) continue;
      return drawn[next].level.level === 0 ? drawn[next].boxes[drawn[next].boxes.length - 1].button : nearest(drawn[next].boxes, box.data).button;
    }
    return null;
  };
  const moves = {
    ArrowLeft: () => row[i - 1] && row[i - 1].button,
    ArrowRight: () => row[i + 1] && row[i + 1].button,
    ArrowUp: () => vertical(-1),
    ArrowDown: () => vertical(1),
    Home: () => row[0].button,
    End: () => row[row.length - 1].button,
  };
  if (event.key === "Escape") close();
  if (!moves[event.key]) return;
  event.preventDefault();
  go(moves[event.key]());
});

lanes.addEventListener("click", (event) => {
  const box = event.target.box;
  if (box) {
    go(event.target);
    open(box);
  }
});
for (const kind of ["focusin", "pointerover"]) {
  lanes.addEventListener(kind, (event) => {
    if (event.target.box) say(line, describe(event.target.box.data, event.target.box.level));
  });
}
lanes.addEventListener("pointerleave", () => say(line, document.activeElement && document.activeElement.box ? describe(document.activeElement.box.data, document.activeElement.box.level) : hint));

// open shows the properties of a table.
async function open(box) {
  opened = box.data.n;
  const answer = await fetch(`table?number=${box.data.n}&count=${box.data.c || 1}`).then((r) => r.json(), () => ({ error: "The database does not answer." }));
  if (opened !== box.data.n) return;
  const title = make("h3", {}, box.data.c ? `${box.data.c} tables` : "Table " + box.data.n);
  const closer = make("button", { type: "button", class: "close" }, "Close");
  closer.addEventListener("click", close);
  const pairs = answer.error
    ? [["", answer.error]]
    : [
        ["level", String(answer.level)],
        ["first key", answer.from || "the empty key"],
        ["last key", answer.to || "the empty key"],
        ["size", size(answer.bytes)],
        ["entries", count(answer.entries)],
        ["deletes", count(answer.deletes) + (answer.range_deletes ? `, and ${count(answer.range_deletes)} of ranges` : "")],
        ["older versions", count(answer.shadowed)],
        ["to be merged", count(answer.merges)],
        ["values that end", count(answer.expiring)],
        ["written by operations", `${count(answer.smallest_seq)} to ${count(answer.largest_seq)}`],
        ["in the cache", answer.blocks ? `${count(answer.cached)} of ${plural(answer.blocks, "block", "blocks")}` : "nothing: nobody has read it"],
        ["numbers", answer.tables > 1 ? answer.numbers.join(", ") : ""],
      ].filter(([, value]) => value !== "" && value !== "0");
  const dl = make("dl", { class: "pairs" });
  for (const [name, value] of pairs) dl.append(make("dt", {}, name), make("dd", {}, value));
  detail.replaceChildren(make("header", {}, title, closer), dl);
  detail.hidden = false;
}

function close() {
  opened = null;
  detail.hidden = true;
  if (current && detail.contains(document.activeElement)) current.focus();
}

detail.addEventListener("keydown", (event) => {
  if (event.key === "Escape") close();
});

// showAsked marks the tables that a search has asked.
export function showAsked(found) {
  asked = found;
  for (const level of drawn) for (const box of level.boxes) mark(box.button, "data-asked", asked.get(box.data.n) || "no");
}
