// A picture of each page and panel, in Chinese and English, wide and on a phone, to look at after a change.
// Arguments: the first administrator's link of a new server, whose data is made here; a folder for the
// pictures; and optionally an expression for the names of those that are wanted.
import { DESKTOP, PHONE } from "./examine.mjs";
import { fill, PASSWORD } from "./hospitals.mjs";
import { openPage, prepare } from "./launch.mjs";

const [link, folder, wanted = ""] = process.argv.slice(2);
const base = new URL(link).origin;
const SOURCE = { width: 320, height: 180, frameRate: 5 };
const SIZES = { desktop: DESKTOP, phone: PHONE };
/** What a page says that is not there yet. */
const LOADING = ["Loading …", "正在加载"];
const LOCALES = { zh: "zh-CN", en: "en-GB" };

const { browser, page: first } = await openPage(null);
const made = await fill(first, link);
const sessions = new Map();

/** A context of whoever has this login; null for nobody. */
async function contextOf(login, more) {
  const settings = { ignoreHTTPSErrors: true, storageState: sessions.get(login), ...more };
  const context = await browser.newContext(settings);
  if (login && !sessions.has(login)) {
    const data = { login, password: PASSWORD };
    const answer = await context.request.post(`${base}/api/v1/session`, { headers: { origin: base }, data });
    if (!answer.ok()) throw new Error(`${login}: ${answer.status()}`);
    sessions.set(login, await context.storageState());
  }
  return context;
}

const see = (page, id) => page.getByTestId(id).filter({ visible: true }).first();
const press = (...ids) => async (page) => {
  for (const id of ids) await see(page, id).click();
};
const write = (fields) => async (page) => {
  for (const [id, text] of Object.entries(fields)) await see(page, id).fill(text);
};
const all = (...acts) => async (page) => {
  for (const act of acts) await act(page);
};
const panel = (page) => see(page, "panel").waitFor();
const row = (text) => async (page) => {
  await page.locator("button.row", { hasText: text }).first().click();
  await panel(page);
};
const answers = (path, status, code) => (page) =>
  page.route(path, (route) =>
    route.fulfill({
      status,
      contentType: "application/problem+json",
      body: JSON.stringify({ status, title: "x", ...(code && { code }) }),
    }),
  );

const join = all(write({ name: "王医生" }), press("join"));
/** One's own tile is there before one is in the room. */
const connected = (page) =>
  page.waitForFunction(() => globalThis.__consilium?.pc?.connectionState === "connected");
/** Until everybody is seen who is to be, or is not for a while, as without a camera. */
const pictures = (page) =>
  page
    .waitForFunction(() => {
      const all = [...document.querySelectorAll('[data-testid="tile"]')];
      return all.length > 0 && all.every((tile) => tile.querySelector("video")?.videoWidth > 0);
    }, null, { timeout: 6000 })
    .catch(() => {});
const inRoom = all(join, connected, pictures);

/** Name, login, path, what is done there, and what before it is opened. */
const SCENES = [
  ["home-nobody", null, "/"],
  ["home-administrator", "root", "/"],
  ["home-operator", "network_operator", "/"],
  ["home-clinician", "clinician", "/"],
  ["home-teacher", "teacher", "/"],
  ["home-student", "student", "/"],
  ["home-auditor", "auditor", "/"],
  ["home-no-role", "nobody", "/"],
  ["login", null, "/login"],
  ["login-wrong", null, "/login", all(write({ login: "root", password: "wrong" }), press("log-in"), (page) => see(page, "trouble").waitFor())],
  ["login-code", null, "/login", all(write({ login: "clinician", password: PASSWORD }), press("log-in"), (page) => see(page, "code").waitFor()), answers("**/api/v1/session", 401, "second_factor_wanted")],
  ["setup", null, "/setup#none"],
  ["account", "clinician", "/account", (page) => see(page, "sessions").waitFor()],
  ["account-token", "clinician", "/account", press("new-token")],
  ["account-authenticator", "teacher", "/account", all(write({ "authenticator-password": PASSWORD }), press("authenticator-begin"), (page) => page.locator(".ant-qrcode svg").waitFor())],
  ...["meetings", "rooms", "accounts", "trunks", "organisations", "people", "roles", "webhooks", "audit", "system"].map(
    (section) => [`admin-${section}`, "root", `/admin/${section}`],
  ),
  ...["rooms", "accounts", "trunks", "organisations", "people", "roles", "webhooks"].map((section) => [
    `admin-${section}-new`, "root", `/admin/${section}/new`, panel,
  ]),
  ["admin-rooms-new-wrong", "root", "/admin/rooms/new", press("save")],
  ["admin-rooms-one", "root", "/admin/rooms", row(made.busy)],
  ["admin-rooms-link", "root", "/admin/rooms", all(row(made.busy), press("new-guest-link"))],
  ["admin-rooms-share", "root", "/admin/rooms", all(row(made.busy), press("new-share"))],
  ["admin-meetings-one", "root", "/admin/meetings", row(made.busy)],
  ["admin-rooms-remove", "root", "/admin/rooms", all(row(made.quiet), press("remove"))],
  ["admin-rooms-of-file", "root", "/admin/rooms", row(made.ofFile)],
  ["admin-accounts-one", "root", "/admin/accounts", row(made.account)],
  ["admin-trunks-one", "root", "/admin/trunks", row(made.trunk)],
  ["admin-organisations-one", "root", "/admin/organisations", row(made.hospital)],
  ["admin-people-one", "root", "/admin/people", row(made.person)],
  ["admin-roles-one", "root", "/admin/roles", row(made.role)],
  ["admin-roles-built-in", "root", "/admin/roles/clinician", panel],
  ["admin-webhooks-one", "root", "/admin/webhooks", row(made.webhook)],
  ["admin-audit-one", "root", "/admin/audit", row(":")],
  ["admin-nothing-found", "root", "/admin/rooms", all(write({ filter: "nothing of this name" }), (page) => page.locator(".nothing").waitFor())],
  ["admin-clinician", "clinician", "/admin/rooms"],
  ["admin-auditor", "auditor", "/admin/audit"],
  ["error-403", "root", "/admin/rooms", undefined, answers("**/api/v1/rooms?*", 403, "rooms.view")],
  ["error-404", "root", "/admin/rooms/0b0c7f3e-0000-4000-8000-000000000000", panel],
  ["error-database-away", "root", "/admin/people", undefined, answers("**/api/v1/people?*", 503, "database_away")],
  ["error-server-away", "root", "/account", undefined, (page) => page.route("**/api/v1/sessions", (route) => route.abort())],
  ["error-read-only", "root", "/admin/rooms/new", all(write({ "room-number": "7000", "room-name": "x" }), press("save"), (page) => see(page, "trouble").waitFor()), answers("**/api/v1/rooms", 503, "database_away")],
  ["join", null, "/room/3000", (page) => page.locator('[data-testid="network"][data-state="done"]').waitFor({ timeout: 40000 })],
  ["join-checking", null, "/room/3000"],
  ["join-no-devices", null, "/room/3000", undefined, (page) => page.addInitScript(() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("x", "NotAllowedError"));
  })],
  ["join-guest", null, made.invitation],
  ["join-pin", null, `/room/${made.pin}`, all(join, (page) => see(page, "pin").waitFor())],
  ["join-closed", null, `/room/${made.quiet}`, all(join, (page) => see(page, "rejoin").waitFor())],
  ["join-nowhere", null, "/room/9999", all(join, (page) => see(page, "rejoin").waitFor())],
  ["room-alone", "clinician", `/room/${made.quiet}`, inRoom],
  ["room-two", null, "/room/3000", inRoom],
  ["room-chat", null, "/room/3000", all(inRoom, press("chat"), async (page) => {
    await page.keyboard.insertText("请看第二张影像 https://pacs.example/2");
    await page.keyboard.press("Enter");
    await see(page, "chat-lines").locator("article a").first().waitFor();
  })],
  ["room-settings", null, "/room/3000", all(inRoom, press("settings"))],
  ["room-keys", null, "/room/3000", all(inRoom, (page) => page.keyboard.press("?"))],
  ["room-missing-camera", null, "/room/3000", inRoom, (page) => page.addInitScript(() => {
    const get = navigator.mediaDevices.getUserMedia;
    navigator.mediaDevices.getUserMedia = (wanted) =>
      wanted.video ? Promise.reject(new DOMException("x", "NotFoundError")) : get.call(navigator.mediaDevices, wanted);
  })],
  ["room-silenced", null, "/room/3000", all(inRoom, async (page) => {
    const { legs } = await made.ask("GET", "/rooms/3000");
    const own = legs.find((leg) => leg.name === "王医生");
    await made.ask("PATCH", `/rooms/3000/legs/${own.id}`, { audio_silenced: true });
    await see(page, "silenced-mark").waitFor();
  })],
  ["room-coming-back", null, "/room/3000", all(inRoom, async (page) => {
    await page.context().setOffline(true);
    await page.evaluate(() => globalThis.sockets.forEach((socket) => socket.close()));
    await page.locator(".notice.trouble").waitFor();
  }), (page) => page.addInitScript(() => {
    globalThis.sockets = [];
    globalThis.WebSocket = class extends WebSocket {
      constructor(...all) {
        super(...all);
        globalThis.sockets.push(this);
      }
    };
  })],
  ["room-many", null, `/room/${made.busy}`, inRoom],
  ["left", null, "/room/3000", all(inRoom, press("leave"), (page) => see(page, "rejoin").waitFor())],
];

/** Others in a room, by its invitation or its number. */
async function visit(path, names) {
  for (const [index, name] of names.entries()) {
    const context = await contextOf(null, { locale: "zh-CN", viewport: { width: 640, height: 360 } });
    await prepare(context, { id: index + 2, ...SOURCE });
    const page = await context.newPage();
    await page.goto(base + path);
    await see(page, "name").fill(name);
    await see(page, "join").click();
    await connected(page);
  }
}

async function take([name, login, path, act, before], language, size) {
  const context = await contextOf(login, { locale: LOCALES[language], viewport: SIZES[size] });
  await prepare(context, { id: 1, ...SOURCE });
  const page = await context.newPage();
  page.setDefaultTimeout(15000);
  try {
    await before?.(page);
    await page.goto(base + path);
    await page.waitForFunction((words) => {
      const text = document.getElementById("root")?.innerText ?? "";
      return text && !words.some((word) => text.includes(word));
    }, LOADING);
    await act?.(page);
    await page.evaluate(() => document.fonts.ready);
    await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
  } catch (error) {
    console.error(`${name}, ${language}, ${size}: ${error.message.split("\n")[0]}`);
    process.exitCode = 1;
  }
  await page.screenshot({ path: `${folder}/${name}-${language}-${size}.png`, fullPage: size === "phone" });
  // Whoever only vanishes is waited for.
  await context.setOffline(false);
  await see(page, "leave").click({ timeout: 500 }).catch(() => {});
  await context.close();
}

const scenes = SCENES.filter(([name]) => new RegExp(wanted).test(name));
if (scenes.some(([name]) => /room-|join|left|meeting|rooms/.test(name))) {
  await visit("/room/3000", ["仁济医院手术室"]);
  await visit(made.open, ["李春", "瑞金医院放射科会诊中心（东院区）", "Dr. Amelia Featherstonehaugh-Cholmondeley", "赵", "陈主任"]);
}
for (const scene of scenes) {
  for (const language of Object.keys(LOCALES)) {
    for (const size of Object.keys(SIZES)) await take(scene, language, size);
  }
}
await browser.close();
