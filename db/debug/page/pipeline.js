// The pipeline: boxes for the stages, with their mailboxes, and wires between them.
import { brief, count, draw, make, mark, percent, plural, say, size } from "./text.js";

const names = { writer: "Writer", flusher: "Flusher", keeper: "Keeper", compactor: "Compactor", sweeper: "Sweeper", preparer: "Preparer" };
const boxes = {};
for (const box of document.querySelectorAll(".stage")) {
  boxes[box.dataset.stage] = {
    box,
    doing: box.querySelector(".doing"),
    mailbox: box.querySelector(".mailbox"),
    vessels: box.querySelector(".vessels"),
    figures: box.querySelector(".figures"),
  };
}

// Wires lead from one box to another. Traffic says how much goes along, held whether
// something waits there.
const wires = [
  { from: "callers", to: "writer", traffic: (s) => s.commits, held: (s) => s.waiting >= 0.02 },
  { from: "writer", to: "preparer", traffic: (s, by) => by.preparer.rate },
  { from: "writer", to: "memtables", traffic: (s) => s.commits },
  { from: "writer", to: "flusher", traffic: (s, by) => by.flusher.rate, held: (s) => Boolean(s.behind) },
  { from: "memtables", to: "flusher", traffic: (s, by) => by.flusher.rate, held: (s) => Boolean(s.behind) },
  { from: "flusher", to: "keeper", traffic: (s, by) => by.flusher.rate, held: (s) => s.behind === "compactor" },
  { from: "keeper", to: "compactor", traffic: (s, by) => by.compactor.rate },
  { from: "compactor", to: "workers", traffic: (s) => s.workers.running },
  { from: "workers", to: "keeper", traffic: (s) => s.workers.running },
  { from: "keeper", to: "sweeper", traffic: (s, by) => by.sweeper.rate },
];

const canvas = document.getElementById("wires");
for (const wire of wires) {
  wire.path = draw("path", { class: "wire" });
  wire.flow = draw("path", { class: "flow" });
  wire.head = draw("path", { class: "head" });
  canvas.append(wire.path, wire.flow, wire.head);
}

// route lays the wires, after each change of the layout.
function route() {
  const stage = document.getElementById("stages").getBoundingClientRect();
  mark(canvas, "width", String(stage.width));
  mark(canvas, "height", String(stage.height));
  const place = (name) => {
    const r = boxes[name].box.getBoundingClientRect();
    return { left: r.left - stage.left, right: r.right - stage.left, top: r.top - stage.top, bottom: r.bottom - stage.top, width: r.width, height: r.height };
  };
  const inOrder = [...document.querySelectorAll(".stage")].map((box) => box.dataset.stage).sort((a, b) => place(a).top - place(b).top);
  const oneColumn = new Set(inOrder.map((name) => Math.round(place(name).left))).size === 1;
  for (const wire of wires) {
    const adjacent = inOrder.indexOf(wire.to) === inOrder.indexOf(wire.from) + 1;
    const way = oneColumn && !adjacent ? null : lay(place(wire.from), place(wire.to));
    for (const part of [wire.path, wire.flow, wire.head]) part.toggleAttribute("hidden", !way);
    if (!way) continue;
    wire.path.setAttribute("d", way.line);
    wire.flow.setAttribute("d", way.line);
    wire.head.setAttribute("d", way.head);
  }
}

const tip = 5; // pixels between the end of a line and the box

// lay finds the way between two boxes: straight where they are neighbours, else a curve
// through the gap between the rows.
function lay(a, b) {
  const middle = (r) => (r.top + r.bottom) / 2;
  if (a.right <= b.left && Math.abs(a.top - b.top) < 20) {
    const y = a.top + Math.min(a.height, b.height) * 0.5;
    return { line: `M${a.right},${y} H${b.left - tip}`, head: arrow(b.left, y, "right") };
  }
  if (b.right <= a.left && Math.abs(a.top - b.top) < 20) {
    const y = a.top + Math.min(a.height, b.height) * 0.5;
    return { line: `M${a.left},${y} H${b.right + tip}`, head: arrow(b.right, y, "left") };
  }
  if (Math.abs(a.left - b.left) < 20) {
    const x = a.left + a.width / 2;
    return a.bottom <= b.top
      ? { line: `M${x},${a.bottom} V${b.top - tip}`, head: arrow(x, b.top, "down") }
      : { line: `M${x},${a.top} V${b.bottom + tip}`, head: arrow(x, b.bottom, "up") };
  }
  if (a.bottom <= b.top) {
    const x = a.left + a.width * 0.22, end = b.left + b.width * 0.78, half = (a.bottom + b.top) / 2;
    return { line: `M${x},${a.bottom} C${x},${half} ${end},${half} ${end},${b.top - tip}`, head: arrow(end, b.top, "down") };
  }
  const x = a.left + a.width * 0.78, end = b.left + b.width * 0.22, half = (a.top + b.bottom) / 2;
  return middle(a) < middle(b) ? null : { line: `M${x},${a.top} C${x},${half} ${end},${half} ${end},${b.bottom + tip}`, head: arrow(end, b.bottom, "up") };
}

// arrow is a head that ends at a point.
function arrow(x, y, towards) {
  const l = 7, w = 4;
  switch (towards) {
    case "right": return `M${x - l},${y - w} L${x - 1},${y} L${x - l},${y + w} Z`;
    case "left": return `M${x + l},${y - w} L${x + 1},${y} L${x + l},${y + w} Z`;
    case "down": return `M${x - w},${y - l} L${x},${y - 1} L${x + w},${y - l} Z`;
    default: return `M${x - w},${y + l} L${x},${y + 1} L${x + w},${y + l} Z`;
  }
}

new ResizeObserver(route).observe(document.getElementById("stages"));

// speed sorts rates into five classes.
function speed(rate) {
  if (rate <= 0) return "0";
  return String(Math.min(5, 1 + Math.floor(Math.log10(rate + 1) * 1.3)));
}

// cells shows how full something is, as a row of cells.
function cells(element, filled, most, text) {
  const shown = Math.min(most, 8);
  let row = element.querySelector(".cells");
  if (!row || row.children.length !== shown) {
    row = make("span", { class: "cells", "aria-hidden": "true" });
    for (let i = 0; i < shown; i++) row.append(make("span"));
    element.replaceChildren(row, make("span", { class: "celltext" }));
  }
  const full = filled <= 0 ? 0 : Math.max(1, Math.round((filled / most) * shown));
  [...row.children].forEach((cell, i) => mark(cell, "data-full", i < full ? "yes" : "no"));
  mark(element, "data-full", filled >= most && most > 0 ? "yes" : "no");
  say(element.lastChild, text);
}

const words = { works: "at work", waits: "waits", rests: "rests" };

function set(name, doing, text, figures) {
  const b = boxes[name];
  mark(b.box, "data-doing", doing);
  say(b.doing, text);
  say(b.figures, figures);
}

// showPipeline shows the state of all stages.
export function showPipeline(state) {
  const by = {};
  for (const stage of state.stages) {
    by[stage.name] = stage;
    const doing = state.read_only ? "rests" : stage.doing;
    const text = doing === "waits" ? "waits for " + names[stage.waits_for] : state.read_only ? "not started" : words[doing];
    let figures = stage.rate >= 0.05 ? brief(stage.rate < 10 ? Math.max(stage.rate, 1) : stage.rate) + (stage.rate < 1.5 ? " message a second" : " messages a second") : "no messages";
    if (stage.name === "writer" || stage.name === "flusher" || stage.name === "keeper") figures += ", busy " + percent(stage.busy);
    if (stage.held >= 0.05) figures += ". " + (stage.held < 1.5 ? "A sender waits" : count(stage.held) + " senders wait") + " for room";
    set(stage.name, doing, text, figures);
    cells(boxes[stage.name].mailbox, stage.depth, stage.capacity || 1, stage.capacity ? `${stage.depth} of ${stage.capacity} wait` : "no mailbox");
  }
  const held = state.waiting >= 0.02;
  set("callers", held ? "waits" : state.commits >= 0.5 ? "works" : "rests", held ? "waits for Writer" : state.commits >= 0.5 ? "writes" : "writes nothing",
    state.commits >= 0.5 ? plural(Math.round(state.commits), "write", "writes") + " a second" + (held ? ", held back " + percent(state.waiting) + " of the time" : "") : "No writes.");
  const m = state.memtable;
  set("memtables", state.read_only ? "rests" : m.sealed > 1 ? "waits" : m.entries > 0 ? "works" : "rests",
    m.sealed ? plural(m.sealed, "full one waits", "full ones wait") : "none is full",
    `${count(m.entries)} entries, ${size(m.bytes)} of ${size(m.limit)}` + (m.sealed ? `; ${size(m.sealed_bytes)} full` : ""));
  vessels(boxes.memtables.vessels, [m.bytes / (m.limit || 1), ...Array(Math.min(m.sealed, 3)).fill(1)], 4);
  const w = state.workers;
  set("workers", w.running ? "works" : "rests", state.read_only ? "not started" : w.running ? `${w.running} of ${w.limit} at work` : "rest",
    w.running ? state.jobs.filter((j) => j.kind === "merge").map((j) => (j.from === j.to ? `level ${j.from}` : `level ${j.from} into ${j.to}`) + ": " + percent(j.share)).join(", ") : "No merges.");
  vessels(boxes.workers.vessels, state.jobs.filter((j) => j.kind === "merge").map((j) => j.share), w.limit || 2);
  for (const wire of wires) {
    mark(wire.flow, "data-speed", state.read_only ? "0" : speed(wire.traffic(state, by)));
    const stopped = Boolean(wire.held && wire.held(state));
    for (const part of [wire.path, wire.flow, wire.head]) mark(part, "data-held", stopped ? "yes" : "no");
  }
}

// vessels shows what is filled, and how far.
function vessels(element, shares, most) {
  while (element.children.length < most) element.append(make("span", {}, make("i")));
  while (element.children.length > most) element.lastChild.remove();
  [...element.children].forEach((vessel, i) => {
    vessel.firstChild.style.width = Math.round(100 * Math.min(1, shares[i] || 0)) + "%";
    mark(vessel, "data-full", shares[i] >= 1 ? "yes" : "no");
  });
}
