// Lines over time, with axes that name their unit, and the same figures in a table below for those who do not see them.

import { make, makeSvg } from "./dom.js";
import { WINDOW_MS } from "./history.js";

// The shortest time that is shown, while there is little to show.
const SHORTEST_MS = 60_000;

const HEIGHT = 150;
const EDGE = { top: 8, right: 8, bottom: 18, left: 52 };

// 1, 2 or 5 times a power of ten, not below.
function round(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((times) => times * power >= value * 0.999) * power;
}

export function plot(figure, { title, unit, lines, points, now, write, least }) {
  const width = Math.max(200, figure.clientWidth - 26);
  const span = Math.min(WINDOW_MS, Math.max(SHORTEST_MS, now - (points[0]?.at ?? now)));
  const values = lines.flatMap((line) => points.map((point) => point[line.key]).filter((value) => value !== undefined));
  const top = Math.max(least, ...values);
  const step = round(top / 3);
  const ceiling = Math.ceil(top / step - 1e-9) * step;
  const x = (at) => EDGE.left + (width - EDGE.left - EDGE.right) * (1 - (now - at) / span);
  const y = (value) => EDGE.top + (HEIGHT - EDGE.top - EDGE.bottom) * (1 - value / ceiling);

  const parts = [];
  for (let value = 0; value <= ceiling + step / 2; value += step) {
    const height = y(value);
    parts.push(makeSvg("line", { class: value === 0 ? "axis" : "grid", x1: EDGE.left, x2: width - EDGE.right, y1: height, y2: height }));
    parts.push(makeSvg("text", { x: EDGE.left - 6, y: height + 4, "text-anchor": "end" }, write(value)));
  }
  const tick = [15_000, 30_000, 60_000, 120_000].find((length) => (span / length) * 78 <= width - EDGE.left) ?? 150_000;
  for (let age = 0; age <= span; age += tick) {
    const anchor = age === 0 ? "end" : x(now - age) < EDGE.left + 20 ? "start" : "middle";
    parts.push(makeSvg("text", { x: x(now - age), y: HEIGHT - 3, "text-anchor": anchor }, ago(age)));
  }
  for (const line of lines) {
    parts.push(makeSvg("path", { class: "line " + line.look, "data-line": line.key, d: path(points, line.key, x, y) }));
  }
  const label = `${title}, ${unit}, over up to 5 minutes. The table below has the figures.`;
  const picture = makeSvg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label }, parts);
  figure.replaceChildren(
    make("figcaption", null, title, " ", make("small", null, unit)), picture, legend(title, lines, points, write));
}

function ago(ms) {
  if (ms === 0) return "now";
  return ms % 60_000 === 0 ? `\u2212${ms / 60_000} min` : `\u2212${ms / 1000} s`;
}

function path(points, key, x, y) {
  let drawn = "";
  let begun = false;
  for (const point of points) {
    const value = point[key];
    if (value === undefined) {
      begun = false;
      continue;
    }
    drawn += `${begun && !point.gap ? "L" : "M"}${x(point.at).toFixed(1)} ${y(value).toFixed(1)}`;
    begun = true;
  }
  return drawn;
}

function legend(title, lines, points, write) {
  const value = (found) => (found === undefined ? "\u2013" : write(found));
  const rows = lines.map((line) => {
    const values = points.map((point) => point[line.key]).filter((found) => found !== undefined);
    const key = makeSvg("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" },
      makeSvg("path", { class: "line " + line.look, d: "M1 4H25" }));
    return make("tr", null, make("th", { scope: "row" }, key, line.name),
      make("td", { class: "number", "data-now": true }, value(points.at(-1)?.[line.key])),
      make("td", { class: "number" }, value(values.length ? Math.max(...values) : undefined)));
  });
  const head = make("thead", null, make("tr", null, make("th", { scope: "col" }, make("span", { class: "unseen" }, "line")),
    make("th", { scope: "col", class: "number" }, "now"), make("th", { scope: "col", class: "number" }, "highest")));
  return make("table", { class: "legend" }, make("caption", { class: "unseen" }, `${title}: now, and the highest`), head,
    make("tbody", null, rows));
}
