import { expect, test } from "vitest";
import { holdMs, waitedMs } from "./lipsync";

const look = (seconds: number, samples: number, playout = 0, played = 0) => ({
  jitterBufferDelay: seconds,
  jitterBufferEmittedCount: samples,
  totalPlayoutDelay: playout,
  totalSamplesCount: played,
});

test("the wait of a sound is that of the samples since the last look", () => {
  // 24,000 samples that waited 80 ms each, and 30 ms more on their way to the loudspeaker.
  expect(waitedMs(look(10, 1000), look(10 + 24_000 * 0.08, 25_000))).toBeCloseTo(80);
  const played = look(10 + 24_000 * 0.08, 25_000, 24_000 * 0.03, 24_000);
  expect(waitedMs(look(10, 1000), played)).toBeCloseTo(110);
  expect(waitedMs(look(5, 100), look(5, 100))).toBeUndefined();
});

test("a picture waits as long as its sound does in the browser and in the server", () => {
  expect(holdMs(80, 35, 0)).toBe(115);
  expect(holdMs(80, null, 0)).toBe(130);
});

test("small changes and hopeless delays do not unsettle pictures", () => {
  expect(holdMs(83, 50, 130)).toBe(130);
  expect(holdMs(3_000, 50, 130)).toBe(500);
});
