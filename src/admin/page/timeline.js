// One request, span by span.

import { byId, clock, duration, facts, make, makeSvg, state, table } from "./dom.js";
import { end } from "./tables.js";

const DEPTH_MAX = 5;

// Each span after the one that it is below, with its depth.
function tree(spans) {
  const below = new Map();
  const ids = new Set(spans.map((span) => span.id));
  for (const span of spans) {
    const parent = ids.has(span.parent) ? span.parent : "";
    below.set(parent, [...(below.get(parent) ?? []), span]);
  }
  const ordered = [];
  const walk = (parent, depth) => {
    for (const span of below.get(parent) ?? []) {
      ordered.push([span, Math.min(depth, DEPTH_MAX)]);
      below.set(parent, []);
      walk(span.id, depth + 1);
    }
  };
  walk("", 0);
  return ordered;
}

export function showTimeline(request) {
  byId("timeline-title").textContent = `Request ${request.id}`;
  facts(byId("timeline-facts"), [
    ["trigger", `${request.namespace}/${request.trigger}`],
    ["request", make("span", { class: "mono" }, request.method, " ", request.path)],
    ["end", state(...end(request))],
    ["began", clock(request.started_ms)],
    ["took", duration(request.duration_us)],
    ["waited for its turn", request.waited_us === undefined ? undefined : duration(request.waited_us)],
    ["trace", make("span", { class: "mono" }, request.trace_id)],
  ]);
  const spans = request.timeline;
  const notes = [];
  if (spans.length === 0) notes.push("Its end alone was noted: in that second others were kept with their spans.");
  if (request.spans_left_out > 0) notes.push(`${request.spans_left_out} more spans were not kept.`);
  byId("timeline-note").textContent = notes.join(" ");
  const whole = Math.max(request.duration_us, 1, ...spans.map((span) => span.start_us + span.duration_us));
  const rows = tree(spans).map(([span, depth]) => ({
    shows: [request.id, span, whole],
    element: () => make("tr", { class: span.error ? "failed" : undefined },
      make("th", { scope: "row", class: `name depth${depth}` }, span.name,
        span.error ? make("div", null, state("bad", span.error)) : undefined),
      make("td", { class: "name less" }, [span.workload, span.component].filter(Boolean).join(" / ") || "\u2013"),
      make("td", { class: "number less" }, duration(Math.max(0, span.start_us))),
      make("td", { class: "number" }, duration(span.duration_us)),
      make("td", { class: "bar" }, bar(span, whole, request))),
  }));
  table(byId("timeline-table"), {
    caption: "Spans on this host, each below the one that caused it; the dashed line is the response's end",
    columns: [{ name: "Span" }, { name: "Workload / component", class: "less" }, { name: "Begins", class: "number less" },
      { name: "Takes", class: "number" }, { name: `0 to ${duration(whole)}`, class: "bar" }],
    rows, nothing: "No spans.", className: "waterfall",
  });
}

function bar(span, whole, request) {
  const part = (us) => (100 * Math.max(0, us)) / whole;
  const [from, width] = [Math.min(99.6, part(span.start_us)), Math.max(0.4, part(span.duration_us))];
  const lines = [0, 25, 50, 75, 100].map((x) => makeSvg("line", { x1: x + "%", x2: x + "%", y1: "0", y2: "100%" }));
  const over = part(request.duration_us) + "%";
  lines.push(makeSvg("line", { class: "ended", x1: over, x2: over, y1: "0", y2: "100%" }));
  return makeSvg("svg", { "aria-hidden": "true" }, lines,
    makeSvg("rect", { x: from + "%", y: "20%", width: Math.min(width, 100 - from) + "%", height: "60%", rx: "1" }));
}
