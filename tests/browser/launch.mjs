// Chromium with one page in which a marker and a tone take the place of camera and microphone, or the
// browser's own fake devices.
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

/**
 * Opens it for this source: `{ id, width, height, frameRate }`; null leaves the browser's own devices.
 * `more` of Playwright's settings, and `flags` of Chromium's.
 */
export async function openPage(source, more = {}, flags = []) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // The scripts end it when they have done what is to be done before.
    handleSIGTERM: false,
    args: [
      "--no-sandbox",
      "--use-fake-ui-for-media-stream",
      "--use-fake-device-for-media-stream",
      "--disable-gpu",
      "--autoplay-policy=no-user-gesture-required",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      // Of relays and WebSockets, too: what Playwright ignores is the page's alone.
      "--ignore-certificate-errors",
      "--no-first-run",
      "--disable-features=WebRtcHideLocalIpsWithMdns",
      ...flags,
    ],
  });
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    locale: "en-GB",
    viewport: { width: 1280, height: 800 },
    ...more,
  });
  await prepare(context, source);
  const page = await context.newPage();
  page.on("pageerror", (error) => console.error(`page: ${error.message}`));
  page.on("console", (message) => console.error(`console: ${message.text()}`));
  return { browser, page };
}

/** Has the pages of a context publish this source, and be watched. */
export async function prepare(context, source) {
  await context.addInitScript(`globalThis.consiliumSource = ${JSON.stringify(source)};`);
  for (const name of source ? ["marker.js", "source.js", "observer.js"] : ["marker.js", "observer.js"]) {
    await context.addInitScript(readFileSync(new URL(name, import.meta.url), "utf8"));
  }
}

/** Goes through these steps and closes the browser; of a failure, with SHOTS, each page is left as a picture. */
export async function walk(browser, label, steps) {
  try {
    await steps();
  } catch (error) {
    const pages = browser.contexts().flatMap((context) => context.pages());
    for (const [index, open] of pages.entries()) {
      const path = `${process.env.SHOTS}/failed-${label}-${index}.png`;
      if (process.env.SHOTS) await open.screenshot({ path });
    }
    console.error(error.stack);
    process.exitCode = 1;
  } finally {
    await browser.close();
  }
}
