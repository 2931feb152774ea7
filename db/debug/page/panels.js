// The panels below the tree, and the explanation of a key.
import { count, list, make, mark, percent, plural, say, size, span } from "./text.js";
import { showAsked } from "./tree.js";

const element = (id) => document.getElementById(id);

// showPanels shows what a state says beside pipeline and tree.
export function showPanels(state, rows) {
  showJobs(state, rows);
  showMemory(state);
  showPins(state);
  list(element("facts"), state.facts.map((f) => [f.name, f.text]));
  const r = element("recovery");
  if (r.children.length !== 2) r.replaceChildren(make("p"), make("div"));
  say(r.children[0], state.recovery.sentence);
  list(r.children[1], (state.recovery.facts || []).map((f) => [f.name, f.text]));
}

// resize makes a container have so many children, made by one function.
function resize(container, n, build) {
  while (container.children.length > n) container.lastChild.remove();
  while (container.children.length < n) container.append(build());
}

function showJobs(state, rows) {
  const box = element("jobs");
  if (box.children.length !== 2) box.replaceChildren(make("ul", { class: "jobs" }), make("p", { class: "quiet" }));
  const [ul, rest] = box.children;
  const jobs = state.jobs || [];
  resize(ul, jobs.length, () => make("li", {}, make("p"), make("div", { class: "bar" }, make("i")), make("p", { class: "quiet" })));
  jobs.forEach((job, i) => {
    const [title, bar, more] = ul.children[i].children;
    say(title, job.kind === "flush" ? "Flush: a full memtable becomes a table on level 0" : job.from === job.to ? `Merge within level ${job.from}` : `Merge: level ${job.from} into level ${job.to}`);
    bar.firstChild.style.width = percent(job.share).replace(" ", "").replace("<", "");
    say(more, [percent(job.share), job.bytes ? `${plural(job.tables, "table", "tables")}, ${size(job.bytes)}` : "", span(job.seconds), job.reason || ""].filter(Boolean).join(" · "));
  });
  const minute = rows.filter((r) => r.time_ms > state.time_ms - 60_000);
  const sum = (column) => minute.reduce((n, r) => n + r[column] * r.seconds, 0);
  say(rest, (jobs.length ? "" : "None is running. ") + `In the last minute callers wrote ${size(sum("user_bytes"))}, flushes and merges ${size(sum("table_bytes"))}.`);
}

const owners = new Map();

function showMemory(state) {
  const box = element("memory");
  const total = state.memory.reduce((n, o) => n + o.bytes, 0);
  if (!box.children.length) {
    box.append(make("p"), make("div", { class: "stack", "aria-hidden": "true" }), make("ul", { class: "owners" }));
    state.memory.forEach((o, i) => {
      const part = make("i", { "data-owner": String(i) }), text = make("b");
      box.children[1].append(part);
      box.children[2].append(make("li", {}, make("span", { class: "swatch", "data-owner": String(i) }), make("span", {}, o.name), text));
      owners.set(o.name, { part, text });
    });
  }
  say(box.firstChild, `${size(total)}` + (state.memory_limit ? ` of ${size(state.memory_limit)} for all databases of the budget` : ""));
  for (const o of state.memory) {
    const { part, text } = owners.get(o.name);
    part.style.width = (100 * o.bytes) / (total || 1) + "%";
    say(text, size(o.bytes));
  }
}

function showPins(state) {
  const box = element("pins");
  const shown = state.pins.shown || [];
  if (box.children.length !== 2) box.replaceChildren(make("p"), make("ul", { class: "pinlist" }));
  const seen = state.pins.as_of_ms, late = (state.time_ms - seen) / 1000;
  const asOf = late > 5 ? ` As of ${new Date(seen).toLocaleTimeString()}, ${span(late)} ago.` : ""; // to look for them may take a slow disk long
  say(box.firstChild, !seen ? "Somebody looks …"
    : state.pins.count === 0 ? "Nobody. No snapshot, iterator, transaction or checkpoint is open, and nobody follows the changes." + asOf
    : (state.pins.count === 1 ? "One is" : count(state.pins.count) + " are") + " open. What was deleted or overwritten since must stay until it is closed." + asOf);
  resize(box.children[1], shown.length, () => make("li", {}, make("b"), make("span"), make("code")));
  shown.forEach((pin, i) => {
    const [kind, facts, where] = box.children[1].children[i].children;
    const age = Math.max(0, (state.time_ms - Date.parse(pin.since)) / 1000);
    say(kind, pin.kind);
    say(facts, `for ${span(age)}` + (pin.bytes ? `, keeps ${size(pin.bytes)}` : ""));
    say(where, pin.where || "somewhere in the program");
    mark(where.parentElement, "data-old", age > 60 ? "yes" : "no");
  });
}

async function ask(address) {
  try {
    return await (await fetch(address)).json();
  } catch {
    return { error: "The database does not answer." };
  }
}

// Space by prefix.

element("spaceform").addEventListener("submit", (event) => {
  event.preventDefault();
  measure(element("prefix").value);
});

const shownParts = 16; // the largest ones

async function measure(prefix) {
  element("prefix").value = prefix;
  const box = element("space");
  mark(box, "aria-busy", "true");
  const answer = await ask("space?prefix=" + encodeURIComponent(prefix));
  mark(box, "aria-busy", "false");
  if (answer.error) {
    box.replaceChildren(make("p", { class: "wrong" }, answer.error));
    return;
  }
  const takes = (s) => s.live_bytes + s.dead_bytes + s.tombstone_bytes + s.expired_bytes;
  const all = takes(answer.whole);
  const most = Math.max(...answer.parts.map((p) => takes(p.space)), 1);
  const bars = make("ul", { class: "parts" });
  const sorted = [...answer.parts].sort((a, b) => takes(b.space) - takes(a.space));
  const rest = sorted.splice(shownParts);
  for (const p of sorted) {
    const deeper = make("button", { type: "button", title: "Divide these keys further" }, p.prefix.length > 200 ? p.prefix.slice(0, 200) + "…" : p.prefix || "the empty key");
    deeper.addEventListener("click", () => measure(p.prefix));
    const live = make("i", { class: "live" }), dead = make("i", { class: "dead" });
    live.style.width = (100 * p.space.live_bytes) / most + "%";
    dead.style.width = (100 * (takes(p.space) - p.space.live_bytes)) / most + "%";
    bars.append(make("li", {}, deeper, make("span", { class: "bytes" }, size(takes(p.space))), make("span", { class: "bar" }, live, dead)));
  }
  const waste = answer.whole.dead_bytes + answer.whole.tombstone_bytes + answer.whole.expired_bytes;
  box.replaceChildren(
    make("p", {}, `About ${size(all)} in tables, ${size(answer.whole.live_bytes)} of it live` + (waste ? `, ${size(waste)} outdated or deleted` : "") + (answer.whole.pinned_bytes ? `, of which ${size(answer.whole.pinned_bytes)} are kept for those who hold old entries` : "") + "."),
    bars, make("p", { class: "quiet" }, [
      rest.length ? `${plural(rest.length, "smaller prefix takes", "smaller prefixes take")} ${size(rest.reduce((n, p) => n + takes(p.space), 0))}.` : "",
      answer.more ? "Other prefixes follow behind these." : "",
    ].join(" ")));
}

// The explanation of a key.

element("search").addEventListener("submit", async (event) => {
  event.preventDefault();
  const key = element("key").value;
  const box = element("explanation");
  const answer = await ask("explain?key=" + encodeURIComponent(key));
  box.hidden = false;
  const closer = make("button", { type: "button", class: "close" }, "Close");
  closer.addEventListener("click", forget);
  if (answer.error) {
    box.replaceChildren(make("header", {}, make("h2", {}, "That cannot be explained"), closer), make("p", { class: "wrong" }, answer.error));
    return;
  }
  explain(box, answer, closer);
});

element("search").addEventListener("keydown", (event) => {
  if (event.key === "Escape") forget();
});

function forget() {
  element("explanation").hidden = true;
  showAsked(new Map());
  element("key").focus();
}

const decided = {
  put: "a put", delete: "a delete", "range-delete": "a delete of a range", expiry: "a value whose time is over", merge: "merges",
};

function place(step) {
  return step.place === "table" ? `level ${step.level}, table ${step.table}` : step.place;
}

function explain(box, answer, closer) {
  const e = answer.explanation;
  const where = e.level >= 0 && e.table ? `level ${e.level}, table ${e.table}` : "memory";
  const verdict = e.found
    ? `It has a value. What decides is ${decided[e.decided_by] || e.decided_by}, found in ${where}.`
    : decided[e.decided_by] ? `It has no value. What decides is ${decided[e.decided_by]}, found in ${where}.` : "It has no value: nothing anywhere says otherwise.";
  const steps = make("ol", { class: "steps" });
  const found = new Map();
  const all = e.steps || [];
  all.forEach((step, i) => {
    const last = i === all.length - 1 && e.decided_by !== "nothing";
    const how = step.filter === "absent" ? "its filter says: not here"
      : step.read ? (step.cached ? "looked into a block in the cache" : "read a block from the file")
      : step.cached ? "looked into a block in the cache" : step.place === "table" ? "looked up" : "looked up in memory";
    steps.append(make("li", { "data-last": last ? "yes" : "no" }, make("b", {}, place(step)), make("span", {}, (step.filter === "maybe" ? "its filter says: perhaps; " : "") + how), make("span", { class: "time" }, span((step.time_ns || 0) / 1e9))));
    if (step.table) found.set(step.table, last ? "found" : "asked");
  });
  showAsked(found);
  box.replaceChildren(
    make("header", {}, make("h2", {}, "Where is ", make("code", {}, answer.key || "the empty key"), "?"), closer),
    make("p", { class: "verdict" }, verdict + ` A read asks ${plural(all.length, "place", "places")}, which took ${span((e.time_ns || 0) / 1e9)}.`), steps);
}
