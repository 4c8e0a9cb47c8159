import { expect, test } from "vitest";
import { holdMs } from "./lipsync";

const look = (seconds: number, samples: number) => ({
  jitterBufferDelay: seconds,
  jitterBufferEmittedCount: samples,
});

test("pictures wait as long as the sound does of late, and as the server mixes", () => {
  // 24,000 samples that waited 80 ms each.
  expect(holdMs(look(10, 1000), look(10 + 24_000 * 0.08, 25_000), 0)).toBe(130);
});

test("small changes, silence and hopeless delays do not unsettle pictures", () => {
  expect(holdMs(look(0, 0), look(24_000 * 0.083, 24_000), 130)).toBe(130);
  expect(holdMs(look(5, 100), look(5, 100), 130)).toBe(130);
  expect(holdMs(look(0, 0), look(24_000 * 3, 24_000), 130)).toBe(500);
});
