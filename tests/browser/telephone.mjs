// A web page that is a SIP telephone: JsSIP in Chromium calls by WebSocket (RFC 7118), and what it sees
// and hears is reported as participant.mjs does. Arguments: URL of the page it is part of, URL of the
// WebSocket, number, source id, and a password to register with first, whereupon it calls where it is
// sent by REFER. Ends the call when its standard input ends.
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { openPage } from "./launch.mjs";

const [url, socket, number, id, password] = process.argv.slice(2);
const source = { id: Number(id), width: 640, height: 360, frameRate: 15 };
// The library is no script of ours that the server's pages may load.
const { browser, page } = await openPage(source, { bypassCSP: true });
await page.goto(url);
const library = await build({
  absWorkingDir: fileURLToPath(new URL(".", import.meta.url)),
  entryPoints: ["jssip"],
  bundle: true,
  format: "iife",
  globalName: "JsSIP",
  write: false,
});
await page.addScriptTag({ content: library.outputFiles[0].text });

/** In the page: calls, and shows what comes where observer.js looks for it. */
async function call([socket, number, id, password]) {
  const host = new URL(socket).hostname;
  const line = new JsSIP.WebSocketInterface(socket);
  const telephone = new JsSIP.UA({
    sockets: [line],
    uri: `sip:page-${id}@${host}`,
    display_name: `Telephone ${id}`,
    register: Boolean(password),
    password,
  });
  const opened = new Promise((resolve, reject) => {
    telephone.on(password ? "registered" : "connected", resolve);
    telephone.on("registrationFailed", ({ cause }) => reject(new Error(cause)));
    telephone.on("disconnected", () => reject(new Error("no WebSocket")));
  });
  telephone.start();
  await opened;
  if (password && !telephone.contact.pub_gruu) {
    throw new Error("registered without a GRUU");
  }
  const options = {
    mediaConstraints: { audio: true, video: true },
    pcConfig: { iceServers: [] },
  };
  const session = telephone.call(`sip:${number}@${host}`, options);
  session.on("refer", ({ accept }) => accept((there) => there.on("confirmed", () => showCall(there)), options));
  await new Promise((resolve, reject) => {
    session.on("confirmed", resolve);
    session.on("failed", ({ cause, message }) => reject(new Error(`${cause}: ${message?.status_code}`)));
  });
  window.__consilium = { line };
  showCall(session);
}

/** In the page: shows what comes by a call, in place of another's. */
function showCall(session) {
  document.querySelectorAll("[data-testid]").forEach((element) => element.remove());
  const pc = session.connection;
  window.__consilium = { ...window.__consilium, pc, session };
  const tracks = pc.getReceivers().map((receiver) => receiver.track);
  const show = (element, kind) => {
    element.srcObject = new MediaStream(tracks.filter((track) => track.kind === kind));
    element.autoplay = true;
    return element;
  };
  const sound = show(document.createElement("audio"), "audio");
  sound.dataset.testid = "sound";
  const picture = show(document.createElement("video"), "video");
  picture.muted = true;
  const tile = document.createElement("div");
  tile.dataset.testid = "tile";
  tile.dataset.leg = "room";
  // The room's picture, of two sites.
  tile.dataset.composed = "yes";
  tile.append(picture);
  document.body.append(sound, tile);
}
await page.addScriptTag({ content: showCall.toString() });
await page.evaluate(call, [socket, number, id, password]);

/** In the page: hangs up, and waits until the BYE is answered. */
const hangUp = () =>
  new Promise((resolve) => {
    const { session, line } = window.__consilium;
    const take = line.ondata;
    line.ondata = (message) => {
      take(message);
      if (/^CSeq: \d+ BYE/m.test(message)) resolve();
    };
    session.terminate();
  });

const commands = createInterface({ input: process.stdin });
const end = async () => {
  await page.evaluate(hangUp).catch((error) => console.error(`hang up: ${error.message}`));
  await browser.close();
  process.exit(0);
};
commands.on("close", end);
process.on("SIGTERM", end);

for (;;) {
  const report = await page.evaluate(() => globalThis.consiliumObserver.report(false));
  console.log(JSON.stringify(report));
  await new Promise((resolve) => setTimeout(resolve, 500));
}
