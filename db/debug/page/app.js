// The live page of a database: one stream of events, shown once per second.
import { showCurves } from "./charts.js";
import { showPanels } from "./panels.js";
import { showPipeline } from "./pipeline.js";
import { mark, say, span } from "./text.js";
import { showTree } from "./tree.js";

const keptRows = 300;
const headline = document.getElementById("headline");
const status = document.getElementById("status");
const link = document.getElementById("link");

let epoch = "";
let columns = [];
let rows = [];
let last = 0; // number of the last row
let state = null;
let newTree = null; // not drawn yet
let shape = ""; // of the sentence that was read aloud last

function take(message) {
  if (message.epoch !== epoch) {
    epoch = message.epoch;
    rows = [];
    last = 0;
  }
  if (message.columns) columns = message.columns;
  message.rows.forEach((values, i) => {
    const number = message.first + i;
    if (number <= last) return;
    last = number;
    rows.push(Object.fromEntries(columns.map((name, c) => [name, values[c]])));
  });
  rows = rows.slice(-keptRows);
  state = message.state;
  if (message.tree) newTree = message.tree;
  if (!document.hidden) show();
}

function show() {
  if (!state) return;
  say(headline, state.headline);
  say(document.getElementById("why"), state.why);
  mark(document.getElementById("news"), "data-tone", state.tone);
  // Figures change all the time. Only another sentence is read aloud.
  const newShape = state.headline.replace(/[\d.,]+/g, "#");
  if (newShape !== shape) {
    shape = newShape;
    say(status, state.headline);
  }
  say(document.querySelector("title"), ({ waiting: "(waits) ", broken: "(broken) " }[state.tone] || "") + "lsmdb");
  showPipeline(state);
  showCurves(rows, state);
  showTree(newTree, state);
  newTree = null;
  showPanels(state, rows);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) show();
});

function connection(kind, text) {
  mark(link, "data-link", kind);
  say(link, text);
}

const firstPause = 2_000, longestPause = 60_000;
let pause = firstPause;

function connect() {
  const source = new EventSource("events");
  const again = (why) => {
    source.close();
    connection("lost", `${why}; asking again in ${Math.round(pause / 1000)} s`);
    setTimeout(connect, pause);
    pause = Math.min(2 * pause, longestPause);
  };
  source.onmessage = (event) => {
    pause = firstPause;
    take(JSON.parse(event.data));
    connection("live", "live, open for " + span(state.uptime_s));
  };
  source.addEventListener("closed", (event) => {
    take(JSON.parse(event.data));
    again("the database was closed");
  });
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) again("no connection");
    else connection("lost", "no connection; the browser tries again");
  };
}

connect();
