// What there is just now: triggers, workloads, pools, faults, requests.

import { byId, clock, duration, make, number, state, table } from "./dom.js";
import { keyOf, recent } from "./history.js";

// A page with thousands of rows is of no use to anybody.
const ROWS_MAX = 100;

const full = (thing) => make("span", null, make("span", { class: "of" }, thing.namespace + "/"), make("wbr"), thing.name);

const STATES = {
  WORKLOAD_STATE_RUNNING: ["good", "Running"],
  WORKLOAD_STATE_STARTING: ["", "Starting"],
  WORKLOAD_STATE_STOPPING: ["", "Stopping"],
  WORKLOAD_STATE_COMPLETED: ["", "Completed"],
  WORKLOAD_STATE_ERROR: ["bad", "Error"],
};

// A workload that could not be replaced serves on, in its old form.
function stateOf(workload) {
  const [kind, text] = STATES[workload.state] ?? ["warn", workload.state];
  return workload.reason && kind === "good" ? ["warn", "Not replaced"] : [kind, text];
}

function bounded(all, things) {
  const more = all.length - ROWS_MAX;
  return more > 0 ? `${things}: the first ${ROWS_MAX} of ${all.length}; name the others` : things;
}

export function showTriggers(status, chosen, filter, choose) {
  const all = status.workloads.filter((workload) => workload.trigger && keyOf(workload).includes(filter));
  const rows = all.slice(0, ROWS_MAX).map((workload) => {
    const key = keyOf(workload);
    const figures = recent(key);
    const [kind, text] = stateOf(workload);
    const { host, paths } = workload.trigger;
    const cells = [number(figures.requests), number(figures.errors), duration(figures.p50), duration(figures.p95),
      duration(figures.p99), number(figures.inFlight, 0)];
    const pressed = String(chosen === key);
    return {
      shows: [key, pressed, kind, text, host, paths, cells],
      element: () => {
        const button = make("button", { type: "button", class: "link", "aria-pressed": pressed, "data-key": key }, full(workload));
        button.addEventListener("click", () => choose(chosen === key ? "" : key));
        return make("tr", { class: chosen === key ? "chosen" : undefined },
          make("th", { scope: "row", class: "name" }, button, make("div", { class: "of mono less" }, host, " ", paths.join(", "))),
          make("td", { class: "still" }, state(kind, text)),
          cells.map((cell, index) => make("td", { class: "number" + (index > 1 ? " less" : "") }, cell)));
      },
    };
  });
  table(byId("triggers"), {
    caption: bounded(all, "Over the last 10 seconds"),
    columns: [{ name: "Trigger" }, { name: "State" }, { name: "Req/s", class: "number" }, { name: "5xx/s", class: "number" },
      { name: "p50", class: "number less" }, { name: "p95", class: "number less" }, { name: "p99", class: "number less" },
      { name: "In flight", class: "number less" }],
    rows, nothing: filter ? "No trigger has such a name." : "This host has no trigger.",
  });
}

export function showWorkloads(status, filter) {
  const all = status.workloads.filter((workload) => keyOf(workload).includes(filter));
  // What needs somebody comes first.
  all.sort((a, b) => Number(stateOf(a)[0] === "good") - Number(stateOf(b)[0] === "good"));
  const rows = all.slice(0, ROWS_MAX).map((workload) => {
    const [kind, text] = stateOf(workload);
    const says = [workload.reason, ...(workload.warnings ?? [])].filter(Boolean);
    const components = workload.components.map((component) => component.name).join(", ");
    return {
      shows: [keyOf(workload), kind, text, says, components, workload.replicas],
      element: () => make("tr", null,
        make("th", { scope: "row", class: "name" }, full(workload), make("div", { class: "of less" }, components)),
        make("td", { class: "still" }, state(kind, text)),
        make("td", { class: "reason" }, says.length ? says.map((text) => make("div", null, text)) : "\u2013"),
        make("td", { class: "number less" }, workload.replicas)),
    };
  });
  table(byId("workloads"), {
    caption: bounded(all, "What is not running comes first"),
    columns: [{ name: "Workload" }, { name: "State" }, { name: "Reason" }, { name: "Replicas", class: "number less" }],
    rows, nothing: filter ? "No workload has such a name." : "This host has no workload.",
  });
}

export function showPools(live, filter) {
  const all = live.pools.filter((pool) => `${pool.namespace}/${pool.workload}`.includes(filter));
  const rows = all.slice(0, ROWS_MAX).map((pool) => {
    const [kind, text] = pool.waiting > 0 ? ["warn", "Calls wait"] : pool.busy >= pool.size ? ["warn", "All busy"] : ["good", "Free"];
    return {
      shows: [pool],
      element: () => make("tr", null,
        make("th", { scope: "row", class: "name" }, full({ namespace: pool.namespace, name: pool.workload }),
          make("div", { class: "of" }, pool.component)),
        make("td", { class: "still" }, state(kind, text)),
        [pool.busy, pool.size, pool.waiting].map((figure) => make("td", { class: "number" }, figure)),
        make("td", { class: "number less" }, pool.idle)),
    };
  });
  const left = live.pools_left_out > 0 ? `; ${live.pools_left_out} are not listed` : "";
  table(byId("pools"), {
    caption: bounded(all, "Warm instances" + left),
    columns: [{ name: "Workload, component" }, { name: "State" }, { name: "Busy", class: "number" }, { name: "Size", class: "number" },
      { name: "Waiting", class: "number" }, { name: "Idle", class: "number less" }],
    rows, nothing: "No component has a pool: every call gets a fresh instance.",
  });
}

export function end(request) {
  if (request.status === undefined) return ["", "Under way"];
  if (request.reason) return [request.status >= 500 ? "bad" : "warn", `${request.status} ${request.reason}`];
  return [request.status >= 500 ? "bad" : "good", String(request.status)];
}

const REQUEST_COLUMNS = [{ name: "Time" }, { name: "Trigger" }, { name: "Request", class: "less" }, { name: "End" },
  { name: "Duration", class: "number" }, { name: "Spans", class: "number less" }];

function requestRow(request, open) {
  const [kind, text] = end(request);
  const time = duration(request.duration_us);
  return {
    shows: [request.id, kind, text, time, request.spans],
    element: () => {
      const label = `${clock(request.started_ms)}, timeline of request ${request.id}`;
      const button = make("button", { type: "button", class: "link still", "data-key": request.id, "aria-label": label }, clock(request.started_ms));
      button.addEventListener("click", () => open(request.id));
      return make("tr", null, make("td", null, button),
        make("th", { scope: "row", class: "name" }, full({ namespace: request.namespace, name: request.trigger })),
        make("td", { class: "mono name less" }, request.method, " ", request.path),
        make("td", { class: "end" }, state(kind, text)),
        make("td", { class: "number" }, request.is_slow ? state("warn", time) : time),
        make("td", { class: "number less" }, request.spans || "\u2013"));
    },
  };
}

export function showRequests(requests, which, open) {
  const nothing = {
    latest: "No request is kept yet. Of those that come, some of each second are kept.",
    slowest: "No request is kept yet.",
    failed: "No request has failed.",
  };
  table(byId("requests"), {
    caption: "With the path of the manifest that matched; the time opens the timeline",
    columns: REQUEST_COLUMNS,
    rows: requests.map((request) => requestRow(request, open)),
    nothing: requests === null ? "Nothing is kept: timelines_per_second_max is 0." : nothing[which],
  });
}

export function showFaults(events, failed, open) {
  const rows = [
    ...events.map((event) => ({
      at: event.at,
      shows: [event],
      element: () => make("tr", null, make("td", { class: "still" }, event.at ? clock(event.at) : "now"),
        make("th", { scope: "row", class: "name" }, full(event)),
        make("td", { class: "reason" }, state("bad", event.text))),
    })),
    ...failed.map((request) => ({
      at: request.started_ms,
      shows: [request.id],
      element: () => {
        const button = make("button", { type: "button", class: "link still", "data-key": "f" + request.id,
          "aria-label": `${clock(request.started_ms)}, timeline of request ${request.id}` }, clock(request.started_ms));
        button.addEventListener("click", () => open(request.id));
        return make("tr", null, make("td", null, button),
          make("th", { scope: "row", class: "name" }, full({ namespace: request.namespace, name: request.trigger })),
          make("td", { class: "reason" }, state(...end(request)), make("span", { class: "of" }, ` after ${duration(request.duration_us)}`)));
      },
    })),
  ];
  rows.sort((a, b) => (b.at ?? Infinity) - (a.at ?? Infinity));
  table(byId("faults"), {
    caption: "The latest first",
    columns: [{ name: "Time" }, { name: "Of" }, { name: "What" }],
    rows: rows.slice(0, 15), nothing: "None that this host remembers.",
  });
}
