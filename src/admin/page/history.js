// The page's own memory: one sample a second, for five minutes. From the differences of samples come rates and percentiles.

export const WINDOW_MS = 300_000;
const SAMPLES_MAX = 310;
// Percentiles are those of the requests of so long; fewer would say little where requests are few.
const PERCENTILE_MS = 10_000;
// A longer pause than this is no line.
export const GAP_MS = 3_500;

const samples = [];
let bounds = [];

export const keyOf = (thing) => thing.namespace + "/" + thing.name;

export function clear() {
  samples.length = 0;
}

export const latest = () => samples.at(-1);

export function add(at, live) {
  const before = latest();
  if (before && live.uptime_ms < before.live.uptime_ms) clear();
  bounds = live.latency_bounds_s;
  const byKey = new Map(live.triggers.map((trigger) => [keyOf(trigger), trigger]));
  samples.push({ at, live, byKey, busy: sums(live.pools) });
  while (samples.length > SAMPLES_MAX || at - samples[0].at > WINDOW_MS) samples.shift();
}

function sums(pools) {
  const sum = { busy: 0, size: 0, waiting: 0 };
  for (const pool of pools) {
    sum.busy += pool.busy;
    sum.size += pool.size;
    sum.waiting += pool.waiting;
  }
  return sum;
}

// The figures of a trigger in a sample; of all without one.
const of = (sample, key) => (key ? sample.byKey.get(key) : sample.live.total);

const count = (classes) => classes.reduce((sum, more) => sum + more, 0);

function between(older, newer, key) {
  const [then, now] = [older && of(older, key), of(newer, key)];
  if (!then || !now) return undefined;
  const seconds = (newer.at - older.at) / 1000;
  const requests = count(now.classes) - count(then.classes);
  // A trigger that was bound anew counts from the beginning.
  if (seconds <= 0 || requests < 0) return undefined;
  const latency = now.latency.map((more, index) => Math.max(0, more - (then.latency[index] ?? 0)));
  return { seconds, requests, errors: Math.max(0, now.classes[4] - then.classes[4]), latency };
}

// The sample that is at least so old, or the oldest.
function older(index, ms) {
  let found = index;
  while (found > 0 && samples[index].at - samples[found].at < ms) found -= 1;
  return found < index ? samples[found] : undefined;
}

// In microseconds; undefined where there was nothing.
export function percentile(latency, part) {
  const total = count(latency);
  if (total === 0) return undefined;
  let left = part * total;
  for (const [index, more] of latency.entries()) {
    if (more > 0 && left <= more) {
      const from = index === 0 ? 0 : bounds[index - 1];
      const to = bounds[index] ?? from;
      return (from + (to - from) * (left / more)) * 1e6;
    }
    left -= more;
  }
  return bounds.at(-1) * 1e6;
}

// [{at, requests, errors, p50, p95, p99, ...}], a sample each.
export function series(key) {
  return samples.map((sample, index) => {
    const step = between(samples[index - 1], sample, key);
    const wider = between(older(index, PERCENTILE_MS), sample, key);
    const part = (p) => (wider ? percentile(wider.latency, p) : undefined);
    const gap = index > 0 && sample.at - samples[index - 1].at > GAP_MS;
    return {
      at: sample.at, gap, ...sample.busy,
      requests: step && step.requests / step.seconds, errors: step && step.errors / step.seconds,
      p50: part(0.5), p95: part(0.95), p99: part(0.99),
    };
  });
}

// The figures of a trigger over the last ten seconds.
export function recent(key) {
  const last = samples.length - 1;
  const step = last > 0 ? between(older(last, PERCENTILE_MS), samples[last], key) : undefined;
  const now = last >= 0 ? of(samples[last], key) : undefined;
  const figures = { inFlight: now?.in_flight, requestsSoFar: now && count(now.classes) };
  if (!step) return figures;
  const part = (p) => percentile(step.latency, p);
  return { ...figures, requests: step.requests / step.seconds, errors: step.errors / step.seconds,
    p50: part(0.5), p95: part(0.95), p99: part(0.99) };
}
