// The pages and the room in Firefox: an administrator's first day by the mouse in English, and a room by
// the keyboard in Chinese, with Chromium as the other site, and axe-core on each page. Argument: the first
// administrator's link, at a server with room 3000. Ends with status 0 if all is as it should be. With
// SHOTS naming a folder, pictures of each page are left there.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import puppeteer from "puppeteer-core";
import { DESKTOP, examine } from "./examine.mjs";
import { openPage } from "./launch.mjs";

const [link] = process.argv.slice(2);
const base = new URL(link).origin;
const here = (name) => readFileSync(new URL(name, import.meta.url), "utf8");
const PASSWORD = "seven grey horses";
const PATIENCE = 15000;
/** A name that would be markup if it were not text, and turns what follows it round. */
const NAME = "李医生<img src=x onerror=globalThis.fooled=1>\u202e";

const browser = await puppeteer.launch({
  browser: "firefox",
  executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
  headless: true,
  acceptInsecureCerts: true,
  defaultViewport: DESKTOP,
  extraPrefsFirefox: {
    "intl.accept_languages": "en-GB",
    // A tone takes the place of the microphone: that of source 2.
    "media.navigator.streams.fake": true,
    "media.navigator.audio.fake_frequency": 554,
    "media.navigator.permission.disabled": true,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    "media.peerconnection.ice.obfuscate_host_addresses": false,
    "network.dns.disablePrefetch": true,
  },
});
const page = await browser.newPage();
// A button of a page in the background is not pressed by a key.
await page.bringToFront();
page.on("pageerror", (error) => console.error(`page: ${error.message}`));
page.on("console", (message) => console.error(`console: ${message.text()}`));
page.setDefaultTimeout(PATIENCE);

const step = (name) => console.error(`${(performance.now() / 1000).toFixed(1)} s: ${name}`);
const seen = (id) =>
  [...document.querySelectorAll(`[data-testid="${id}"]`)].find((one) => one.checkVisibility());
const at = async (id) => {
  const handle = await page.waitForFunction(seen, { timeout: PATIENCE }, id).catch(() => null);
  assert.ok(handle, `${id} is not there`);
  return handle.asElement();
};
const says = async (text) => {
  const found = (text) => document.body.innerText.includes(text);
  const shown = await page.waitForFunction(found, { timeout: PATIENCE }, text).catch(() => null);
  assert.ok(shown, `${text} is not said`);
};
const text = async (id) => (await at(id)).evaluate((one) => one.innerText);

/** By the mouse. */
const press = async (id) => (await at(id)).click();
async function fill(id, value) {
  const field = await at(id);
  await field.click({ count: 3 });
  await page.keyboard.type(value);
}
async function choose(id, label) {
  const list = await at(id);
  const value = await list.evaluate(
    (list, label) => [...list.options].find((one) => one.textContent.trim() === label)?.value,
    label,
  );
  await list.select(value);
}

/** By the keyboard alone. */
async function reach(id, way = "on") {
  await at(id);
  await page.waitForFunction(() => document.activeElement !== document.body);
  for (let steps = 0; steps < 60; steps++) {
    if (await page.evaluate((id) => document.activeElement?.dataset.testid === id, id)) return;
    if (way === "back") await page.keyboard.down("Shift");
    await page.keyboard.press("Tab");
    if (way === "back") await page.keyboard.up("Shift");
  }
  assert.fail(`the Tab key does not reach ${id}`);
}

const check = (name) => examine(page, (size) => page.setViewport(size), name, `firefox-${name}`);

async function administer() {
  step("the first administrator");
  await page.goto(link);
  await fill("setup-organisation", "East");
  await fill("setup-login", "root");
  await fill("setup-name", "Wang");
  await fill("setup-password", PASSWORD);
  await fill("setup-repeat", PASSWORD);
  await check("setup");
  await press("set-up");
  await says("Calls can be taken");
  await check("home-administrator");
  step("a clinician");
  await press("door-people");
  await press("new");
  await fill("person-name", "Li Chun");
  await fill("person-login", "li.chun");
  await fill("person-password", PASSWORD);
  await press("save");
  await choose("grant-role", "Clinician");
  await press("give");
  await page.waitForFunction(
    () => document.querySelector('[data-testid="grants"]')?.innerText.includes("Clinician"),
  );
  await check("people");
  step("every section of the administration");
  for (const section of ["rooms", "accounts", "trunks", "organisations", "roles"]) {
    await press(`tab-${section}`);
    await page.waitForFunction(
      (section) => document.querySelector(`[data-testid="tab-${section}"]`)?.ariaCurrent === "page",
      {},
      section,
    );
    await at("new");
    await check(section);
  }
  step("the audit log");
  await press("tab-audit");
  await at("audit-action");
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length > 2);
  await check("audit");
  await press("to-account");
  await at("sessions");
  await check("account");
  await press("log-out");
}

async function logIn() {
  step("a clinician logs in");
  await press("to-login");
  await check("login");
  await fill("login", "li.chun");
  await fill("password", PASSWORD);
  await press("log-in");
  await says("Enter a consult room");
  await check("home-clinician");
  await press("log-out");
  await at("number");
  await check("start");
}

/** The tones in two seconds of what the page plays. Without a sound card no AudioContext runs here. */
async function heardByFirefox() {
  return page.evaluate(async () => {
    const recorder = new MediaRecorder(document.querySelector('[data-testid="sound"]').srcObject);
    const parts = [];
    recorder.ondataavailable = ({ data }) => parts.push(data);
    const over = new Promise((resolve) => (recorder.onstop = resolve));
    recorder.start();
    setTimeout(() => recorder.stop(), 2000);
    await over;
    const context = new OfflineAudioContext(1, 48000, 48000);
    const sound = await context.decodeAudioData(await new Blob(parts).arrayBuffer());
    return consiliumMarker.detectTones(sound.getChannelData(0), sound.sampleRate);
  });
}

const heardByChromium = (other) =>
  other.evaluate(async () => {
    const { tones } = await globalThis.consiliumObserver.report(false);
    return Object.entries(tones).map(([id, levelDb]) => ({ id: Number(id), levelDb }));
  });

async function expectTone(what, id, levelDb, listen) {
  let heard;
  for (const end = performance.now() + 30000; performance.now() < end; ) {
    heard = await listen();
    const tone = heard.find((tone) => tone.id === id);
    if (tone && Math.abs(tone.levelDb - levelDb) < 3) return;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  assert.fail(`${what}: ${JSON.stringify(heard)}`);
}

/** Of five seconds of sound that a page plays, hardly anything was lost or made up. */
async function expectWhole(look, name) {
  const figures = () =>
    look.evaluate(async () => {
      const stats = [...(await window.__consilium.pc.getStats()).values()];
      const sound = stats.find(({ type, kind }) => type === "inbound-rtp" && kind === "audio");
      const { packetsReceived, packetsLost, totalSamplesReceived, concealedSamples } = sound;
      return { packetsReceived, packetsLost, totalSamplesReceived, concealedSamples };
    });
  const before = await figures();
  await new Promise((resolve) => setTimeout(resolve, 5000));
  const after = await figures();
  const more = (what) => after[what] - before[what];
  const seen = `${name}: ${JSON.stringify([before, after])}`;
  step(seen);
  assert.ok(more("packetsReceived") > 200 && more("packetsLost") < 5, seen);
  // At 48 or 44.1 kHz; a device without a sound card plays a little faster or slower than real time.
  assert.ok(more("totalSamplesReceived") > 4 * 44100, seen);
  assert.ok(more("concealedSamples") < 0.05 * more("totalSamplesReceived"), seen);
}

async function meet(other) {
  step("before the room, by the keyboard, in Chinese");
  await page.evaluateOnNewDocument(here("marker.js"));
  await page.goto(`${base}/room/3000`);
  // The field for the name has the focus; a way round the end would lead through the browser's own bars.
  await reach("language", "back");
  await page.keyboard.press("Enter");
  await says("加入会诊");
  await says("没有画面");
  await reach("name");
  await page.keyboard.type(NAME);
  step("whether the network carries it, and the loudspeaker");
  await page.waitForFunction(
    () => document.querySelector('[data-testid="network"]')?.dataset.state === "done",
    { timeout: 30000 },
  );
  // Without H.264 there can be sound alone, and the page says so.
  assert.equal(await (await at("verdict")).evaluate((one) => one.dataset.verdict), "soundOnly");
  const figures = /UDP.*往返时延 (?:< )?(\d+) ms.*丢包 上行 (\d+\.\d)%，下行 (\d+\.\d)%/s;
  const said = await text("network");
  const [, trip, up, down] = figures.exec(said)?.map(Number) ?? assert.fail(said);
  assert.ok(trip < 100 && up < 2 && down < 2, said);
  await check("join");
  await reach("join");
  await page.keyboard.press("Enter");
  await at("tile");
  await page.waitForFunction(() => document.querySelectorAll('[data-testid="tile"]').length === 2);
  step("sound both ways");
  // It swells up to -20 dBFS; the browser's own tone is steady.
  await expectTone("Firefox hears Chromium", 1, -21, heardByFirefox);
  await expectTone("Chromium hears Firefox", 2, -21, () => heardByChromium(other));
  await expectWhole(page, "Firefox");
  await expectWhole(other, "Chromium");
  await says("仅声音");
  await check("room");
  await exchange(other);
  await reach("leave");
  await page.keyboard.press("Enter");
  await at("rejoin");
  await check("left");
}

/** What people write is text for others, whatever it holds. */
async function exchange(other) {
  step("what people write");
  await page.keyboard.press("c");
  await at("chat-field");
  const written = `<img src=x onerror="globalThis.fooled=1"> https://pacs.example/1`;
  await page.keyboard.type(written);
  await page.keyboard.press("Enter");
  await other.getByTestId("chat-mark").getByText("1").waitFor();
  await other.getByTestId("chat").click();
  await other.getByTestId("chat-lines").getByText(written).waitFor();
  const seen = await other.getByTestId("chat-lines").locator("article").evaluate((line) => ({
    writer: line.querySelector("bdi").textContent,
    images: line.querySelectorAll("img").length,
    links: [...line.querySelectorAll("a")].map(({ href, rel }) => [href, rel]),
  }));
  assert.deepEqual(seen, {
    // The sign that turns text round is left out.
    writer: NAME.slice(0, -1),
    images: 0,
    links: [["https://pacs.example/1", "noopener noreferrer nofollow"]],
  });
  await other.getByTestId("chat-field").fill("javascript:alert(1) \u202eabc");
  await other.keyboard.press("Enter");
  await says("javascript:alert(1) abc");
  await check("chat");
  for (const open of [page, other]) {
    assert.equal(await open.evaluate(() => globalThis.fooled), undefined, "markup was run");
    assert.equal(await open.evaluate(() => document.querySelectorAll(".chat img, .tile img").length), 0);
  }
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => !document.querySelector('[data-testid="chat-panel"]'));
  await compose(other);
}

/** Escape and Enter while a word is composed are the input method's. */
async function compose(other) {
  step("a word that is being composed");
  const field = other.getByTestId("chat-field");
  const lines = other.getByTestId("chat-lines").locator("article");
  const before = await lines.count();
  await field.focus();
  const session = await other.context().newCDPSession(other);
  const composing = other.evaluate(
    () => new Promise((told) => addEventListener("keydown", (key) => told(key.isComposing), { once: true })),
  );
  await session.send("Input.imeSetComposition", { text: "ni", selectionStart: 2, selectionEnd: 2 });
  await other.keyboard.press("Escape");
  assert.equal(await composing, true, "the browser says so");
  await other.keyboard.press("Enter");
  await session.send("Input.insertText", { text: "你" });
  // An input method takes the Enter away, which this one does not.
  assert.equal((await field.inputValue()).trim(), "你");
  assert.equal(await lines.count(), before, "nothing was sent");
  await other.keyboard.press("Escape");
  await other.getByTestId("chat-panel").waitFor({ state: "detached" });
}

let chromium;
try {
  await administer();
  await logIn();
  chromium = await openPage({ id: 1, width: 320, height: 180, frameRate: 5 });
  await chromium.page.goto(`${base}/room/3000`);
  await chromium.page.getByTestId("name").fill("Chromium");
  await chromium.page.getByTestId("join").click();
  await chromium.page.getByTestId("tile").first().waitFor();
  await meet(chromium.page);
  step("done");
} catch (error) {
  if (process.env.SHOTS) {
    await page.screenshot({ path: `${process.env.SHOTS}/firefox-failed.png` }).catch(() => {});
  }
  console.error(error.stack);
  process.exitCode = 1;
} finally {
  await chromium?.browser.close();
  await browser.close();
}
