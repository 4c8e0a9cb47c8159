// Whether somebody is at the page: a login that only timers use runs out.

/** So long after somebody touched the page, what it asks is asked for them. */
const ATTENDED_MS = 60_000;

const TOUCHES = ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"];

/** Somebody has opened the page. */
let touchedMs = Date.now();

const touched = (event: Event) => {
  if (event.isTrusted) touchedMs = Date.now();
};

for (const type of TOUCHES) {
  globalThis.window?.addEventListener(type, touched, { capture: true, passive: true });
}

export const isAttended = (): boolean => Date.now() - touchedMs < ATTENDED_MS;
