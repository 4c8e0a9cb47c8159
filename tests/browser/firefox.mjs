// The pages and the room in Firefox, with Chromium as the other site, and axe-core on each page: an
// administrator's first day, a clinician, a student, and a consult. Arguments: the first administrator's
// link, at a server with room 3000, `en` or `zh`, `mouse` or `keyboard`. Ends with status 0 if all is as
// it should be. With SHOTS naming a folder, pictures of each page are left there.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { DESKTOP, examine } from "./examine.mjs";
import { heardByFirefox, openFirefox } from "./firefox-page.mjs";
import { openPage } from "./launch.mjs";

const [link, language, way] = process.argv.slice(2);
const base = new URL(link).origin;
const here = (name) => readFileSync(new URL(name, import.meta.url), "utf8");
const PASSWORD = "seven grey horses";
const PATIENCE = 15000;
/** Of the administration, besides people and the audit log, and what is there once one is shown. */
const SECTIONS = {
  meetings: "filter",
  rooms: "new",
  accounts: "new",
  trunks: "new",
  webhooks: "new",
  organisations: "new",
  roles: "new",
  system: "processes",
};
const SAID = {
  en: {
    ready: "Calls can be taken",
    clinician: "Clinician",
    student: "Student",
    room: "Enter a consult room",
    lectures: "Lectures",
    made: "made",
    join: "Check picture and sound, then join",
    figures: /UDP.*round trip (?:< )?(\d+)\sms.*loss (\d+\.\d)\s% up, (\d+\.\d)\s% down/s,
  },
  zh: {
    ready: "可以接入呼叫",
    clinician: "临床医生",
    student: "学员",
    room: "进入会诊室",
    lectures: "教学资源",
    made: "新建",
    join: "加入会诊",
    figures: /UDP.*往返时延 (?:< )?(\d+)\sms.*丢包 上行 (\d+\.\d)%，下行 (\d+\.\d)%/s,
  },
}[language];
/** A name that would be markup if it were not text, and turns what follows it round. */
const NAME = "李医生<img src=x onerror=globalThis.fooled=1>\u202e";

const { browser, page } = await openFirefox(DESKTOP);
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
const mouse = {
  press: async (id) => (await at(id)).click(),
  async fill(id, value) {
    await (await at(id)).click({ count: 3 });
    await page.keyboard.type(value);
  },
  async choose(id, label) {
    const list = await at(id);
    const value = await list.evaluate(
      (list, label) => [...list.options].find((one) => one.textContent.trim() === label)?.value,
      label,
    );
    await list.select(value);
  },
};

/** By the keyboard alone: whatever the Tab key does not reach, nobody finds. */
const keyboard = {
  /** Never round the end, where the way leads through the browser's own bars. */
  async reach(id) {
    await at(id);
    for (let steps = 0; steps < 150; steps++) {
      const where = await page.evaluate((id) => {
        const now = document.activeElement;
        if (now.dataset.testid === id) return "there";
        const all = [...document.querySelectorAll(`[data-testid="${id}"]`)];
        const wanted = all.find((one) => one.checkVisibility());
        if (!wanted || now === document.body) return "on";
        const before = now.compareDocumentPosition(wanted) & Node.DOCUMENT_POSITION_PRECEDING;
        return before ? "back" : "on";
      }, id);
      if (where === "there") return;
      if (where === "back") await page.keyboard.down("Shift");
      await page.keyboard.press("Tab");
      if (where === "back") await page.keyboard.up("Shift");
    }
    assert.fail(`the Tab key does not reach ${id}`);
  },
  async press(id) {
    await keyboard.reach(id);
    await page.keyboard.press("Enter");
  },
  async fill(id, value) {
    await keyboard.reach(id);
    await page.keyboard.down("Control");
    await page.keyboard.press("a");
    await page.keyboard.up("Control");
    await page.keyboard.type(value);
  },
  async choose(id, label) {
    await keyboard.reach(id);
    await page.keyboard.press("Home");
    for (let steps = 0; steps < 50; steps++) {
      const now = await page.evaluate(() => document.activeElement.selectedOptions[0].textContent);
      if (now.trim() === label) return;
      await page.keyboard.press("ArrowDown");
    }
    assert.fail(`${label} is no choice of ${id}`);
  },
};
const hand = way === "keyboard" ? keyboard : mouse;

const check = (name) => examine(page, (size) => page.setViewport(size), name, `firefox-${name}-${language}`);

async function administer() {
  step("the language");
  await page.goto(`${base}/`);
  await at("number");
  if (language === "zh") await hand.press("language");
  await says(SAID.room);
  step("the first administrator");
  await page.goto(link);
  await hand.fill("setup-organisation", "East");
  await hand.fill("setup-login", "root");
  await hand.fill("setup-name", "Wang");
  await hand.fill("setup-password", PASSWORD);
  await hand.fill("setup-repeat", PASSWORD);
  await check("setup");
  await hand.press("set-up");
  await says(SAID.ready);
  await check("home-administrator");
  step("a clinician and a student");
  await hand.press("door-people");
  await makePerson("Li Chun", "li.chun", SAID.clinician);
  await check("people");
  await makePerson("Xue Sheng", "xue.sheng", SAID.student);
  step("every section of the administration");
  for (const [section, shows] of Object.entries(SECTIONS)) {
    await hand.press(`tab-${section}`);
    await page.waitForFunction(
      (section) => document.querySelector(`[data-testid="tab-${section}"]`)?.ariaCurrent === "page",
      {},
      section,
    );
    await at(shows);
    await check(section);
  }
  step("the audit log");
  await hand.press("tab-audit");
  await hand.choose("audit-action", SAID.made);
  await page.waitForFunction(
    (made) => {
      const states = [...document.querySelectorAll("tbody .state")].map((one) => one.innerText);
      return states.length > 2 && states.every((state) => state.includes(made));
    },
    {},
    SAID.made,
  );
  await check("audit");
  await hand.press("to-account");
  await at("sessions");
  await check("account");
  await hand.press("log-out");
}

async function makePerson(name, login, role) {
  await hand.press("new");
  await hand.fill("person-name", name);
  await hand.fill("person-login", login);
  await hand.fill("person-password", PASSWORD);
  await hand.press("save");
  await hand.choose("grant-role", role);
  await hand.press("give");
  const given = (role) => document.querySelector('[data-testid="grants"]')?.innerText.includes(role);
  await page.waitForFunction(given, {}, role);
}

async function logIn(login, landing, name) {
  step(`${login} logs in`);
  await hand.press("to-login");
  await check("login");
  await hand.fill("login", login);
  await hand.fill("password", PASSWORD);
  await hand.press("log-in");
  await at("to-account");
  await says(landing);
  await check(`home-${name}`);
  await hand.press("log-out");
  await at("number");
  await check("start");
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
  step("before the room");
  await page.evaluateOnNewDocument(here("marker.js"));
  await page.goto(`${base}/room/3000`);
  await says(SAID.join);
  await hand.fill("name", NAME);
  step("whether the network carries it, and the loudspeaker");
  await page.waitForFunction(
    () => document.querySelector('[data-testid="network"]')?.dataset.state === "done",
    { timeout: 30000 },
  );
  // Two browsers on one small machine: the line is as good as can be, the rate may not be.
  const verdict = await (await at("verdict")).evaluate((one) => one.dataset.verdict);
  assert.ok(["good", "freezes"].includes(verdict), verdict);
  const said = await text("network");
  const [, trip, up, down] = SAID.figures.exec(said)?.map(Number) ?? assert.fail(said);
  assert.ok(trip < 100 && up < 2 && down < 2, said);
  await check("join");
  await hand.press("join");
  await at("tile");
  await page.waitForFunction(() => document.querySelectorAll('[data-testid="tile"]').length === 2);
  step("sound both ways");
  // It swells up to -20 dBFS; the browser's own tone is steady.
  await expectTone("Firefox hears Chromium", 1, -21, () => heardByFirefox(page));
  await expectTone("Chromium hears Firefox", 2, -21, () => heardByChromium(other));
  await expectWhole(page, "Firefox");
  await expectWhole(other, "Chromium");
  step("pictures both ways");
  await expectPictures(other);
  await check("room");
  await exchange(other);
  await hand.press("leave");
  await at("rejoin");
  await check("left");
}

/** Firefox sees Chromium's marker, encoded anew as VP8; Chromium sees that what Firefox sends moves. */
async function expectPictures(other) {
  await page.waitForFunction(
    () => {
      const context = new OffscreenCanvas(320, 180).getContext("2d", { willReadFrequently: true });
      const ids = [...document.querySelectorAll('[data-testid="tile"] video')].map((video) => {
        if (!video.videoWidth) return null;
        context.drawImage(video, 0, 0, 320, 180);
        return consiliumMarker.readMarker(context.getImageData(0, 0, 320, 180), 0, 0, 320, 180)?.id;
      });
      return ids.includes(1);
    },
    { timeout: 30000, polling: 300 },
  );
  await other.waitForFunction(
    () => {
      const context = new OffscreenCanvas(320, 180).getContext("2d", { willReadFrequently: true });
      globalThis.seenOfFirefox ??= new Set();
      for (const video of document.querySelectorAll('[data-testid="tile"] video')) {
        if (!video.videoWidth) continue;
        context.drawImage(video, 0, 0, 320, 180);
        const image = context.getImageData(0, 0, 320, 180);
        const own = consiliumMarker.readMarker(image, 0, 0, 320, 180)?.id === 1;
        if (!own) globalThis.seenOfFirefox.add(image.data.reduce((sum, sample) => sum + sample, 0));
      }
      return globalThis.seenOfFirefox.size > 5;
    },
    undefined,
    { timeout: 30000, polling: 300 },
  );
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
  await logIn("li.chun", SAID.room, "clinician");
  await logIn("xue.sheng", SAID.lectures, "student");
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
