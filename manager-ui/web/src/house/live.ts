// Live events of the server: one stream for all lists of this page, while somebody looks at it.

import { useCallback, useEffect, useRef } from "react";

/** Between two looks where there is no stream. */
const LOOK_MS = 5000;
/** Before a stream that the server refused is tried again. */
const RETRY_MS = 30000;

type Heard = () => void;

/** Who wants to hear of which types; `gap` says that something may have been missed. */
const listeners = new Map<Heard, readonly string[]>();
/** Types that the stream passes on already. */
const passed = new Set<string>();
let stream: EventSource | undefined;
let retry = 0;
let looks = 0;

/** Calls back at each event of these types, and whenever some may have been missed. */
export function listen(types: readonly string[], heard: Heard): () => void {
  listeners.set(heard, types);
  arrange();
  return () => {
    listeners.delete(heard);
    arrange();
  };
}

/** A hidden page listens to nothing: a browser opens few connections to one server. */
function arrange() {
  if (listeners.size === 0 || document.visibilityState === "hidden") return close();
  if (!stream && !retry) open();
  if (!stream) return;
  for (const type of [...listeners.values()].flat()) pass(stream, type);
}

function open() {
  const opened = new EventSource("/api/v1/events");
  stream = opened;
  // What happened before it was open is not told.
  opened.addEventListener("open", () => {
    clearInterval(looks);
    looks = 0;
    everybody();
  });
  opened.addEventListener("gap", everybody);
  opened.addEventListener("error", () => {
    looks ||= window.setInterval(everybody, LOOK_MS);
    // Else the browser comes back by itself, and says what it heard last.
    if (opened.readyState !== EventSource.CLOSED) return;
    drop();
    retry = window.setTimeout(() => {
      retry = 0;
      arrange();
    }, RETRY_MS);
  });
}

function pass(from: EventSource, type: string) {
  if (passed.has(type)) return;
  passed.add(type);
  from.addEventListener(type, () => {
    for (const [heard, types] of listeners) if (types.includes(type)) heard();
  });
}

function everybody() {
  for (const heard of listeners.keys()) heard();
}

function drop() {
  stream?.close();
  stream = undefined;
  passed.clear();
}

function close() {
  drop();
  clearInterval(looks);
  clearTimeout(retry);
  looks = retry = 0;
}

globalThis.document?.addEventListener("visibilitychange", arrange);

/** That one was made, changed or removed: `newsOf("room")`. */
export const newsOf = (kind: string): string[] =>
  ["created", "changed", "removed"].map((what) => `${kind}.${what}`);

/** Does something at each event of these types. */
export function useLive(types: readonly string[], heard: () => void) {
  const latest = useRef(heard);
  latest.current = heard;
  const all = types.join();
  useEffect(() => listen(all.split(","), () => latest.current()), [all]);
}

/** Does something soon, and once for all that asks for it within this time. */
export function useGathered(act: () => void, withinMs: number): () => void {
  const latest = useRef(act);
  latest.current = act;
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  return useCallback(() => {
    timer.current ||= window.setTimeout(() => {
      timer.current = 0;
      latest.current();
    }, withinMs);
  }, [withinMs]);
}
