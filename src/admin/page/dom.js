// Makes elements. Whatever is text is put in as text and never as markup; characters that would not be seen, or would turn
// others around, are written out.

const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

export function plain(text) {
  return String(text).replace(UNSEEN, (c) => "\\u{" + c.codePointAt(0).toString(16) + "}");
}

export const byId = (id) => document.getElementById(id);

// make("td", {class: "number"}, "12", child ...)
export function make(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function makeSvg(name, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    element.setAttribute(name, value === true ? "" : plain(value));
  }
  for (const child of children.flat()) {
    if (child === undefined || child === null) continue;
    element.append(child instanceof Node ? child : plain(child));
  }
  return element;
}

// A state in a word, with a shape beside it.
export function state(kind, text) {
  return make("span", { class: "state " + kind }, text);
}

export function facts(list, pairs) {
  const found = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "");
  list.replaceChildren(...found.map(([name, value]) => make("div", null, make("dt", null, name), make("dd", null, value))));
}

// A table that is made anew when what it shows has changed, and not else: the focus stays where it is.
export function table(place, { caption, columns, rows, nothing, className }) {
  const shown = JSON.stringify([caption, rows.map((row) => row.shows), nothing]);
  if (place.dataset.shown === shown) return;
  place.dataset.shown = shown;
  if (rows.length === 0) {
    place.replaceChildren(make("p", { class: "nothing" }, nothing));
    return;
  }
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const head = make("thead", null, make("tr", null, columns.map((column) =>
    make("th", { scope: "col", class: column.class }, column.name))));
  const body = make("tbody", null, rows.map((row) => row.element()));
  const left = place.scrollLeft;
  place.replaceChildren(make("table", { class: className }, make("caption", null, caption), head, body));
  place.scrollLeft = left;
  if (focused !== undefined) {
    [...place.querySelectorAll("[data-key]")].find((element) => element.dataset.key === focused)?.focus();
  }
}

const SECOND = 1e6;

export function duration(us) {
  if (us === undefined || us === null || Number.isNaN(us)) return "\u2013";
  if (us < 1000) return Math.round(us) + " \u00b5s";
  if (us < 10_000) return (us / 1000).toFixed(2) + " ms";
  if (us < 100_000) return (us / 1000).toFixed(1) + " ms";
  if (us < SECOND) return Math.round(us / 1000) + " ms";
  if (us < 100 * SECOND) return (us / SECOND).toFixed(2) + " s";
  return Math.round(us / SECOND) + " s";
}

export function number(value, decimals = 1) {
  if (value === undefined || value === null || Number.isNaN(value)) return "\u2013";
  if (value === 0) return "0";
  if (value >= 100) return Math.round(value).toLocaleString("en");
  return value.toFixed(value < 0.1 ? 2 : decimals);
}

export function bytes(count) {
  return count === undefined ? undefined : number(count / (1 << 20), 0) + " MiB";
}

export function elapsed(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const at = Math.max(0, parts.findIndex(([length]) => seconds >= length));
  const [[length, unit], next] = [seconds >= 1 ? parts[at] : parts[3], parts[at + 1]];
  const whole = Math.floor(seconds / length);
  const rest = next ? Math.floor((seconds - whole * length) / next[0]) : 0;
  return rest > 0 && seconds >= 60 ? `${whole} ${unit} ${rest} ${next[1]}` : `${whole} ${unit}`;
}

export function clock(ms) {
  return new Date(ms).toLocaleTimeString("en-GB");
}
