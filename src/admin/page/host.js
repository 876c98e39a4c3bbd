// Asks the host: one question at a time each, with an end, and with the token where one is needed.

const PATIENCE_MS = 5_000;
const KEY = "roadstead-admin-token";

let token = sessionStorage.getItem(KEY);

export class TokenNeeded extends Error {}

export const hasToken = () => token !== null;

export function useToken(text) {
  token = text === "" ? null : text;
  if (token === null) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, token);
}

async function fetched(path) {
  const headers = token === null ? {} : { authorization: "Bearer " + token };
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const answer = await fetch(path, { headers, signal, cache: "no-store", credentials: "omit", redirect: "error" });
  if (answer.status === 401) throw new TokenNeeded();
  return answer;
}

// What is there as JSON; undefined where there is no such thing.
export async function ask(path) {
  const answer = await fetched(path);
  if (answer.status === 404) return undefined;
  if (!answer.ok) throw new Error((await answer.text()).trim() || "status " + answer.status);
  return answer.json();
}

export async function readiness() {
  const answer = await fetched("readyz");
  const reasons = (await answer.text()).trim().split("\n");
  return { ready: answer.ok, reasons };
}
