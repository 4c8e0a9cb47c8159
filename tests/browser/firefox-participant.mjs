// One participant in Firefox, which publishes a marker and the tone of source 2, and reports as that in
// Chromium does, in a small window: a line of JSON every few seconds. Arguments: URL, source id, width, height, frame rate.
import { readFileSync } from "node:fs";
import { heardByFirefox, openFirefox } from "./firefox-page.mjs";

const [url, id, width, height, frameRate] = process.argv.slice(2);
const here = (name) => readFileSync(new URL(name, import.meta.url), "utf8");
const source = {
  id: Number(id),
  width: Number(width),
  height: Number(height),
  frameRate: Number(frameRate),
  // Without a sound card no AudioContext runs here.
  ownSound: true,
};
const { browser, page } = await openFirefox({ width: 480, height: 320 });
// Others may have the machine.
page.setDefaultTimeout(60000);
const end = async () => {
  await browser.close();
  process.exit(0);
};
process.on("SIGTERM", end);
process.stdin.on("close", end).resume();

const scripts = ["marker.js", "source.js", "observer.js"].map(here);
await page.evaluateOnNewDocument([`globalThis.consiliumSource = ${JSON.stringify(source)};`, ...scripts].join("\n"));
await page.goto(url);
await (await page.waitForSelector('[data-testid="name"]')).type("Firefox");
await (await page.waitForSelector('[data-testid="join"]')).click();
await page.waitForSelector('[data-testid="tile"]');
for (;;) {
  const heard = await heardByFirefox(page).catch(async (error) => {
    // Before anything came to be heard; anything else is seen by nothing being heard.
    console.error(`heard: ${error.message}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
    return [];
  });
  const tones = Object.fromEntries(heard.map((tone) => [tone.id, tone.levelDb]));
  const report = await page.evaluate(() => globalThis.consiliumObserver.report(false));
  console.log(JSON.stringify({ ...report, tones }));
}
