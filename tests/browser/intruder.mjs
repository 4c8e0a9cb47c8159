// What a page of another origin and names that are markup can do in the browser of an administrator who
// is logged in: nothing. Arguments: address of the page, folder with the server's certificate. Ends
// with status 0 if so.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { openPage } from "./launch.mjs";

const [base, certificates] = process.argv.slice(2);
const CREDENTIALS = { login: "root", password: "seven grey horses" };
const MARKUP = "<img src=x onerror=hit()>";

/** A page of the same host, so that the browser sends the session's cookie with what it asks for. */
const tls = ["cert", "key"].map((name) => readFileSync(`${certificates}/${name}.pem`));
const other = createServer({ cert: tls[0], key: tls[1] }, (_, answer) => {
  answer.setHeader("content-type", "text/html");
  answer.end("<!doctype html><title>elsewhere</title>");
});
await new Promise((listening) => other.listen(0, "127.0.0.1", listening));
const elsewhere = `https://127.0.0.1:${other.address().port}/`;

const { browser, page } = await openPage({ id: 1, width: 320, height: 180, frameRate: 5 });
page.setDefaultTimeout(10000);

/** Asks as the page does; status and JSON. */
const ask = (method, path, body) =>
  page.evaluate(
    async ([method, path, body]) => {
      const headers = body ? { "content-type": "application/json" } : {};
      const answer = await fetch(`/api/v1${path}`, { method, headers, body });
      return { status: answer.status, body: await answer.json().catch(() => null) };
    },
    [method, path, body && JSON.stringify(body)],
  );
const made = async (path, body) => {
  const answer = await ask("POST", path, body);
  assert.equal(answer.status, 201, `${path}: ${JSON.stringify(answer)}`);
  return answer.body.id;
};
const organisations = async () => (await ask("GET", "/organisations")).body.items;

/** Whatever a page may send without being asked whether it may, and a frame and a socket. */
async function intrude(parent) {
  const body = JSON.stringify({ parent, kind: "hospital", name: "intruder" });
  const seen = await page.evaluate(
    async ([base, body]) => {
      const to = `${base}/api/v1/organisations`;
      const own = { method: "POST", credentials: "include", body };
      const kinds = ["text/plain", "application/x-www-form-urlencoded", "application/json"];
      for (const kind of kinds) {
        const headers = { "content-type": kind };
        await fetch(to, { ...own, mode: "no-cors", headers }).catch(() => {});
        await fetch(to, { ...own, headers }).catch(() => {});
      }
      const read = (path) => fetch(base + path, { credentials: "include" }).then((a) => a.text());
      const answers = await Promise.allSettled(["/api/v1/session", "/api/v1/audit", "/"].map(read));
      const socket = new WebSocket(`${base.replace("https", "wss")}/ws`);
      const opened = await new Promise((done) => {
        socket.onopen = () => done(true);
        socket.onerror = () => done(false);
      });
      const frame = document.createElement("iframe");
      frame.src = base;
      document.body.append(frame);
      await new Promise((done) => {
        frame.onload = done;
      });
      return { read: answers.filter((one) => one.status === "fulfilled").length, opened };
    },
    [base, body],
  );
  assert.deepEqual(seen, { read: 0, opened: false });
  const framed = page.frames().filter((frame) => frame.url().startsWith(base));
  assert.deepEqual(framed.map((frame) => frame.url()), [], "the page stands in no frame");
  await page.evaluate(
    ([base, body]) => {
      const form = document.createElement("form");
      form.method = "post";
      form.action = `${base}/api/v1/organisations`;
      form.enctype = "text/plain";
      const [before, after] = body.split('":');
      const field = document.createElement("input");
      field.name = `${before}":"`;
      field.value = after;
      form.append(field);
      document.body.append(form);
      form.submit();
    },
    [base, body],
  );
  await page.waitForURL(`${base}/**`);
}

/** Names that are markup are shown as they were typed, on every page that shows them. */
async function nameThings(root) {
  const organisation = await made("/organisations", { parent: root, kind: "hospital", name: MARKUP });
  const at = { organisation, name: MARKUP };
  await made("/people", { ...at, login: "markup" });
  await made("/roles", { ...at, rights: ["rooms.view"] });
  await made("/accounts", { ...at, user: "markup" });
  await made("/rooms", { ...at, number: "4200" });
  await page.exposeFunction("hit", () => {
    console.error("markup was run");
    process.exitCode = 1;
  });
  for (const section of ["organisations", "people", "roles", "accounts", "rooms", "audit"]) {
    await page.goto(`${base}/admin/${section}`);
    const row = page.locator("tr", { hasText: section === "audit" ? ":" : MARKUP }).first();
    await row.locator("button.row").click();
    await page.getByText(MARKUP).first().waitFor();
  }
  await page.goto(`${base}/room/4200`);
  await page.getByTestId("join").waitFor();
  const images = await page.locator("img[onerror]").count();
  assert.equal(images, 0, "no name becomes an element");
}

/** After a login the page goes nowhere but to itself, whatever its address says. */
async function leadAway() {
  for (const from of ["//127.0.0.2/", "https://127.0.0.2/", "/\\127.0.0.2/", "javascript:hit()"]) {
    await page.goto(`${base}/login?from=${encodeURIComponent(from)}`);
    await page.waitForURL((url) => url.pathname !== "/login");
    assert.equal(new URL(page.url()).origin, base, from);
  }
}

try {
  await page.goto(base);
  assert.equal((await ask("POST", "/session", CREDENTIALS)).status, 204);
  const before = await organisations();
  await page.goto(elsewhere);
  await intrude(before[0].id);
  await page.goto(base);
  const after = await organisations();
  assert.deepEqual(after, before, "a page of another origin changes nothing");
  await nameThings(before[0].id);
  await leadAway();
} catch (error) {
  console.error(error.stack);
  process.exitCode = 1;
} finally {
  await browser.close();
  other.close();
}
