// Firefox with one page. The tone of source 2, without its swell, takes the place of the microphone.
import puppeteer from "puppeteer-core";

/** That of source 2, as in `marker.js`, which is for pages. */
const TONE_HZ = 554;

/** Opens it with a window of this size. */
export async function openFirefox(size) {
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
    headless: true,
    acceptInsecureCerts: true,
    defaultViewport: size,
    extraPrefsFirefox: {
      "intl.accept_languages": "en-GB",
      "media.navigator.streams.fake": true,
      "media.navigator.audio.fake_frequency": TONE_HZ,
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
