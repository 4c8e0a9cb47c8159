import { afterEach, expect, it, vi } from "vitest";

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

it("is attended for a minute after somebody opened or touched the page, and not by what a script does", async () => {
  vi.useFakeTimers();
  const heard = new Map<string, (event: { isTrusted: boolean }) => void>();
  vi.stubGlobal("window", { addEventListener: heard.set.bind(heard) });
  const { isAttended } = await import("./attended");
  const after = (seconds: number) => {
    vi.advanceTimersByTime(seconds * 1000);
    return isAttended();
  };
  expect([after(59), after(2)]).toEqual([true, false]);
  heard.get("keydown")?.({ isTrusted: false });
  expect(isAttended()).toBe(false);
  heard.get("keydown")?.({ isTrusted: true });
  expect([after(59), after(2)]).toEqual([true, false]);
});
