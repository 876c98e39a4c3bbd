// The form, the figures and the table around the map. Must not know how anything is drawn.

const element = (id) => document.getElementById(id);
const form = element("request");
const regions = new Map();
let newest = 0;

function status(text, kind = "") {
  element("status").textContent = text;
  element("status").className = kind;
}

function requested() {
  const data = new FormData(form);
  const size = Number(data.get("size"));
  return {
    region: data.get("region"),
    sar_width: size,
    sar_height: size,
    num_targets: Number(data.get("num_targets")),
    seed: Number(data.get("seed")),
    density: Number(data.get("density")),
    force_cpu: false,
  };
}

async function detect() {
  if (!form.reportValidity()) return;
  const run = ++newest;
  const request = requested();
  const started = performance.now();
  element("detect").disabled = true;
  status("Detecting…", "busy");
  try {
    const response = await fetch("/api/detect", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(request),
    });
    const text = await response.text();
    if (run !== newest) return;
    if (!response.ok) throw new Error(reason(text, response.status));
    show(request, JSON.parse(text), performance.now() - started);
  } catch (error) {
    if (run === newest) status(error.message, "wrong");
  } finally {
    if (run === newest) element("detect").disabled = false;
  }
}

// What the interface says is wrong, or the host's own words when it answered in its place.
function reason(text, code) {
  try { return JSON.parse(text).error || `The request failed (${code}).`; }
  catch { return text.trim() || `The request failed (${code}).`; }
}

function show(request, answer, milliseconds) {
  MapView.show(regions.get(request.region), answer);
  const { stats } = answer;
  figures([
    ["detections", stats.detections],
    ["on AIS", stats.matched, "matched"],
    ["dark", stats.dark, "dark"],
    ["vessels generated", stats.targets_generated],
    ["found", stats.targets_detected],
    ["false alarms", stats.false_alarms],
    ["AIS tracks", stats.ais_tracks],
    ["AIS, nothing seen", stats.ais_without_return],
    ["computed on", stats.compute_backend],
    ["metres per pixel", stats.pixel_spacing_x_m.toFixed(1)],
    ["km² of water", stats.sea_area_km2.toFixed(0)],
    ["threshold", "× " + stats.threshold.toFixed(2)],
  ]);
  element("detections").replaceChildren(...answer.features.map(row));
  const name = regions.get(request.region).name;
  status(`${name}, seed ${stats.seed}: ${stats.detections} detections, ${stats.dark} dark. Answered in ${Math.round(milliseconds)} ms.`);
}

function figures(entries) {
  element("figures").replaceChildren(...entries.map(([name, value, kind]) => {
    const [group, term, description] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
    term.textContent = name;
    description.textContent = value;
    if (kind) description.className = kind;
    group.append(term, description);
    return group;
  }));
}

function row({ properties: vessel }) {
  const line = document.createElement("tr");
  line.dataset.id = vessel.id;
  if (vessel.dark) line.className = "dark";
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = vessel.dark ? "dark" : vessel.name;
  const detail = document.createElement("small");
  detail.textContent = vessel.dark ? `no. ${vessel.id}` : `${vessel.mmsi} · ${vessel.speed_knots.toFixed(1)} kn`;
  button.append(detail);
  button.addEventListener("click", () => choose(vessel.id, false));
  const heading = vessel.heading_deg === null ? "–"
    : `${Math.round(vessel.heading_deg).toString().padStart(3, "0")}°${vessel.heading_ambiguous ? " ±180" : ""}`;
  const cells = [button, `${vessel.length_m} m`, heading, `${Math.floor(vessel.confidence * 100)} %`];
  line.append(...cells.map((content) => {
    const cell = document.createElement("td");
    cell.append(content);
    return cell;
  }));
  return line;
}

function choose(id, scroll) {
  MapView.choose(id);
  for (const line of element("detections").rows) {
    const chosen = Number(line.dataset.id) === id;
    line.setAttribute("aria-selected", chosen);
    if (chosen && scroll) line.scrollIntoView({ block: "nearest" });
  }
}

async function start() {
  try {
    const response = await fetch("/api/regions");
    if (!response.ok) throw new Error(`The regions did not load (${response.status}).`);
    for (const region of (await response.json()).regions) {
      regions.set(region.id, region);
      element("region").add(new Option(region.name, region.id));
    }
  } catch (error) {
    status(error.message, "wrong");
    return;
  }
  MapView.onPick((id) => choose(id, true));
  form.addEventListener("submit", (event) => { event.preventDefault(); detect(); });
  element("region").addEventListener("change", detect);
  element("size").addEventListener("change", detect);
  element("density").addEventListener("input", (event) => {
    element("density-value").textContent = Number(event.target.value).toFixed(2);
  });
  element("another").addEventListener("click", () => {
    form.elements.seed.value = Math.floor(Math.random() * 1e6);
    detect();
  });
  MapView.show(regions.get(element("region").value), null);
  detect();
}

start();
