// Whether a page can be used by everybody, wide and narrow: axe-core finds nothing, and nothing is wider
// than the page. With SHOTS naming a folder, pictures of it are left there.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

export const DESKTOP = { width: 1440, height: 900 };
export const PHONE = { width: 390, height: 844 };
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** By a `page` of Playwright or Puppeteer, and what gives it another size; `label` is the pictures' name. */
export async function examine(page, resize, name, label) {
  for (const [size, viewport] of [["desktop", DESKTOP], ["phone", PHONE]]) {
    await resize(viewport);
    await settled(page);
    await page.evaluate(`if (!globalThis.axe) { ${axe} }`);
    const broken = await page.evaluate(async () => {
      const { violations } = await globalThis.axe.run(document);
      return violations.map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html).join(" | ")}`);
    });
    assert.deepEqual(broken, [], `axe on ${name}, ${size}`);
    const [wide, widest] = await page.evaluate(() => {
      const beyond = [...document.querySelectorAll("body *")].filter(
        (element) => element.getBoundingClientRect().right > document.documentElement.clientWidth,
      );
      return [document.documentElement.scrollWidth, beyond.map((element) => element.outerHTML.slice(0, 120))];
    });
    assert.ok(wide <= viewport.width, `${name} is ${wide} px wide on a ${size}: ${widest.join("\n")}`);
    if (!process.env.SHOTS) continue;
    const path = `${process.env.SHOTS}/${label}-${size}.png`;
    await page.screenshot({ path, fullPage: size === "phone" });
  }
  await resize(DESKTOP);
}

/** Once what fades or moves for a moment has: colours on the way from one to the other are nobody's. */
const settled = (page) =>
  page.evaluate(() => {
    const all = document.getAnimations().filter((one) => one.effect?.getComputedTiming().endTime !== Infinity);
    return Promise.all(all.map((one) => one.finished.catch(() => {})));
  });
