// One participant in Chromium: joins by the page as a person would, then prints a report as a line of
// JSON every half second. Arguments: URL, source id, and optionally width, height, frame rate, and "skew" to
// measure it or "small" for a small window.
// CONSILIUM_LOGIN holds a login and a password, with a space between, of somebody who logs in before.
// CONSILIUM_PIN holds PINs to type where the room asks for one, one after the other, in commas.
// Commands on standard input: `screenshot FILE`, `press TEST-ID`, `reset` (of pauses), `reload`.
import { createInterface } from "node:readline";
import { openPage } from "./launch.mjs";

const [url, id, width = "640", height = "360", frameRate = "15", mode = ""] = process.argv.slice(2);
const source = { id: Number(id), width: Number(width), height: Number(height), frameRate: Number(frameRate) };
const { browser, page } = await openPage(source, mode === "small" ? { viewport: { width: 480, height: 320 } } : {});
const [login, ...password] = (process.env.CONSILIUM_LOGIN ?? "").split(" ");
if (login) {
  await page.goto(new URL("/", url).href);
  await page.evaluate(async (credentials) => {
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify(credentials);
    const answer = await fetch("/api/v1/session", { method: "POST", headers, body });
    if (!answer.ok) throw new Error(`login: ${answer.status}`);
  }, { login, password: password.join(" ") });
}
await page.goto(url);
await page.getByTestId("name").fill(`Participant ${id}`);
await page.getByTestId("join").click();
for (const pin of (process.env.CONSILIUM_PIN ?? "").split(",").filter(Boolean)) {
  const field = page.getByTestId("pin");
  await field.waitFor({ timeout: 20000 });
  await field.fill(pin);
  await page.getByTestId("join").click();
}
// What a page says that is out of the room.
const farewell = page.locator(".ant-result-title");
await page.getByTestId("tile").or(farewell).first().waitFor({ timeout: 20000 });

let busy = Promise.resolve();
const commands = createInterface({ input: process.stdin });
commands.on("line", (line) => {
  const [word, argument] = line.split(" ");
  busy = busy.then(async () => {
    if (word === "screenshot") await page.screenshot({ path: argument });
    else if (word === "press") await page.getByTestId(argument).click();
    else if (word === "reset") await page.evaluate(() => globalThis.consiliumObserver.reset());
    else if (word === "reload") await page.reload();
  }).catch((error) => console.error(`${line}: ${error.message}`));
});
const end = async () => {
  await browser.close();
  process.exit(0);
};
commands.on("close", end);
process.on("SIGTERM", end);

for (;;) {
  try {
    const report = await page.evaluate((skew) => globalThis.consiliumObserver.report(skew), mode === "skew");
    const ended = (await farewell.count()) > 0 ? await farewell.first().innerText() : "";
    console.log(JSON.stringify({ ...report, ended }));
  } catch (error) {
    // The page is being loaded anew.
    console.error(`report: ${error.message}`);
  }
  await new Promise((resolve) => setTimeout(resolve, mode === "skew" ? 150 : 500));
}
