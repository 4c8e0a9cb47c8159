// Webhooks, and what hospitals share, as their administrators use the pages, with axe-core on each.
// Arguments: where the server is, `en` or `zh`, `mouse` or `keyboard`, the address of a receiver of webhooks,
// and the folder in which it reads its secret and what to answer. Ends with status 0 if all is as it should
// be. With SHOTS naming a folder, pictures of each page are left there.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { DESKTOP, examine } from "./examine.mjs";
import { handsOn } from "./hands.mjs";
import { openPage, walk } from "./launch.mjs";

const [base, language, way, receiver, folder] = process.argv.slice(2);
/** A page that sees something no more is not told so, and looks by itself. */
const FORGOTTEN = 40000;
const PASSWORD = "seven grey horses";
const SAID = {
  en: {
    address: "https://HOST/PATH",
    choose: "choose at least one event",
    arrived: "The test has arrived.",
    delivered: "delivered",
    dead: "not delivered",
    again: "It is tried again.",
    off: "off",
    on: "on",
    before: "The secret before counts for a day",
    view: "see it",
    control: "control it",
    withNobody: "With nobody.",
  },
  zh: {
    address: "https://主机/路径",
    choose: "请至少选择一种事件",
    arrived: "测试消息已送达",
    delivered: "已送达",
    dead: "未送达",
    again: "正在重试",
    off: "停用",
    on: "启用",
    before: "旧密钥",
    view: "可查看",
    control: "可控制",
    withNobody: "未共享。",
  },
}[language];
const locale = language === "zh" ? "zh-CN" : "en-GB";
const { browser, page } = await openPage(null, { locale, viewport: DESKTOP });
page.setDefaultTimeout(15000);
const { at, text, says, hand } = handsOn(page, way);
const check = (name) => examine(page, (size) => page.setViewportSize(size), name, `${name}-${language}`);
const step = (name) => console.error(`${(performance.now() / 1000).toFixed(1)} s: ${name}`);
const row = (name, on = page) => on.locator("tr", { has: on.locator("button.row", { hasText: name }) });

const receives = (status) => writeFileSync(`${folder}/status`, String(status));
const knows = (secret) => writeFileSync(`${folder}/secret`, secret);

/** Beside the page, as somebody else would. */
async function ask(context, method, path, data) {
  const headers = { origin: base };
  const answer = await context.request.fetch(`${base}/api/v1${path}`, { method, headers, data });
  assert.ok(answer.ok(), `${method} ${path}: ${answer.status()}`);
  return answer.status() === 204 ? null : answer.json();
}

async function makeRole(name) {
  const { organisation } = await ask(page, "GET", "/session");
  await ask(page, "POST", "/roles", { organisation, name, rights: ["rooms.view"] });
}

async function logIn() {
  await page.goto(`${base}/login`);
  await hand.fill("login", "root");
  await hand.fill("password", PASSWORD);
  await hand.press("log-in");
  await at("to-admin").waitFor();
}

async function makeWebhook() {
  step("a webhook that lacks something says what");
  await hand.press("to-admin");
  await hand.press("tab-webhooks");
  await hand.press("new");
  await hand.press("save");
  await page.locator("[data-testid='webhook-name'][aria-invalid='true']").waitFor();
  await says(SAID.choose);
  await check("webhook-new");
  await hand.fill("webhook-name", "医院信息系统");
  await hand.fill("webhook-url", receiver);
  await at("type-role.created").focus();
  await page.keyboard.press("Space");
  await hand.press("save");
  step("its secret is shown once");
  await at("webhook-secret").waitFor();
  knows(await text("webhook-secret"));
  receives(200);
  await hand.press("test");
  await says(SAID.arrived);
  await check("webhook-secret");
}

const delivery = (state) =>
  page.getByTestId("deliveries").locator("li", { has: page.getByText(state, { exact: true }) }).first();

async function missOne() {
  step("what arrives, and what does not");
  await makeRole("值班");
  await delivery(SAID.delivered).waitFor();
  receives(500);
  await makeRole("夜班");
  await delivery(SAID.dead).waitFor();
  await delivery(SAID.dead).getByText("not today").waitFor();
  await row("医院信息系统").locator("td", { hasText: /^1$/ }).waitFor();
  await check("webhook-dead");
  step("sent again by hand");
  receives(200);
  await hand.choose("delivery-state", SAID.dead);
  await hand.press("retry");
  await says(SAID.again);
  await delivery(SAID.dead).waitFor({ state: "detached" });
  await hand.choose("delivery-state", SAID.delivered);
  await page.getByTestId("deliveries").locator("li").nth(1).waitFor();
}

async function removeWebhook() {
  step("off and on, another secret, and gone");
  for (const state of [SAID.off, SAID.on]) {
    await hand.press("flip");
    await row("医院信息系统").locator(".state", { hasText: state }).waitFor();
  }
  const before = await text("webhook-secret");
  await hand.press("renew");
  await says(SAID.before);
  assert.notEqual(await text("webhook-secret"), before);
  await hand.press("close");
  await hand.row("医院信息系统");
  await at("flip").waitFor();
  assert.equal(await page.getByTestId("webhook-secret").count(), 0);
  await hand.press("remove");
  await hand.press("remove-sure");
  await row("医院信息系统").waitFor({ state: "detached" });
  assert.deepEqual((await ask(page, "GET", "/webhooks")).items, []);
}

/** Who administers the east, looking at this section. */
async function eastLooksAt(section) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, locale, viewport: DESKTOP });
  await ask(context, "POST", "/session", { login: "zhao", password: PASSWORD });
  const east = await context.newPage();
  await east.goto(`${base}/admin/${section}`);
  await east.getByTestId("table").waitFor();
  return east;
}

async function shareRoom() {
  step("a room, shared and no more");
  const east = await eastLooksAt("rooms");
  await row("2000", east).waitFor();
  assert.equal(await row("4000", east).count(), 0);
  await hand.press("tab-rooms");
  await hand.row("4000");
  await says(SAID.withNobody);
  await hand.press("new-share");
  await hand.choose("share-organisation", "东院");
  await check("room-share-new");
  await hand.press("make-share");
  const shares = page.getByTestId("shares");
  await shares.locator("li", { hasText: "东院" }).getByText(SAID.view).waitFor();
  await row("4000", east).waitFor();
  await check("room-shared");
  await hand.press("change-share");
  await at("share-may_control").focus();
  await page.keyboard.press("Space");
  await hand.press("save-share");
  await shares.getByText(SAID.control).waitFor();
  step("whose it is not sees it, and shares it with nobody");
  await row("4000", east).locator("button.row").click();
  await east.getByTestId("panel").getByText("西院会诊").first().waitFor();
  await east.getByTestId("foreign").waitFor();
  assert.equal(await east.getByTestId("new-share").count(), 0);
  assert.equal(await east.getByTestId("room-name").count(), 0);
  await east.goBack();
  await hand.press("end-share");
  await hand.press("end-share-sure");
  await says(SAID.withNobody);
  await row("4000", east).waitFor({ state: "detached", timeout: FORGOTTEN });
  await row("2000", east).waitFor();
  await east.context().close();
}

async function shareAccount() {
  step("an account, shared and no more");
  const east = await eastLooksAt("accounts");
  await hand.press("tab-accounts");
  await hand.row("or-west");
  await hand.choose("share-with", "东院");
  await hand.press("share");
  await at("account-share").waitFor();
  await row("or-west", east).waitFor();
  await check("account-shared");
  await hand.press("unshare");
  await at("account-share").waitFor({ state: "detached" });
  await row("or-west", east).waitFor({ state: "detached", timeout: FORGOTTEN });
  await east.context().close();
}

await walk(browser, language, async () => {
  await logIn();
  await makeWebhook();
  await missOne();
  await removeWebhook();
  await shareRoom();
  await shareAccount();
  step("done");
});
