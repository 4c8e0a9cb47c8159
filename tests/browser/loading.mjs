// What pages weigh, and how long until they can be used, in Chromium with nothing in its cache, a
// network of 10 Mbit/s and 20 ms there and back, and a CPU that is slowed four times, as an old ward PC
// has. Arguments: address of the page, cookie of somebody who may administer, a room's number. Prints a
// line for each page.
import assert from "node:assert/strict";
import { openPage } from "./launch.mjs";

const [base, cookie, room] = process.argv.slice(2);
const RUNS = 3;
/** Address, what can be used when the page is ready, and whether somebody is logged in. */
const PAGES = [
  ["/", "number", false],
  [`/room/${room}`, "join", false],
  ["/login", "login", false],
  ["/", "to-account", true],
  ["/admin/rooms", "new", true],
  ["/admin/people", "new", true],
];

const { browser } = await openPage({ id: 1, width: 320, height: 180, frameRate: 5 });

async function load(path, ready, isLoggedIn) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, locale: "zh-CN" });
  if (isLoggedIn) {
    const [name, value] = cookie.split("=");
    await context.addCookies([{ name, value, url: base, secure: true, httpOnly: true }]);
  }
  await context.addInitScript((ready) => {
    const look = () => {
      const found = document.querySelector(`[data-testid="${ready}"]`);
      if (found && !found.disabled) globalThis.usable = performance.now();
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
    globalThis.busy = [];
    new PerformanceObserver((list) => {
      for (const { startTime, duration } of list.getEntries()) globalThis.busy.push([startTime, duration]);
    }).observe({ type: "longtask", buffered: true });
  }, ready);
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  await session.send("Network.enable");
  const speed = 10e6 / 8;
  await session.send("Network.emulateNetworkConditions", {
    offline: false, latency: 20, downloadThroughput: speed, uploadThroughput: speed,
  });
  await session.send("Emulation.setCPUThrottlingRate", { rate: 4 });
  let bytes = 0;
  let requests = 0;
  session.on("Network.loadingFinished", ({ encodedDataLength }) => {
    bytes += encodedDataLength;
    requests += 1;
  });
  await page.goto(base + path);
  await page.waitForFunction(() => globalThis.usable);
  // Interactive: it can be used, and the main thread has been free for half a second.
  const interactive = await page.evaluate(async () => {
    const QUIET = 500;
    for (;;) {
      const last = globalThis.busy.reduce((end, [at, took]) => Math.max(end, at + took), globalThis.usable);
      if (performance.now() - last >= QUIET) return last;
      await new Promise((again) => setTimeout(again, 100));
    }
  });
  const usable = await page.evaluate(() => globalThis.usable);
  await context.close();
  return { bytes, requests, usable, interactive };
}

try {
  for (const [path, ready, isLoggedIn] of PAGES) {
    const runs = [];
    for (let run = 0; run < RUNS; run++) runs.push(await load(path, ready, isLoggedIn));
    runs.sort((one, other) => one.interactive - other.interactive);
    const { bytes, requests, usable, interactive } = runs[(RUNS - 1) / 2];
    assert.ok(bytes > 0);
    const who = isLoggedIn ? "logged in" : "nobody";
    console.log(
      `${path.padEnd(16)} ${who.padEnd(10)} ${(bytes / 1000).toFixed(0).padStart(5)} kB in ${requests} requests, ` +
      `usable after ${usable.toFixed(0)} ms, interactive after ${interactive.toFixed(0)} ms`,
    );
  }
} finally {
  await browser.close();
}
