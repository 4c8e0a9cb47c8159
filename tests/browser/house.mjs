// The pages around the room as an administrator and then a clinician use them, with axe-core on each.
// Arguments: the first administrator's link, `en` or `zh`, `mouse` or `keyboard`. Ends with status 0 if
// all is as it should be. With SHOTS naming a folder, pictures of each page are left there.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { DESKTOP, examine } from "./examine.mjs";
import { handsOn } from "./hands.mjs";
import { openPage, walk } from "./launch.mjs";

const [link, language, way] = process.argv.slice(2);
const base = new URL(link).origin;
const PASSWORD = "seven grey horses";
const SAID = {
  en: {
    tooShort: "12 characters",
    guessable: "easily guessed",
    ready: "Calls can be taken",
    clinician: "Clinician",
    made: "made",
    wrong: "Login or password is wrong",
    used: "used already",
    inUse: "still belongs to it",
    wrongCode: "The code is wrong",
    away: "database is away",
    offline: "cannot be reached",
    notDone: "may not have been done",
    room: "Enter a consult room",
    removed: "your site was removed",
    muted: "muted",
    lectures: "Lectures",
    silenced: "An operator has muted you",
    byOperator: "Off by operator",
    notReached: "It cannot be reached.",
    usedUp: "This invitation was used already",
    revoked: "taken back",
  },
  zh: {
    tooShort: "12 个字符",
    guessable: "容易被猜到",
    ready: "可以接入呼叫",
    clinician: "临床医生",
    made: "新建",
    wrong: "账号或密码错误",
    used: "链接已被使用",
    inUse: "仍有内容属于它",
    wrongCode: "验证码错误",
    away: "数据库暂不可用",
    offline: "无法连接服务器",
    notDone: "此操作可能未完成",
    room: "进入会诊室",
    removed: "您的会场已被移出",
    muted: "已静音",
    lectures: "教学资源",
    silenced: "管理员已将您静音",
    byOperator: "管理员已关闭",
    notReached: "无法接通对方。",
    usedUp: "此邀请已被使用",
    revoked: "已撤回",
  },
}[language];
const locale = language === "zh" ? "zh-CN" : "en-GB";
const source = { id: 1, width: 320, height: 180, frameRate: 5 };
const { browser, page } = await openPage(source, { locale, viewport: DESKTOP });
page.setDefaultTimeout(10000);

const { at, text, says, hand } = handsOn(page, way);
const check = (name) => examine(page, (size) => page.setViewportSize(size), name, `${name}-${language}`);

const step = (name) => console.error(`${((performance.now()) / 1000).toFixed(1)} s: ${name}`);

async function setUp() {
  step("nobody is logged in");
  await page.goto(`${base}/`);
  await at("number").waitFor();
  await check("start");
  step("the first administrator");
  await page.goto(link);
  await hand.fill("setup-organisation", "华东区");
  await hand.fill("setup-login", "root");
  await hand.fill("setup-name", "王院长");
  await hand.fill("setup-password", "too short");
  await hand.fill("setup-repeat", "too short");
  await hand.press("set-up");
  await says(SAID.tooShort);
  await check("setup");
  for (const [password, told] of [["consilium1234", SAID.guessable], [PASSWORD, SAID.ready]]) {
    await hand.fill("setup-password", password);
    await hand.fill("setup-repeat", password);
    await hand.press("set-up");
    await says(told);
  }
  assert.equal(new URL(page.url()).hash, "", "the secret does not stay in the address");
  await check("home-administrator");
}

async function administer() {
  step("an organisation");
  await hand.press("door-organisations");
  await hand.press("new");
  await hand.fill("organisation-name", "仁济医院");
  await hand.press("save");
  await page.getByTestId("tree-item").filter({ hasText: "仁济医院" }).waitFor();
  await hand.press("new");
  await hand.fill("organisation-name", "秘密医院");
  await hand.press("save");
  await page.getByTestId("tree-item").filter({ hasText: "秘密医院" }).waitFor();
  await hand.fill("filter", "秘");
  await page.locator("button.row", { hasText: "仁济" }).waitFor({ state: "detached" });
  await check("organisations");
  step("a person with a role");
  await hand.press("tab-people");
  await hand.press("new");
  await hand.fill("person-name", "李春");
  await hand.fill("person-login", "li.chun");
  await hand.choose("person-organisation", "仁济医院");
  await hand.fill("person-password", PASSWORD);
  await hand.press("save");
  await hand.choose("grant-role", SAID.clinician);
  await hand.press("give");
  await page.getByTestId("grants").getByText(SAID.clinician).waitFor();
  await check("people");
  const { items } = await ask("GET", "/organisations");
  const hospital = items.find(({ name }) => name === "仁济医院").id;
  await ask("POST", "/rooms", { organisation: hospital, number: "4300", name: "病例讨论" });
  const person = { organisation: hospital, login: "xue.sheng", name: "学生", password: PASSWORD };
  const { id } = await ask("POST", "/people", person);
  await ask("POST", `/people/${id}/grants`, { role: "student", organisation: hospital });
  await changeMinds();
  step("a role");
  await hand.press("tab-roles");
  await hand.row(SAID.clinician);
  await page.getByTestId("panel").getByText(SAID.clinician).first().waitFor();
  await check("roles-built-in");
  await hand.press("new");
  await hand.fill("role-name", "值班");
  await at("right-rooms.view").focus();
  await page.keyboard.press("Space");
  const top = (id) => at(id).evaluate((one) => one.getBoundingClientRect().top);
  assert.ok((await top("save")) > (await top("right-system.manage")), "what is done stands below what it does");
  await check("roles");
  await hand.press("save");
  await page.locator("button.row", { hasText: "值班" }).waitFor();
  await runRooms();
  step("the audit log");
  await hand.press("tab-audit");
  await hand.choose("audit-action", SAID.made);
  await page.locator("tbody .state", { hasText: SAID.made }).first().waitFor();
  await page.locator("tbody .state:not(.good)").first().waitFor({ state: "detached" });
  await hand.fill("audit-actor", "root");
  await hand.row(":");
  await at("differences").waitFor();
  await check("audit");
  // What is typed counts a moment later.
  await page.locator('[data-testid="export-csv"][href*="actor=root"]').waitFor();
  const [status, table] = await at("export-csv").evaluate(async (link) => {
    const answer = await fetch(link.href);
    return [answer.status, await answer.text()];
  });
  assert.equal(status, 200);
  const rows = table.trim().split("\r\n");
  assert.match(rows[0], /^seq,at_ms,actor,/);
  assert.ok(rows.length > 3 && rows.slice(1).every((row) => row.includes(",root,")), table);
  await lookAtSystem();
  step("the own account");
  await hand.press("to-account");
  await at("sessions").waitFor();
  await check("account");
  await handOver();
  await hand.press("log-out");
  await at("to-login").waitFor();
}

/** The server itself: each process is ready, and its figures move without a reload. */
async function lookAtSystem() {
  step("the system");
  await hand.press("tab-system");
  for (const name of ["manager", "control", "media", "database"]) {
    await page.getByTestId(`process-${name}`).locator(".state.good").waitFor();
  }
  const cells = page.getByTestId("process-control").locator("td");
  await cells.filter({ hasText: " %" }).waitFor();
  const [uptime] = await cells.allInnerTexts();
  await page.waitForFunction(
    (before) =>
      document.querySelector("[data-testid=process-control] td").innerText !== before,
    uptime,
  );
  await at("versions").getByText("SQLite 3").waitFor();
  await check("system");
}

async function changeMinds() {
  step("disabled, and let in again");
  const panel = page.getByTestId("panel");
  for (const state of [".state.off", ".state.good"]) {
    await hand.press("disable");
    await panel.locator("p").locator(state).first().waitFor();
  }
  step("an organisation that is in use stays");
  await hand.press("tab-organisations");
  await hand.row("仁济医院");
  await hand.press("remove");
  await hand.press("remove-sure");
  await says(SAID.inUse);
  step("one that is renamed, moved and removed");
  await hand.press("new");
  await hand.fill("organisation-name", "临时科");
  await hand.press("save");
  await page.getByTestId("tree-item").filter({ hasText: "临时科" }).waitFor();
  await hand.fill("organisation-name", "急诊科");
  await hand.choose("organisation-parent", "仁济医院");
  await hand.press("save");
  await page.getByRole("row", { name: "急诊科" }).getByText("仁济医院").waitFor();
  await holdEnter("remove");
  await page.getByRole("row", { name: "急诊科" }).waitFor();
  await hand.press("remove-sure");
  await page.locator("button.row", { hasText: "急诊科" }).waitFor({ state: "detached" });
  const focused = () => page.evaluate(() => document.activeElement !== document.body);
  assert.ok(await focused(), "the focus is somewhere after what had it is gone");
}

/** Whoever holds Enter down has not read the question, and does nothing for good. */
async function holdEnter(id) {
  await at(id).focus();
  for (let times = 0; times < 5; times++) await page.keyboard.down("Enter");
  await page.keyboard.up("Enter");
  await at(`${id}-sure`).waitFor();
}

async function runRooms() {
  step("a terminal's account");
  await hand.press("tab-accounts");
  // The list does not show it: the password is shown all the same, and once.
  await hand.fill("filter", "or-2");
  await page.locator("button.row").first().waitFor({ state: "detached" });
  await hand.press("new");
  await hand.fill("account-user", "or-1");
  await hand.fill("account-name", "手术室一");
  await hand.press("save");
  assert.match(await text("account-password"), /^\w{24}$/);
  await hand.fill("filter", "");
  await page.locator("button.row", { hasText: "or-1" }).waitFor();
  await check("accounts");
  await hand.press("share");
  await at("account-share").waitFor();
  await check("accounts-shared");
  await hand.press("unshare");
  await at("account-share").waitFor({ state: "detached" });
  await hand.press("close");
  await hand.row("or-1");
  await at("renew").waitFor();
  assert.equal(await page.getByTestId("account-password").count(), 0);
  step("a trunk");
  await hand.press("tab-trunks");
  await hand.press("new");
  await hand.fill("trunk-name", "city");
  await hand.fill("trunk-address", "127.0.0.1:9");
  await hand.fill("trunk-prefix", "9");
  await hand.fill("trunk-numbers", "5551234");
  await hand.press("save");
  // It says which field is wrong before anything is sent.
  await page.locator("[data-testid='trunk-numbers'][aria-invalid='true']").waitFor();
  await hand.fill("trunk-numbers", "");
  await hand.press("save");
  await page.locator("button.row", { hasText: "city" }).waitFor();
  await at("trunk-state").waitFor();
  await check("trunks");
  await hand.press("remove");
  await hand.press("remove-sure");
  await page.locator("button.row", { hasText: "city" }).waitFor({ state: "detached" });
  step("a room, and somebody in it");
  await hand.press("tab-rooms");
  await hand.press("new");
  await hand.fill("room-number", "4100");
  await hand.fill("room-name", "多学科会诊");
  await at("room-guest-links").focus();
  await page.keyboard.press("Space");
  await hand.press("save");
  await page.locator("button.row", { hasText: "4100" }).waitFor();
  await keepChanges();
  await hand.press("new-guest-link");
  await hand.fill("guest-name", "张阿姨");
  await hand.press("make-guest-link");
  const invitation = await text("guest-link");
  // Who shares the administrator's browser would be the administrator.
  const elsewhere = await browser.newContext({ ignoreHTTPSErrors: true, locale });
  const guest = await elsewhere.newPage();
  await guest.goto(invitation);
  await guest.getByTestId("name").fill("访客");
  assert.equal(new URL(guest.url()).hash, "", "the secret does not stay in the address");
  await guest.getByTestId("join").click();
  await page.getByTestId("legs").getByText("张阿姨").waitFor();
  await check("rooms");
  await watchTheWall(guest);
  await hand.press("silence");
  await page.getByTestId("legs").locator(".state.bad").waitFor();
  await guest.getByTestId("silenced-mark").waitFor();
  await guest.getByTestId("tile").getByText("张阿姨").waitFor();
  await guest.getByText(SAID.silenced).first().waitFor();
  await guest.getByTestId("mic").getByText(SAID.byOperator).waitFor();
  await hand.press("put-out");
  await hand.press("put-out-sure");
  await guest.getByText(SAID.removed).waitFor();
  step("an invitation that is used, and taken back");
  await guest.getByTestId("rejoin").click();
  await guest.getByTestId("join").click();
  await guest.getByText(SAID.usedUp).waitFor();
  await elsewhere.close();
  await hand.press("revoke-guest-link");
  await page.getByTestId("guest-links").getByText(SAID.revoked).waitFor();
  await hand.fill("ring-target", "or-1");
  await hand.press("ring");
  await says(SAID.notReached);
  step("what somebody else does, without a reload");
  const { organisation } = await (await page.request.get(`${base}/api/v1/session`)).json();
  const headers = { origin: base };
  const data = { organisation, number: "4200", name: "急会诊" };
  await page.request.post(`${base}/api/v1/rooms`, { headers, data });
  await page.locator("button.row", { hasText: "4200" }).waitFor();
  await page.request.delete(`${base}/api/v1/rooms/4200`, { headers });
  await page.locator("button.row", { hasText: "4200" }).waitFor({ state: "detached" });
}

/** Each meeting that is running, with its sites, live, and one press away from its control. */
async function watchTheWall(guest) {
  step("the wall of meetings");
  await hand.press("tab-meetings");
  const tile = page.getByTestId("meeting").filter({ hasText: "4100" });
  await tile.getByText("张阿姨").waitFor();
  await tile.locator(".bars.good").nth(1).waitFor();
  await tile.getByTestId("still").getByRole("img").waitFor({ timeout: 30000 });
  await page.waitForFunction(() => document.querySelector("[data-testid=still] img")?.naturalWidth > 0);
  assert.match(await tile.getByRole("img").first().getAttribute("alt"), /4100/);
  await hand.fill("filter", "nobody");
  await tile.waitFor({ state: "detached" });
  await hand.fill("filter", "张");
  await tile.waitFor();
  await check("meetings");
  await guest.getByTestId("mic").click();
  await tile.getByText(SAID.muted).waitFor();
  await guest.getByTestId("mic").click();
  await tile.getByText(SAID.muted).waitFor({ state: "detached" });
  await hand.row("4100");
  await page.getByTestId("legs").getByText("张阿姨").waitFor();
  await check("meeting");
  await hand.press("close");
  assert.ok(await page.evaluate(() => document.activeElement.dataset.row === "4100"));
  await hand.press("tab-rooms");
  await hand.row("4100");
  await page.getByTestId("legs").getByText("张阿姨").waitFor();
}

/** Beside the page, as somebody else would. */
async function ask(method, path, data) {
  const headers = { origin: base };
  const answer = await page.request.fetch(`${base}/api/v1${path}`, { method, headers, data });
  assert.ok(answer.ok(), `${method} ${path}: ${answer.status()}`);
  return answer.status() === 204 ? null : answer.json();
}

async function keepChanges() {
  step("what another administrator has changed meanwhile stays");
  await ask("PATCH", "/rooms/4100", { srtp: "required" });
  await hand.fill("room-name", " ");
  await hand.press("save");
  assert.ok(await at("room-name").evaluate((field) => field === document.activeElement));
  await hand.fill("room-name", "肿瘤会诊");
  step("nothing that was typed is lost unasked");
  page.once("dialog", (dialog) => dialog.dismiss());
  await page.keyboard.press("Escape");
  assert.equal(await at("room-name").inputValue(), "肿瘤会诊");
  await hand.press("save");
  await page.getByRole("row", { name: "肿瘤会诊" }).waitFor();
  const [room] = (await ask("GET", "/rooms?q=4100")).items;
  assert.deepEqual([room.srtp, room.guest_links], ["required", true]);
  assert.equal(await at("room-srtp").inputValue(), "required");
}

async function handOver() {
  step("somebody else logs in, in another tab");
  await hand.press("to-admin");
  await hand.press("tab-organisations");
  await page.locator("button.row", { hasText: "秘密医院" }).waitFor();
  await ask("POST", "/session", { login: "li.chun", password: PASSWORD });
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await page.locator("button.row", { hasText: "秘密医院" }).waitFor({ state: "detached" });
  await page.locator("button.row", { hasText: "仁济医院" }).waitFor();
}

async function workAsClinician() {
  await page.goto(`${base}/login`);
  await workAsStudent();
  step("a login that leads back");
  await page.goto(`${base}/account`);
  await hand.fill("login", "li.chun");
  await hand.fill("password", "wrong wrong wrong");
  await hand.press("log-in");
  await says(SAID.wrong);
  await check("login");
  await hand.fill("password", PASSWORD);
  await hand.press("log-in");
  await at("sessions").waitFor();
  assert.equal(new URL(page.url()).pathname, "/account");
  step("what a clinician sees");
  await page.goto(`${base}/`);
  await says(SAID.room);
  await says("李春");
  assert.equal(await page.getByTestId("to-admin").count(), 0);
  assert.equal(await page.getByTestId("attention").count(), 0);
  await check("home-clinician");
  await page.goto(`${base}/admin/organisations`);
  await page.locator("button.row", { hasText: "仁济医院" }).waitFor();
  assert.equal(await page.getByTestId("tree-item").count(), 1);
  assert.equal(await page.locator("nav.tabs a").count(), 3, "meetings, rooms and organisations");
  assert.equal(await page.getByTestId("new").count(), 0);
  const seen = await page.locator("body").innerText();
  for (const foreign of ["秘密医院", "华东区", "王院长"]) assert.ok(!seen.includes(foreign), foreign);
  const status = await page.evaluate(async () => (await fetch("/api/v1/people")).status);
  assert.equal(status, 403);
  await check("organisations-clinician");
}

/** The code of an authenticator that knows this secret, now (RFC 6238, RFC 4648 §6). */
function codeOf(secret) {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  const bits = [...secret.replace(/[^A-Z2-7]/g, "")]
    .map((letter) => letters.indexOf(letter).toString(2).padStart(5, "0"))
    .join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30000)));
  const hash = createHmac("sha1", key).update(counter).digest();
  const number = hash.readUInt32BE(hash[19] & 15) & 0x7fffffff;
  return String(number % 1000000).padStart(6, "0");
}

async function proveMore() {
  step("a token for a program");
  await hand.press("to-account");
  await hand.press("new-token");
  await hand.fill("token-name", "HIS");
  await hand.fill("token-password", PASSWORD);
  await at("right-recordings.view").focus();
  await page.keyboard.press("Space");
  await hand.press("make-token");
  const token = await text("token");
  const headers = { authorization: `Bearer ${token}` };
  const asked = await page.request.get(`${base}/api/v1/session`, { headers });
  assert.deepEqual((await asked.json()).rights, ["recordings.view"]);
  step("a second factor");
  await hand.fill("authenticator-password", PASSWORD);
  await hand.press("authenticator-begin");
  const secret = await text("authenticator-secret");
  await page.locator(".ant-qrcode svg").waitFor();
  await check("authenticator");
  await hand.fill("authenticator-code", codeOf(secret));
  await hand.press("authenticator-confirm");
  const recovery = await at("recovery-codes").locator("code").first().innerText();
  await check("account-clinician");
  await hand.press("log-out");
  step("a closed room leads to the login");
  await at("to-login").waitFor();
  await page.goto(`${base}/room/4100`);
  await hand.fill("name", "李春");
  await hand.press("join");
  await hand.press("log-in-first");
  step("a login with a code, which leads back");
  await hand.fill("login", "li.chun");
  await hand.fill("password", PASSWORD);
  await hand.press("log-in");
  await hand.fill("code", "000000");
  await hand.press("log-in");
  await says(SAID.wrongCode);
  await check("login-code");
  await hand.fill("code", recovery);
  await hand.press("log-in");
  await at("join").waitFor();
  assert.equal(new URL(page.url()).pathname, "/room/4100");
  await enter();
  await page.goto(`${base}/`);
  await says("李春");
}

/** The room itself: before it, in it with all that can be opened, and after it. */
async function enter() {
  step("the room, and all that opens in it");
  await page.goto(`${base}/room/4300`);
  await page.locator('[data-testid="network"][data-state="done"]').waitFor({ timeout: 30000 });
  await check("join");
  await hand.press("join");
  await page.getByTestId("tile").getByText("李春").waitFor();
  await check("room");
  await hand.press("chat");
  await at("chat-field").waitFor();
  await page.keyboard.insertText("请看第二张影像 https://pacs.example/2");
  await page.keyboard.press("Enter");
  await at("chat-lines").locator("article a").waitFor();
  await check("room-chat");
  await page.keyboard.press("Escape");
  await hand.press("settings");
  await at("settings-fields").waitFor();
  await check("room-settings");
  await hand.press("settings-close");
  await page.keyboard.press("?");
  await page.locator("dialog.keys[open]").first().waitFor();
  await check("room-keys");
  await page.keyboard.press("Escape");
  await hand.press("leave");
  await at("rejoin").waitFor();
  await check("left");
}

async function workAsStudent() {
  step("what a student sees");
  await hand.fill("login", "xue.sheng");
  await hand.fill("password", PASSWORD);
  await hand.press("log-in");
  await page.getByText(SAID.lectures).first().waitFor();
  assert.equal(await page.getByTestId("to-admin").count(), 0);
  await check("home-student");
  await hand.press("log-out");
  await at("to-login").waitFor();
}

async function meetTrouble() {
  step("a link that is used");
  await page.goto("about:blank");
  await page.goto(link);
  for (const field of ["organisation", "login", "name"]) await hand.fill(`setup-${field}`, "x");
  for (const field of ["password", "repeat"]) await hand.fill(`setup-${field}`, PASSWORD);
  await hand.press("set-up");
  await says(SAID.used);
  step("the database is away, and comes back");
  const away = { status: 503, contentType: "application/problem+json" };
  const body = JSON.stringify({ status: 503, title: "x", code: "database_away" });
  await page.route("**/api/v1/session", (route) => route.fulfill({ ...away, body }));
  await page.goto(`${base}/`);
  await says(SAID.away);
  await at("number").waitFor();
  await page.unroute("**/api/v1/session");
  await says("李春");
  step("the server is away, and comes back");
  await page.getByTestId("to-account").waitFor();
  await page.context().setOffline(true);
  await hand.press("to-account");
  await says(SAID.offline);
  await hand.press("log-out");
  await says(SAID.notDone);
  await check("log-out-away");
  await page.context().setOffline(false);
  await at("sessions").waitFor();
}

await walk(browser, language, async () => {
  await setUp();
  await administer();
  await workAsClinician();
  await proveMore();
  await meetTrouble();
  step("done");
});
