// What the page about the server works out without a browser.

import type { HouseWords } from "./words";

type Words = Pick<HouseWords["system"], "days" | "hours" | "minutes">;

/** A span of time, by its two largest parts. */
export function spanText(seconds: number, words: Words): string {
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  if (days > 0) return words.days(String(days), String(hours % 24));
  if (hours > 0) return words.hours(String(hours), String(minutes % 60));
  return words.minutes(String(minutes), String(Math.floor(seconds % 60)));
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** A size in bytes, by the unit that leaves it below 1024. */
export function sizeText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(value < 10 && unit > 0 ? 1 : 0)} ${UNITS[unit]}`;
}

/**
 * How much of one processor was used; undefined where that is not known: nothing passed, or the process
 * was started again meanwhile.
 */
export function busyShare(cpuMs: number, passedMs: number): string | undefined {
  if (passedMs <= 0 || cpuMs < 0) return undefined;
  return `${Math.round((100 * cpuMs) / passedMs)} %`;
}

/** Shares of the server, per cent by class, as they were typed; `wrong` where they cannot be had. */
export function sharesOf(
  entries: readonly (readonly [string, string])[],
): { wrong: true } | { wrong: false; shares: Record<string, number> } {
  const shares: Record<string, number> = {};
  let sum = 0;
  for (const [name, typed] of entries) {
    const text = typed.trim();
    if (!/^\d{0,3}$/.test(text)) return { wrong: true };
    shares[name] = Number(text);
    sum += Number(text);
  }
  return sum > 100 ? { wrong: true } : { wrong: false, shares };
}
