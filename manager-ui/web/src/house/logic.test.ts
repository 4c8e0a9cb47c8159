import { describe, expect, it } from "vitest";
import { Failure, type Organisation, type Right, type Running } from "./api";
import {
  administers,
  addressOf,
  agentName,
  changesOf,
  dateField,
  differences,
  firstOffered,
  firstPages,
  isLogin,
  isName,
  isNumber,
  landingOf,
  linesOf,
  matching,
  placeOf,
  problemText,
  qualityOf,
  retryMs,
  safeReturn,
  sectionsOf,
  treeKey,
  treeOf,
  troubled,
  warningsOf,
  weakness,
  withRow,
  worseWay,
} from "./logic";
import { houseWords } from "./words";

const { en, zh } = houseWords;

/** Every source file of the server, by its path. */
const server = import.meta.glob<string>("../../../server/src/**/*.rs", {
  query: "?raw",
  import: "default",
  eager: true,
});
const source = (name: string) => server[`../../../server/src/${name}`] ?? "";

const found = (pattern: RegExp, texts: string[]) =>
  [...new Set(texts.flatMap((text) => [...text.matchAll(pattern)].map((match) => match[1] ?? "")))];

describe("what the server may say", () => {
  const all = Object.values(server);
  const [audit, rights] = [source("audit.rs"), source("rights.rs")];

  it("has words for every problem", () => {
    const codes = [
      ...found(/\.code\(\s*"(\w+)"/g, all),
      ...found(/unprocessable\(\s*"[^"]*",\s*"(\w+)"/g, all),
    ];
    expect(codes.length).toBeGreaterThan(10);
    for (const code of codes) expect(Object.keys(en.problems), code).toContain(code);
  });

  it("has words for every action and object of the audit log", () => {
    const actions = found(/Self::\w+ => "(\w+)"/g, [audit]);
    expect(actions.length).toBeGreaterThan(5);
    for (const action of actions) expect(Object.keys(en.actions), action).toContain(action);
    const kinds = found(/\bkind: "(\w+)"/g, all);
    expect(kinds.length).toBeGreaterThan(5);
    for (const kind of kinds) expect(Object.keys(en.objects), kind).toContain(kind);
  });

  it("has words for every field and reason of the audit log", () => {
    const api = ["accounts", "audit", "authenticator", "guest_links", "meeting", "organisations"];
    api.push("people", "roles", "rooms", "session", "shares", "tokens", "webhooks");
    const files = ["entering", "guests", "leaving", "ldap/people", "newcomer", "second_factor"];
    files.push("sessions", "tokens", "api/provider", "provider", ...api.map((name) => `api/${name}`));
    const texts = files.map((name) => source(`${name}.rs`));
    for (const [index, text] of texts.entries()) expect(text, files[index]).not.toBe("");
    const told = found(/json!\(\{([^}]*)\}\)/g, texts);
    const fields = [...found(/"(\w+)":/g, told), ...found(/\["(\w+)"\] = json!/g, texts)];
    expect(fields.length).toBeGreaterThan(20);
    for (const field of fields) expect(Object.keys(en.fields), field).toContain(field);
    const reasons = [
      ...found(/Self::\w+(?:\(_\))? => "([a-z ]+)"/g, [source("provider.rs")]),
      ...found(/refuse\(store, asker, [\w(&)]+, "([^"]+)"/g, texts),
      ...found(/Verdict::\w+, "([^"]+)"/g, texts),
      ...found(/\(_?[a-z_, ]+\) => "([^"]+)"/g, [source("sessions.rs")]),
      ...found(/let reason = "([^"]+)"/g, texts),
      ...found(/^ {8}"([a-z0-9 ]+)"$/gm, [source("tokens.rs")]),
    ];
    expect(reasons.length).toBeGreaterThan(14);
    for (const reason of reasons) expect(Object.keys(en.reasons), reason).toContain(reason);
  });

  it("has words for every right and role", () => {
    const names = found(/^ {4}\w+ = "([\w.]+)",$/gm, [rights]);
    expect(names.sort()).toEqual(Object.keys(en.rights).sort());
    const roles = [
      ...found(/\bid: "(\w+)"/g, [rights]),
      ...found(/SYSTEM_ADMINISTRATOR: &str = "(\w+)"/g, [rights]),
    ];
    expect(roles.sort()).toEqual(Object.keys(en.roles).sort());
  });
});

describe.each([en, zh])("problems in words", (words) => {
  it("are said by their word, else by what is missing, else by their status", () => {
    expect(problemText(new Failure(503, "database_away"), words)).toBe(words.problems.database_away);
    expect(problemText(new Failure(403, "people.manage"), words)).toContain(
      words.rights["people.manage"],
    );
    expect(problemText(new Failure(404), words)).toBe(words.statuses[404]);
    expect(problemText(new Failure(418, "new_one"), words)).toBe(words.statuses[400]);
    expect(problemText(new Failure(599), words)).toBe(words.statuses[500]);
  });

  it("promise to try again only where the page does", () => {
    for (const code of ["unreachable", "database_away"]) {
      const asked = problemText(new Failure(503, code, true), words);
      expect(asked).toBe(words.notDone[code]);
      expect(asked).not.toBe(problemText(new Failure(503, code), words));
    }
    const taken = new Failure(409, "taken", true);
    expect(problemText(taken, words)).toBe(words.problems.taken);
  });

  it("tells what is wrong with a password before the server does", () => {
    expect(weakness("elf Zeichen", words)).toBe(words.passwords.short("11"));
    expect(weakness("会".repeat(86), words)).toBe(words.passwords.long);
    expect(weakness("seven grey horses", words)).toBe("");
  });
});

describe("asking the server again", () => {
  it("goes on while it or what is before it is away or busy, ever more slowly", () => {
    for (const status of [0, 429, 500, 502, 503]) expect(new Failure(status).passes).toBe(true);
    for (const status of [401, 403, 404, 409, 422]) expect(new Failure(status).passes).toBe(false);
    expect([1, 2, 3, 100].map(retryMs)).toEqual([2000, 4000, 8000, 30000]);
  });
});

describe("a form about a row", () => {
  it("sends what was touched and is other than the row, and nothing that somebody else changed", () => {
    // The list is old: the room was closed to guests since.
    const row = { name: "Tumour board", guests: false, rights: ["a"] };
    expect(changesOf(row, { name: "Heart team" })).toEqual({ name: "Heart team" });
    expect(changesOf(row, { guests: false, name: "Tumour board", rights: ["a"] })).toEqual({});
    expect(changesOf(row, { rights: ["a", "b"] })).toEqual({ rights: ["a", "b"] });
    expect(changesOf(row, {})).toEqual({});
  });

  it("puts the row that was answered where the old one was", () => {
    const rows = [{ id: "a", n: 1 }, { id: "b", n: 1 }];
    expect(withRow(rows, { id: "a", n: 2 })).toEqual([{ id: "a", n: 2 }, { id: "b", n: 1 }]);
    expect(withRow(rows, { id: "c", n: 1 })).toHaveLength(3);
  });
});

describe("places to choose from", () => {
  const options = [{ value: "a" }, { value: "b" }];

  it("begin with one that is offered, so that what is shown is what is sent", () => {
    expect(firstOffered(options, "b")).toBe("b");
    expect(firstOffered(options, "hidden")).toBe("a");
    expect(firstOffered([], "hidden")).toBe("hidden");
  });
});

describe("a moment in a field", () => {
  it("is the same moment to the minute, wherever the browser is", () => {
    const moment = Date.UTC(2026, 10, 27, 1, 2, 3);
    expect(new Date(dateField(moment)).getTime()).toBe(moment - 3000);
  });
});

describe("long lists", () => {
  const rows = Array.from({ length: 120 }, (_, index) => index);
  const page = async (after = "0") => {
    const from = Number(after);
    const next = from + 50 < rows.length ? String(from + 50) : null;
    return { items: rows.slice(from, from + 50), next };
  };

  it("are read again as far as they were open", async () => {
    expect(await firstPages(page, 1)).toEqual({ items: rows.slice(0, 50), next: "50" });
    expect(await firstPages(page, 2)).toEqual({ items: rows.slice(0, 100), next: "100" });
    expect(await firstPages(page, 9)).toEqual({ items: rows, next: null });
  });
});

describe("going back after the login", () => {
  it("stays on this page", () => {
    expect(safeReturn("/admin/people?at=1")).toBe("/admin/people?at=1");
    const elsewhere = [null, "", "//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil"];
    for (const from of [...elsewhere, "javascript:1", "/login", "/setup"]) {
      expect(safeReturn(from), String(from)).toBe("/");
    }
  });
});

describe("what people are shown", () => {
  const clinician: Right[] = ["organisations.view", "rooms.view", "rooms.join", "recordings.view"];
  const operator: Right[] = ["organisations.view", "accounts.manage", "system.view"];

  it("follows their rights", () => {
    expect(landingOf(null)).toEqual({ attention: false, enter: true, lectures: false });
    expect(landingOf(clinician)).toEqual({ attention: false, enter: true, lectures: true });
    expect(sectionsOf(["rooms.view"])).toEqual(["meetings", "rooms"]);
    expect(landingOf(operator)).toEqual({ attention: true, enter: false, lectures: false });
    expect(landingOf(["recordings.view"])).toEqual({ attention: false, enter: false, lectures: true });
    expect(landingOf([]).enter).toBe(true);
    expect(administers(clinician)).toBe(false);
    expect(administers(["audit.view"])).toBe(true);
    expect(sectionsOf(["audit.view", "people.view"])).toEqual(["people", "audit"]);
  });

  it("has an address of its own for each thing", () => {
    const place = { section: "people", chosen: "a b", at: "1&2" } as const;
    const [path, search] = addressOf(place).split("?");
    expect(placeOf(path ?? "", `?${search}`)).toEqual(place);
    expect(placeOf("/admin/nonsense/%", "")).toEqual({ section: null, chosen: null, at: null });
  });
});

describe("names", () => {
  it("are taken as the server takes them", () => {
    expect(isLogin("li.chun@renji")).toBe(true);
    expect(isLogin("李春")).toBe(true);
    for (const login of ["", "a b", "a/b", "x".repeat(65)]) expect(isLogin(login)).toBe(false);
    expect(isName(" ")).toBe(false);
    expect(isName("仁济医院")).toBe(true);
    expect(["3000", "a.b", "...", "x".repeat(32)].every(isNumber)).toBe(true);
    for (const number of ["", ".", "..", "4000*1", "x".repeat(33)]) expect(isNumber(number)).toBe(false);
  });

  it("of browsers are short", () => {
    const chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36";
    expect(agentName(chrome)).toBe("Chrome 140, Linux");
    expect(agentName("Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0")).toBe(
      "Firefox 140, Windows",
    );
    expect(agentName("curl/8")).toBe("curl/8");
  });
});

describe("the tree", () => {
  const row = (id: string, parent: string | null, name: string): Organisation => ({
    id,
    parent,
    name,
    path: "",
    kind: "hospital",
  });
  const rows = [row("r", null, "R"), row("b", "r", "B"), row("a", "r", "A"), row("c", "a", "C"), row("x", "hidden", "X")];
  const tree = treeOf(rows, "en");
  const open = new Set(["r"]);
  const isOpen = (id: string) => open.has(id);
  const lines = linesOf(tree, isOpen);

  it("is sorted, and has at its top what belongs to something out of sight", () => {
    expect(lines.map((line) => [line.node.organisation.id, line.level])).toEqual([
      ["r", 1],
      ["a", 2],
      ["b", 2],
      ["x", 1],
    ]);
  });

  it("is walked by keys", () => {
    expect(treeKey("ArrowDown", lines, "r", isOpen)).toEqual({ focus: "a" });
    expect(treeKey("ArrowRight", lines, "a", isOpen)).toEqual({ toggle: "a" });
    expect(treeKey("ArrowLeft", lines, "b", isOpen)).toEqual({ focus: "r" });
    expect(treeKey("ArrowLeft", lines, "r", isOpen)).toEqual({ toggle: "r" });
    expect(treeKey("End", lines, "r", isOpen)).toEqual({ focus: "x" });
    expect(treeKey("ArrowUp", lines, "r", isOpen)).toEqual({ focus: undefined });
    expect(treeKey("q", lines, "r", isOpen)).toBeNull();
  });
});

describe("the quality of a site", () => {
  const flow = { bitrate_bps: 1, loss_percent: 0, jitter_ms: 5, mos: null, frozen_ms: 0 };
  const leg = {
    leg: 1,
    name: "x",
    kind: "sip",
    state: "connected",
    waiting: false,
    audio_silenced: false,
    layout: null,
    without_self: false,
    cell: null,
    received: flow,
    sent: flow,
    round_trip_ms: null,
  };

  it("is that of the worse way", () => {
    expect(qualityOf(leg)).toBe("good");
    expect(qualityOf({ ...leg, sent: { ...flow, loss_percent: 6 } })).toBe("poor");
    expect(qualityOf({ ...leg, received: { ...flow, jitter_ms: 40 } })).toBe("fair");
    expect(qualityOf({ ...leg, round_trip_ms: 700 })).toBe("poor");
    expect(qualityOf({ ...leg, state: "connecting" })).toBe("connecting");
    expect(qualityOf({ ...leg, state: "failed" })).toBe("failed");
    expect(qualityOf({ ...leg, waiting: true })).toBe("waiting");
  });

  it("is warned of where a line has not what telemedicine asks for", () => {
    expect(warningsOf({ ...leg, round_trip_ms: 100 })).toEqual([]);
    expect(warningsOf({ ...leg, round_trip_ms: 101 })).toEqual(["delay"]);
    const bad = { ...flow, jitter_ms: 20.5, loss_percent: 5.1 };
    expect(warningsOf({ ...leg, received: bad })).toEqual(["jitter", "loss"]);
    expect(warningsOf({ ...leg, sent: bad })).toEqual(["jitter", "loss"]);
  });
});

describe("before and after", () => {
  it("are compared field by field", () => {
    expect(differences({ name: "A", kind: "x" }, { name: "B", kind: "x" })).toEqual([
      { field: "name", before: "A", after: "B", changed: true },
      { field: "kind", before: "x", after: "x", changed: false },
    ]);
    expect(differences(null, { role: "r" })).toEqual([
      { field: "role", before: undefined, after: "r", changed: true },
    ]);
    expect(differences("text", 3)).toEqual([]);
  });
});

describe("the wall of meetings", () => {
  const way = (quality: Running["sites"][number]["sent"]["quality"]) =>
    ({
      quality,
      bitrate_bps: 0,
      loss_percent: 0,
      jitter_ms: 0,
      sound_loss_percent: 0,
      picture_loss_percent: 0,
      frozen_ms: 0,
      warnings: [] as string[],
    }) as const;
  const site = (name: string, from: Parameters<typeof way>[0], to: Parameters<typeof way>[0]) => ({
    leg: 1,
    name,
    kind: "sip",
    audio_muted: false,
    video_muted: false,
    waiting: false,
    received: way(from),
    sent: way(to),
    round_trip_ms: null,
  });
  const meeting = (number: string, name: string | null, ...names: string[]): Running => ({
    number,
    name,
    room: null,
    organisation: number,
    may_watch: true,
    since_ms: 0,
    sites: names.map((one) => site(one, "good", "good")),
  });

  it("tells the worse of both ways, and who fares badly", () => {
    expect(worseWay(site("a", "good", "poor"))).toBe("poor");
    expect(worseWay(site("a", "failed", "good"))).toBe("failed");
    expect(worseWay(site("a", "fair", "connecting"))).toBe("fair");
    const sites = [site("a", "good", "poor"), site("b", "failed", "good"), site("c", "fair", "good")];
    expect(troubled(sites)).toBe(2);
  });

  it("is filtered by room, organisation and site", () => {
    const meetings = [meeting("4000", "肿瘤会诊", "OR 1"), meeting("4100", null, "Ward")];
    const found = (text: string) =>
      matching(meetings, text, (id) => (id === "4100" ? "North" : "South")).map(({ number }) => number);
    expect(found("")).toEqual(["4000", "4100"]);
    expect([found("肿瘤"), found("or 1"), found("north"), found(" 41 ")]).toEqual([
      ["4000"],
      ["4000"],
      ["4100"],
      ["4100"],
    ]);
    expect(found("nobody")).toEqual([]);
  });
});
