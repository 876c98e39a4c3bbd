// Draws one region and one answer on a canvas. Must not know the form, the table or the network.
"use strict";

const MapView = (() => {
  const canvas = document.getElementById("map");
  const pen = canvas.getContext("2d");
  const state = { region: null, answer: null, chosen: null };

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

  // Degrees to canvas units; the box fills the canvas, and one metre is as long to the east as to the north.
  function projection() {
    const [west, south, east, north] = state.region.bbox;
    const size = canvas.clientWidth;
    return ([longitude, latitude]) => [(longitude - west) / (east - west) * size, (north - latitude) / (north - south) * size];
  }

  function path(points, to, closed) {
    pen.beginPath();
    points.forEach((point, index) => {
      const [x, y] = to(point);
      index ? pen.lineTo(x, y) : pen.moveTo(x, y);
    });
    if (closed) pen.closePath();
  }

  function fitPixels() {
    const density = window.devicePixelRatio || 1;
    const size = Math.max(1, Math.round(canvas.clientWidth * density));
    if (canvas.width !== size) canvas.width = canvas.height = size;
    pen.setTransform(size / canvas.clientWidth, 0, 0, size / canvas.clientWidth, 0, 0);
  }

  function drawChart(to, size) {
    pen.fillStyle = colour("sea");
    pen.fillRect(0, 0, size, size);
    pen.strokeStyle = colour("lane");
    pen.lineCap = "round";
    pen.lineWidth = size * 0.045;
    for (const lane of state.region.lanes) { path(lane, to, false); pen.stroke(); }
    pen.lineWidth = 1.2;
    pen.fillStyle = colour("land");
    pen.strokeStyle = colour("coast");
    for (const outline of state.region.land) { path(outline, to, true); pen.fill(); pen.stroke(); }
  }

  function drawGraticule(to, size) {
    const [west, south, east, north] = state.region.bbox;
    // A line every two hundredths of a degree, wider apart where the labels would touch.
    const step = size < 520 ? 0.04 : 0.02;
    pen.strokeStyle = colour("grid");
    pen.fillStyle = colour("quiet");
    pen.lineWidth = 0.8;
    pen.font = "10.5px system-ui, sans-serif";
    pen.setLineDash([3, 4]);
    const label = (value, positive, negative) => Math.abs(value).toFixed(2) + "° " + (value < 0 ? negative : positive);
    for (let k = Math.ceil((west + 1e-6) / step); k * step < east - 1e-6; k++) {
      const [x] = to([k * step, north]);
      pen.beginPath(); pen.moveTo(x, 0); pen.lineTo(x, size); pen.stroke();
      if (x > 24 && x < size - 50) pen.fillText(label(k * step, "E", "W"), x + 3, size - 5);
    }
    for (let k = Math.ceil((south + 1e-6) / step); k * step < north - 1e-6; k++) {
      const [, y] = to([west, k * step]);
      pen.beginPath(); pen.moveTo(0, y); pen.lineTo(size, y); pen.stroke();
      if (y > 16 && y < size - 16) pen.fillText(label(k * step, "N", "S"), 4, y - 3);
    }
    pen.setLineDash([]);
  }

  function drawTracks(to) {
    pen.lineWidth = 1.4;
    for (const track of state.answer.ais_tracks) {
      pen.strokeStyle = colour(track.properties.has_return ? "track" : "ghost");
      path(track.geometry.coordinates, to, false);
      pen.stroke();
      if (track.properties.has_return) continue;
      const [x, y] = to(track.geometry.coordinates.at(-1));
      pen.lineWidth = 2;
      pen.beginPath();
      pen.moveTo(x - 5, y - 5); pen.lineTo(x + 5, y + 5);
      pen.moveTo(x + 5, y - 5); pen.lineTo(x - 5, y + 5);
      pen.stroke();
      pen.lineWidth = 1.4;
    }
  }

  // An arrow along the heading; two-ended where the image cannot tell bow from stern; a disc without a direction.
  function drawVessel(detection, to) {
    const { dark, heading_deg: heading, heading_ambiguous: ambiguous, length_m: length, id } = detection.properties;
    const [x, y] = to(detection.geometry.coordinates);
    const half = Math.min(14, Math.max(8, length / 22));
    pen.save();
    pen.translate(x, y);
    if (id === state.chosen) {
      pen.strokeStyle = colour("accent");
      pen.lineWidth = 2.5;
      pen.beginPath(); pen.arc(0, 0, half + 7, 0, 2 * Math.PI); pen.stroke();
    }
    pen.fillStyle = colour(dark ? "dark" : "matched");
    pen.strokeStyle = colour("sea");
    pen.lineWidth = 1.2;
    pen.beginPath();
    if (heading === null) {
      pen.arc(0, 0, half * 0.55, 0, 2 * Math.PI);
    } else {
      pen.rotate(heading * Math.PI / 180);
      const wide = half * 0.5;
      if (ambiguous) { pen.moveTo(0, -half); pen.lineTo(wide, 0); pen.lineTo(0, half); pen.lineTo(-wide, 0); }
      else { pen.moveTo(0, -half); pen.lineTo(wide, half); pen.lineTo(0, half * 0.55); pen.lineTo(-wide, half); }
      pen.closePath();
    }
    pen.fill(); pen.stroke();
    pen.restore();
  }

  function draw() {
    if (!state.region || !canvas.clientWidth) return;
    fitPixels();
    const size = canvas.clientWidth;
    const to = projection();
    drawChart(to, size);
    drawGraticule(to, size);
    if (!state.answer) return;
    drawTracks(to);
    for (const detection of [...state.answer.features].reverse()) drawVessel(detection, to);
  }

  function nearest(event) {
    if (!state.answer) return null;
    const to = projection();
    let best = null;
    for (const detection of state.answer.features) {
      const [x, y] = to(detection.geometry.coordinates);
      const distance = Math.hypot(x - event.offsetX, y - event.offsetY);
      if (distance < 22 && (!best || distance < best.distance)) best = { distance, id: detection.properties.id };
    }
    return best && best.id;
  }

  new ResizeObserver(draw).observe(canvas);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  return {
    show(region, answer) { Object.assign(state, { region, answer, chosen: null }); draw(); },
    choose(id) { state.chosen = id; draw(); },
    onPick(pick) { canvas.addEventListener("click", (event) => pick(nearest(event))); },
  };
})();
