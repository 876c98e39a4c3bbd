// Asks the host once a second while somebody looks, and shows what it says.

import { byId, bytes, clock, duration, elapsed, facts, make, number } from "./dom.js";
import { TokenNeeded, ask, hasToken, readiness, useToken } from "./host.js";
import * as history from "./history.js";
import { plot } from "./plot.js";
import { showFaults, showPools, showRequests, showTriggers, showWorkloads } from "./tables.js";
import { showTimeline } from "./timeline.js";

const EVERY_MS = 1_000;
// What changes seldom, or is long.
const STATUS_EVERY_MS = 5_000;
const REQUESTS_EVERY_MS = 2_000;
const RETRY_MAX_MS = 8_000;
const REQUESTS_MAX = 15;
const EVENTS_MAX = 10;

const still = matchMedia("(prefers-reduced-motion: reduce)");
const view = { trigger: "", filter: "", paused: false, status: undefined, ready: undefined, requests: undefined, failed: [], events: [] };
let asked = { status: 0, requests: 0 };
let goneSince;
let wait = EVERY_MS;
let timer;
let drawn = 0;

async function turn() {
  clearTimeout(timer);
  if (document.hidden || view.paused) return;
  try {
    await look();
    goneSince = undefined;
    wait = EVERY_MS;
    byId("gone").hidden = true;
    byId("token").hidden = true;
    byId("main").hidden = false;
  } catch (error) {
    if (error instanceof TokenNeeded) return needToken();
    goneSince ??= Date.now();
    gone(error);
    wait = Math.min(wait * 2, RETRY_MAX_MS);
  }
  timer = setTimeout(turn, wait);
}

async function look() {
  const at = Date.now();
  const live = await ask("v1/live");
  history.add(at, live);
  if (at - asked.status >= STATUS_EVERY_MS) {
    [view.status, view.ready, view.events] = await Promise.all([ask("status"), readiness(), faults()]);
    asked.status = at;
  }
  if (at - asked.requests >= REQUESTS_EVERY_MS) {
    await askRequests();
    asked.requests = at;
  }
  show(live, at);
}

const which = () => document.querySelector("input[name=requests]:checked").value;

async function askRequests() {
  const query = new URLSearchParams({ count: REQUESTS_MAX });
  if (which() === "slowest") query.set("order", "slowest");
  if (which() === "failed") query.set("failed", "true");
  if (view.trigger) {
    const [namespace, name] = view.trigger.split("/");
    query.set("namespace", namespace);
    query.set("trigger", name);
  }
  const [listed, failed] = await Promise.all([ask("v1/requests?" + query), ask("v1/requests?failed=true&count=10")]);
  view.requests = listed?.requests ?? [];
  view.keeps = listed?.keeps ?? false;
  view.failed = failed?.requests ?? [];
}

// What happened to workloads that should not have, the latest last.
async function faults() {
  const listed = await ask("v1/events?limit=200");
  const warnings = (listed?.items ?? []).filter((event) => event.type === "Warning").slice(-EVENTS_MAX);
  return warnings.map(({ namespace, workload, reason, message, count, lastTimestamp }) => ({
    namespace, name: workload, at: Date.parse(lastTimestamp),
    text: `${reason}: ${message}` + (count > 1 ? ` (${count} times)` : ""),
  }));
}

function show(live, now) {
  document.title = `${live.name} \u2013 Roadstead`;
  byId("host").textContent = live.name;
  byId("forget").hidden = !hasToken();
  facts(byId("facts"), [
    ["version", live.version], ["up", elapsed(live.uptime_ms / 1000)], ["memory", bytes(live.memory_bytes)],
    ["in flight", number(live.total.in_flight, 0)],
  ]);
  showReadiness();
  if (!still.matches || now - drawn >= STATUS_EVERY_MS || drawn === 0) draw(now);
  showTables(live);
}

function showReadiness() {
  const { ready, reasons } = view.ready;
  const place = byId("readiness");
  const text = ready ? ["Ready", ...reasons.filter((reason) => reason !== "ready")].join(": ") : "Not ready: " + reasons.join("; ");
  if (place.textContent !== text) place.textContent = text;
  place.className = "state " + (ready ? "good" : "bad");
}

function showTables(live) {
  if (!view.status) return;
  chooseAmong(view.status.workloads.filter((workload) => workload.trigger).map(history.keyOf));
  showTriggers(view.status, view.trigger, view.filter, choose);
  showWorkloads(view.status, view.filter);
  showPools(live, view.filter);
  showRequests(view.requests ?? [], which(), open);
  const told = new Set(view.events.map(history.keyOf));
  const inError = view.status.workloads.filter((workload) => workload.reason && !told.has(history.keyOf(workload)))
    .map(({ namespace, name, reason }) => ({ namespace, name, text: reason }));
  showFaults([...inError, ...view.events], view.failed, open);
}

function draw(now) {
  drawn = now;
  const points = history.series(view.trigger);
  const rate = (value) => number(value, value < 10 ? 1 : 0);
  plot(byId("rate"), { title: "Rate", unit: "requests a second", points, now, write: rate, least: 1,
    lines: [{ key: "requests", name: "all", look: "plain" }, { key: "errors", name: "5xx", look: "bad" }] });
  plot(byId("latency"), { title: "Latency", unit: "over 10 seconds", points, now, write: axisTime, least: 1_000,
    lines: [{ key: "p50", name: "p50", look: "plain" }, { key: "p95", name: "p95", look: "dashed" }, { key: "p99", name: "p99", look: "dotted" }] });
  plot(byId("occupancy"), { title: "Pools", unit: "instances and calls, all pools", points, now, write: (value) => number(value, 1).replace(/\.0$/, ""), least: 2,
    lines: [{ key: "busy", name: "busy", look: "plain" }, { key: "size", name: "size", look: "dashed" }, { key: "waiting", name: "waiting", look: "warn" }] });
}

const axisTime = (us) => (us === 0 ? "0" : duration(us).replace(/\.0+ /, " ").replace(/(\.\d*?)0+ /, "$1 "));

function chooseAmong(keys) {
  const select = byId("of-trigger");
  const wanted = ["", ...keys];
  if ([...select.options].map((option) => option.value).join("\n") !== wanted.join("\n")) {
    select.replaceChildren(...wanted.map((key) => make("option", { value: key }, key || "all triggers")));
    if (!wanted.includes(view.trigger)) view.trigger = "";
  }
  select.value = view.trigger;
}

function choose(key) {
  view.trigger = key;
  asked.requests = 0;
  drawn = 0;
  const sample = history.latest();
  if (sample) show(sample.live, Date.now());
  turn();
}

// The address names the request that is looked at: going back closes it.
const open = (id) => { location.hash = "request=" + id; };

let opener;

async function followAddress() {
  const id = /^#request=(\d+)$/.exec(location.hash)?.[1];
  const place = byId("timeline");
  if (id === undefined) {
    if (!place.hidden) {
      place.hidden = true;
      const back = [...document.querySelectorAll("[data-key]")].find((element) => element.dataset.key === opener);
      (back ?? byId("requests-title").closest("section").querySelector("input:checked")).focus();
    }
    return;
  }
  opener = document.activeElement?.dataset?.key ?? opener;
  try {
    const request = await ask("v1/requests/" + id);
    byId("timeline-table").dataset.shown = "";
    if (request) showTimeline(request);
    else {
      byId("timeline-title").textContent = `Request ${id}`;
      facts(byId("timeline-facts"), []);
      byId("timeline-table").replaceChildren();
      byId("timeline-note").textContent = "It is no longer kept: others have taken its place.";
    }
    place.hidden = false;
    byId("timeline-title").focus();
    place.scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (error instanceof TokenNeeded) needToken();
    else gone(error);
  }
}

function gone(error) {
  const place = byId("gone");
  const why = error.name === "TimeoutError" || error instanceof TypeError ? "does not answer" : `answers with an error (${error.message})`;
  const text = `The host ${why} since ${clock(goneSince ?? Date.now())}. What is below is from before; this page tries again by itself.`;
  if (place.textContent !== text) place.textContent = text;
  place.hidden = false;
  byId("readiness").textContent = "No answer";
  byId("readiness").className = "state bad";
}

function needToken() {
  const form = byId("token");
  byId("token-wrong").textContent = hasToken() ? "The host does not know this token." : "";
  useToken("");
  byId("main").hidden = true;
  byId("forget").hidden = true;
  byId("gone").hidden = true;
  byId("readiness").textContent = "A token is needed";
  byId("readiness").className = "state warn";
  if (form.hidden || document.activeElement === document.body) {
    form.hidden = false;
    byId("token-text").focus();
  }
}

byId("token").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = byId("token-text").value.trim();
  byId("token-text").value = "";
  if (given === "" || /[^\x21-\x7e]/.test(given)) {
    byId("token-wrong").textContent = "A token is one word of letters, digits and signs.";
    return;
  }
  useToken(given);
  asked = { status: 0, requests: 0 };
  turn();
});
byId("forget").addEventListener("click", () => {
  useToken("");
  history.clear();
  turn();
});
byId("pause").addEventListener("click", () => {
  view.paused = !view.paused;
  byId("pause").setAttribute("aria-pressed", String(view.paused));
  byId("pause").textContent = view.paused ? "Paused" : "Pause";
  turn();
});
byId("of-trigger").addEventListener("change", (event) => choose(event.target.value));
byId("filter").addEventListener("input", (event) => {
  view.filter = event.target.value.trim();
  const sample = history.latest();
  if (sample) showTables(sample.live);
});
for (const radio of document.querySelectorAll("input[name=requests]")) {
  radio.addEventListener("change", () => { asked.requests = 0; turn(); });
}
byId("timeline-close").addEventListener("click", () => { location.hash = ""; });
addEventListener("hashchange", followAddress);
addEventListener("resize", () => { if (history.latest()) draw(Date.now()); });
document.addEventListener("visibilitychange", turn);
for (const place of ["triggers", "workloads", "pools", "faults", "requests"]) {
  byId(place).replaceChildren(make("p", { class: "nothing" }, "Asking the host."));
}
turn().then(followAddress);
