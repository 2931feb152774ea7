// How figures are written, and how elements are made. Nothing here ever parses HTML: keys
// and call sites are text of somebody else.

// count writes a whole number with separators.
export function count(n) {
  return Math.round(n).toLocaleString("en-US");
}

// brief writes a number in at most four characters and a unit.
export function brief(n) {
  if (n < 1000) return String(Math.round(n));
  for (const unit of ["k", "M", "G", "T"]) {
    n /= 1000;
    if (n < 999.5) return significant(n) + " " + unit;
  }
  return significant(n) + " T";
}

// size writes bytes. 1 MB is 1,000,000 bytes.
export function size(n) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (n >= 999.5 && unit < units.length - 1) {
    n /= 1000;
    unit++;
  }
  return (unit === 0 ? Math.round(n) : significant(n)) + " " + units[unit];
}

function significant(n) {
  return n >= 99.95 ? n.toFixed(0) : n >= 9.995 ? n.toFixed(1) : n.toFixed(2);
}

// span writes seconds.
export function span(s) {
  if (s < 1e-6) return Math.round(s * 1e9) + " ns";
  if (s < 1e-3) return significant(s * 1e6) + " µs";
  if (s < 0.9995) return significant(s * 1e3) + " ms";
  if (s < 60) return significant(s) + " s";
  if (s < 3600) return Math.floor(s / 60) + " min " + Math.floor(s % 60) + " s";
  if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
  return Math.floor(s / 86400) + " d " + Math.floor((s % 86400) / 3600) + " h";
}

// percent writes a share.
export function percent(share) {
  const p = 100 * share;
  return (p > 0 && p < 1 ? "<1" : Math.round(p)) + " %";
}

// plural writes a count with its noun.
export function plural(n, one, many) {
  return n === 1 ? "1 " + one : count(n) + " " + many;
}

// make makes an element with attributes and children; strings become text.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

// draw makes an SVG element.
export function draw(tag, attributes = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// say sets a text, if it is another one.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// mark sets an attribute, if it is another one.
export function mark(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

// list fills a container with a list of names and values, reusing what is there.
export function list(container, pairs) {
  let dl = container.querySelector("dl");
  if (!dl || dl.children.length !== 2 * pairs.length) {
    dl = make("dl", { class: "pairs" });
    for (let i = 0; i < pairs.length; i++) dl.append(make("dt"), make("dd"));
    container.replaceChildren(dl);
  }
  pairs.forEach(([name, value], i) => {
    say(dl.children[2 * i], name);
    say(dl.children[2 * i + 1], value);
  });
}
