// Firefox with one page. A steady tone takes the place of the microphone.
import puppeteer from "puppeteer-core";

/** Tones of sources in Hz, by id: those of `marker.js`, which are for pages. */
const TONES_HZ = { 1: 425, 2: 554 };

/** Opens it with the tone of this source and a window of this size. */
export async function openFirefox(id, size) {
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
    headless: true,
    acceptInsecureCerts: true,
    defaultViewport: size,
    extraPrefsFirefox: {
      "intl.accept_languages": "en-GB",
      "media.navigator.streams.fake": true,
      "media.navigator.audio.fake_frequency": TONES_HZ[id],
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
  return { browser, page };
}

/** The tones in two seconds of what the page plays. Without a sound card no AudioContext runs here. */
export async function heardByFirefox(page) {
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
