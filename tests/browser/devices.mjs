// Devices before and in a room, with Chromium's own fake ones: the network check, the loudspeaker's test,
// other devices in the call, and a microphone whose sound goes as it is. A second site listens. Arguments:
// URL of the room, and a file of sound: a tone of 60 Hz, 12 dB below full scale at its peak, and with it one
// of 720 Hz that swells three times a second, as speech does, and that nothing suppresses.
import assert from "node:assert/strict";
import { openPage } from "./launch.mjs";

const [url, file] = process.argv.slice(2);
const HZ = 60;
const VOICE_HZ = 720;
const SENT_DBFS = -12;
const step = (name) => console.error(`${(performance.now() / 1000).toFixed(1)} s: ${name}`);
const fake = ["--use-fake-device-for-media-stream=device-count=3", `--use-file-for-fake-audio-capture=${file}`];
const one = await openPage(null, { locale: "en-GB" }, fake);
const other = await openPage({ id: 1, width: 320, height: 180, frameRate: 5 });
const { page } = one;
page.setDefaultTimeout(15000);

/** Level of a tone in what an element of the page plays, in dB of a full-scale sine. */
const levelOf = (look, testId, hz) =>
  look.evaluate(
    async ([testId, hz]) => {
      const element = document.querySelector(`[data-testid="${testId}"]`);
      if (!element) return -Infinity;
      globalThis.listening ??= {};
      if (globalThis.listening[testId]?.stream !== element.srcObject) {
        const audio = new AudioContext({ sampleRate: 48000 });
        const analyser = new AnalyserNode(audio, { fftSize: 32768 });
        audio.createMediaStreamSource(element.srcObject).connect(analyser);
        globalThis.listening[testId] = { stream: element.srcObject, analyser };
        await new Promise((resolve) => setTimeout(resolve, testId === "test-tone" ? 300 : 1000));
      }
      const pcm = new Float32Array(32768);
      globalThis.listening[testId].analyser.getFloatTimeDomainData(pcm);
      // Whole periods of all that the file holds; of the notes, the latest fifth of a second.
      const part = testId === "sound" ? pcm.subarray(0, 32000) : pcm.subarray(32768 - 9600);
      let [re, im] = [0, 0];
      part.forEach((sample, n) => {
        const angle = (2 * Math.PI * hz * n) / 48000;
        re += sample * Math.cos(angle);
        im += sample * Math.sin(angle);
      });
      return 20 * Math.log10((2 * Math.hypot(re, im)) / part.length + 1e-9);
    },
    [testId, hz],
  );

async function until(what, look) {
  let last;
  for (const end = performance.now() + 20000; performance.now() < end; ) {
    last = await look();
    if (last.done) return last;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  assert.fail(`${what}: ${JSON.stringify(last)}`);
}

const choose = async (id, label) => {
  await page.getByTestId(id).click();
  await page.locator(".ant-select-item-option", { hasText: label }).last().click();
};
const sinkOf = (testId) =>
  page.evaluate(async (testId) => {
    const { sinkId } = document.querySelector(`[data-testid="${testId}"]`);
    const all = await navigator.mediaDevices.enumerateDevices();
    return all.find(({ deviceId, kind }) => kind === "audiooutput" && deviceId === sinkId)?.label;
  }, testId);
const shoot = async (name) => {
  if (!process.env.SHOTS) return;
  for (const [size, viewport] of [["desktop", { width: 1280, height: 800 }], ["phone", { width: 390, height: 844 }]]) {
    await page.setViewportSize(viewport);
    await page.waitForTimeout(500);
    await page.screenshot({ path: `${process.env.SHOTS}/devices-${name}-${size}.png` });
  }
  await page.setViewportSize({ width: 1280, height: 800 });
};

async function prepare() {
  step("the network is checked");
  await page.goto(new URL("/", url).href);
  await page.getByTestId("number").fill("3000");
  await page.getByTestId("next").click();
  await page.locator('[data-testid="network"][data-state="done"]').waitFor({ timeout: 25000 });
  const said = await page.getByTestId("network").innerText();
  assert.equal(await page.getByTestId("verdict").getAttribute("data-verdict"), "good", said);
  const figures = /by UDP · round trip (?:< )?(\d+)\sms · loss ([\d.]+)\s% up, ([\d.]+)\s% down · (\d+)\skbit\/s up, (\d+)\skbit\/s down/;
  const [, trip, up, down, upKbit, downKbit] = figures.exec(said)?.map(Number) ?? assert.fail(said);
  step(said.replaceAll("\n", " "));
  assert.ok(trip < 100 && up < 2 && down < 2, said);
  // Between a picture's least and its most, and what came back was sent.
  assert.ok(upKbit > 600 && upKbit < 2000 && downKbit > 300 && downKbit < upKbit * 1.5, said);
  await shoot("join");
  step("the loudspeaker is heard");
  await choose("speaker-choice", "Fake Audio Output 2");
  await page.getByTestId("speaker-test").click();
  await until("the first note", async () => {
    const level = await levelOf(page, "test-tone", 660);
    return { done: level > -20, level };
  });
  assert.match(await sinkOf("test-tone"), /Output 2/);
}

async function meet() {
  await other.page.goto(url);
  await other.page.getByTestId("name").fill("Listener");
  await other.page.getByTestId("join").click();
  await page.getByTestId("name").fill("Stethoscope");
  await page.getByTestId("join").click();
  await page.getByTestId("tile").nth(1).waitFor();
  await other.page.getByTestId("tile").nth(1).waitFor();
  assert.match(await sinkOf("sound"), /Output 2/);
  step("a low tone is suppressed, as is usual");
  await until("the call is up", async () => ({ done: await isMoving(other.page) }));
  await page.getByTestId("settings").click();
  await choose("microphone-choice", "Fake Audio Input 1");
  await suppressed();
  step("and is heard as it is where that is wanted");
  await page.getByTestId("original-sound").click();
  await other.page.getByTestId("original-mark").waitFor();
  const level = await atItsLevel();
  step(`60 Hz arrives at ${(level - SENT_DBFS).toFixed(2)} dB of its level`);
  await shoot("settings");
  step("it is remembered of this microphone alone");
  const isOriginal = () => page.getByTestId("original-sound").getAttribute("aria-checked");
  await choose("microphone-choice", "Fake Audio Input 2");
  await other.page.getByTestId("original-mark").waitFor({ state: "detached" });
  await until("the switch is off", async () => ({ done: (await isOriginal()) === "false" }));
  await suppressed();
  await choose("microphone-choice", "Fake Audio Input 1");
  await other.page.getByTestId("original-mark").waitFor();
  await until("the switch is on", async () => ({ done: (await isOriginal()) === "true" }));
  await atItsLevel();
  step("another camera in the call");
  await choose("camera-choice", "fake_device_2");
  await until("it is sent", async () => ({ done: (await cameraSent()).includes("fake_device_2"), camera: await cameraSent() }));
  await page.getByTestId("settings-close").click();
  await until("its picture moves", async () => ({ done: await isMoving(other.page) }));
}

/** The low tone arrives weaker than it was, and that at a time when the other tone is heard. */
async function suppressed() {
  const { low } = await until("60 Hz suppressed beside what is heard", async () => {
    const [low, voice] = [await levelOf(other.page, "sound", HZ), await levelOf(other.page, "sound", VOICE_HZ)];
    return { done: voice > -40 && low < SENT_DBFS - 3, low, voice };
  });
  step(`60 Hz arrives at ${(low - SENT_DBFS).toFixed(2)} dB of its level`);
}

/**
 * Waits until the tone has arrived as loud as it was in two measures with no sound in common: the first may
 * hold sound from before the change, and a buffer that stretches sound after one bends the tone's phase.
 */
async function atItsLevel() {
  const isIt = (level) => Math.abs(level - SENT_DBFS) < 1;
  const { levels } = await until("60 Hz at its level", async () => {
    const levels = [await levelOf(other.page, "sound", HZ)];
    if (isIt(levels[0])) {
      await new Promise((resolve) => setTimeout(resolve, 700));
      levels.push(await levelOf(other.page, "sound", HZ));
    }
    return { done: levels.length === 2 && isIt(levels[1]), levels };
  });
  return levels[1];
}

const cameraSent = () =>
  page.evaluate(() => {
    const senders = window.__consilium.pc.getSenders();
    return senders.find(({ track }) => track?.kind === "video")?.track.label ?? "";
  });

/** Whether frames of others come. */
async function isMoving(look) {
  const frames = async () => (await look.evaluate(() => globalThis.consiliumObserver.report(false))).framesDecoded;
  const before = await frames();
  await new Promise((resolve) => setTimeout(resolve, 500));
  return (await frames()) > before;
}

async function comeBack() {
  step("after a reload it is as it was");
  await page.reload();
  await page.getByTestId("tile").nth(1).waitFor();
  await other.page.getByTestId("original-mark").waitFor();
  await atItsLevel();
  assert.match(await sinkOf("sound"), /Output 2/);
}

/** Who goes back leaves at once, and is one site again who comes again. */
async function goBack() {
  step("back, and in again");
  const tiles = other.page.getByTestId("tile");
  await page.goBack();
  await page.getByTestId("number").waitFor();
  await tiles.nth(1).waitFor({ state: "detached", timeout: 5000 });
  await page.goForward();
  await page.getByTestId("join").click();
  await tiles.nth(1).waitFor();
  await page.getByTestId("tile").nth(1).waitFor();
  await atItsLevel();
  assert.deepEqual([await tiles.count(), await page.getByTestId("tile").count()], [2, 2]);
}

try {
  await prepare();
  await meet();
  await comeBack();
  await goBack();
  step("done");
} catch (error) {
  for (const [name, open] of [["one", page], ["other", other.page]]) {
    if (process.env.SHOTS) await open.screenshot({ path: `${process.env.SHOTS}/devices-failed-${name}.png` });
  }
  console.error(error.stack);
  process.exitCode = 1;
} finally {
  await one.browser.close();
  await other.browser.close();
}
