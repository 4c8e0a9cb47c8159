// What the pages work out without a browser.

import type { Failure, Leg, Organisation, Right, Running, RunningSite } from "./api";
import type { HouseWords } from "./words";

/** Where to go after logging in: a path of this page, and never anywhere else. */
export function safeReturn(from: string | null): string {
  if (!from || !/^\/(?![/\\])/.test(from) || /[\u0000-\u0020\\]/.test(from)) return "/";
  return /^\/(login|setup)\b/.test(from) ? "/" : from;
}

/** What is wrong with a password before the server is asked; empty when nothing is. */
export function weakness(password: string, words: HouseWords): string {
  const count = [...password].length;
  if (count < 12) return words.passwords.short(String(count));
  return new TextEncoder().encode(password).length > 256 ? words.passwords.long : "";
}

/** As the server takes a login. */
export const isLogin = (text: string) => /^[\p{L}\p{N}.@_-]{1,64}$/u.test(text);

/** As the server takes a name. */
export function isName(text: string): boolean {
  const name = text.trim();
  return name !== "" && [...name].length <= 64;
}

/** As the server takes the number of a room. */
export const isNumber = (text: string) =>
  /^[0-9A-Za-z._-]{1,32}$/.test(text) && text !== "." && text !== "..";

/** As the server takes the user of a terminal's account. */
export const isUser = (text: string) => /^[0-9A-Za-z._-]{1,64}$/.test(text);

/** As the server takes a PIN. */
export const isPin = (text: string) => /^[0-9]{4,16}$/.test(text);

export type Quality = "good" | "fair" | "poor" | "connecting" | "failed" | "waiting";

/** How a site's sound and pictures fare, both ways: the worse of the two, by what people notice. */
export function qualityOf({ state, waiting, received, sent, round_trip_ms }: Leg): Quality {
  if (state === "failed") return "failed";
  if (waiting) return "waiting";
  if (state !== "connected") return "connecting";
  const loss = Math.max(received.loss_percent, sent.loss_percent);
  const jitter = Math.max(received.jitter_ms, sent.jitter_ms);
  const delay = round_trip_ms ?? 0;
  if (loss > 5 || jitter > 80 || delay > 600) return "poor";
  return loss > 1 || jitter > 30 || delay > 300 ? "fair" : "good";
}

export type Warning = "delay" | "jitter" | "loss";

/** What telemedicine asks of a line and this one does not have, one way or the other: as the server warns. */
export function warningsOf({ received, sent, round_trip_ms }: Leg): Warning[] {
  const most = (of: (flow: Leg["sent"]) => number) => Math.max(of(received), of(sent));
  const met: Record<Warning, boolean> = {
    delay: (round_trip_ms ?? 0) > 100,
    jitter: most((flow) => flow.jitter_ms) > 20,
    loss: most((flow) => flow.loss_percent) > 5,
  };
  return (Object.keys(met) as Warning[]).filter((warning) => met[warning]);
}

/** From the best to the worst. */
const WAYS = ["good", "connecting", "fair", "poor", "failed"] as const;

/** The worse of what comes from a site and what goes to it. */
export function worseWay({ received, sent }: Pick<RunningSite, "received" | "sent">): RunningSite["sent"]["quality"] {
  const rank = (way: RunningSite["sent"]) => WAYS.indexOf(way.quality);
  return rank(received) > rank(sent) ? received.quality : sent.quality;
}

/** How many sites of a meeting fare badly. */
export const troubled = (sites: readonly RunningSite[]): number =>
  sites.filter((site) => ["poor", "failed"].includes(worseWay(site))).length;

/** Meetings in whose number, name, organisation or sites this text is. */
export function matching(
  meetings: readonly Running[],
  text: string,
  placeName: (id: string) => string,
): Running[] {
  const wanted = text.trim().toLowerCase();
  const words = ({ number, name, organisation, sites }: Running) =>
    [number, name ?? "", placeName(organisation), ...sites.map((site) => site.name)];
  return meetings.filter((one) => words(one).some((word) => word.toLowerCase().includes(wanted)));
}

/** A problem in words. What is not asked again by itself does not say that it were. */
export function problemText({ status, code, once }: Failure, words: HouseWords): string {
  if (once && code && code in words.notDone) return words.notDone[code] as string;
  if (code && code in words.problems) return words.problems[code] as string;
  if (code && code in words.rights) return words.rightMissing(words.rights[code as Right]);
  return words.statuses[status] ?? words.statuses[status >= 500 ? 500 : 400] ?? "";
}

/** How long to wait before the server is asked again, after so many failures: 2 s, at last 30 s. */
export const retryMs = (failures: number): number => Math.min(2000 * 2 ** (failures - 1), 30000);

/** One page of a list, and where the next begins. */
export interface Page<T> {
  items: T[];
  next?: string | null;
}

/** The first so many pages of a list as one, fewer where it is shorter. */
export async function firstPages<T>(
  page: (after?: string) => Promise<Page<T>>,
  count: number,
): Promise<Page<T>> {
  let { items, next } = await page();
  for (let read = 1; read < count && next; read++) {
    const one = await page(next);
    items = [...items, ...one.items];
    next = one.next;
  }
  return { items, next };
}

/**
 * What a form has to send: the fields that somebody set to another value than the row has now. Fields
 * that nobody touched are left out, whatever they were when the form was opened: somebody else may have
 * changed them since.
 */
export function changesOf<T extends object>(row: T, touched: Partial<T>): Partial<T> {
  const all = Object.entries(touched) as [keyof T, T[keyof T]][];
  const isOther = (key: keyof T, value: T[keyof T]) =>
    JSON.stringify(row[key]) !== JSON.stringify(value);
  return Object.fromEntries(all.filter(([key, value]) => isOther(key, value))) as Partial<T>;
}

/** The value that is wanted if it is offered, else the first that is. */
export function firstOffered(options: readonly { value: string }[], wanted: string): string {
  const isOffered = options.some(({ value }) => value === wanted);
  return isOffered ? wanted : (options[0]?.value ?? wanted);
}

/** Rows with this one in its place, or at the end. */
export function withRow<T extends { id: string }>(rows: readonly T[], row: T): T[] {
  const isKnown = rows.some(({ id }) => id === row.id);
  return isKnown ? rows.map((one) => (one.id === row.id ? row : one)) : [...rows, row];
}

/** Sections of the administration, and the right that shows each. */
export const SECTIONS = [
  "meetings",
  "rooms",
  "accounts",
  "trunks",
  "organisations",
  "people",
  "roles",
  "webhooks",
  "audit",
  "system",
] as const;
export type Section = (typeof SECTIONS)[number];

/** The right that shows a section. Who sees rooms sees what goes on in them. */
const rightOf = (section: Section): Right => {
  if (section === "meetings") return "rooms.view";
  return section === "webhooks" ? "webhooks.manage" : `${section}.view`;
};

/** Sections that these rights show. */
export const sectionsOf = (rights: readonly Right[]): Section[] =>
  SECTIONS.filter((section) => rights.includes(rightOf(section)));

/** Whether somebody with these rights has something to administer or to oversee. */
export const administers = (rights: readonly Right[]): boolean =>
  rights.some((right) => right === "people.view" || right === "audit.view" || right === "system.view" || /^(organisations|roles|accounts|trunks|webhooks)\.manage$/.test(right));

/** What the landing page shows. */
export interface Landing {
  attention: boolean;
  enter: boolean;
  lectures: boolean;
}

/** What the landing page shows whom; null for who is not logged in. */
export function landingOf(rights: readonly Right[] | null): Landing {
  if (!rights) return { attention: false, enter: true, lectures: false };
  const attention = administers(rights);
  return {
    attention,
    enter: rights.includes("rooms.join") || rights.length === 0,
    lectures: rights.includes("recordings.view") && !attention,
  };
}

/** Where the administration is: `/admin/people/ID?at=ORGANISATION`. */
export interface Place {
  section: Section | null;
  chosen: string | null;
  at: string | null;
}

export function placeOf(path: string, search: string): Place {
  const [, , section, chosen] = path.split("/");
  return {
    section: SECTIONS.find((one) => one === section) ?? null,
    chosen: chosen ? decode(chosen) : null,
    at: new URLSearchParams(search).get("at"),
  };
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

export function addressOf({ section, chosen, at }: Place): string {
  const path = ["/admin", section, chosen && encodeURIComponent(chosen)].filter(Boolean).join("/");
  return at ? `${path}?at=${encodeURIComponent(at)}` : path;
}

/** One organisation and those below it. */
export interface Node {
  organisation: Organisation;
  children: Node[];
}

/** The tree. What belongs to one that is not shown stands at the top. */
export function treeOf(rows: readonly Organisation[], language: string): Node[] {
  const nodes = new Map(rows.map((row) => [row.id, { organisation: row, children: [] as Node[] }]));
  const roots: Node[] = [];
  for (const node of nodes.values()) {
    const parent = nodes.get(node.organisation.parent ?? "");
    (parent ? parent.children : roots).push(node);
  }
  const { compare } = new Intl.Collator(language, { numeric: true });
  const sort = (list: Node[]) => {
    list.sort((a, b) => compare(a.organisation.name, b.organisation.name));
    for (const node of list) sort(node.children);
  };
  sort(roots);
  return roots;
}

/** A line of the tree as it is shown. */
export interface Line {
  node: Node;
  level: number;
  parent: string | null;
}

/** Lines of the tree from top to bottom; below those that are open only. */
export function linesOf(nodes: readonly Node[], isOpen: (id: string) => boolean): Line[] {
  const lines: Line[] = [];
  const add = (list: readonly Node[], level: number, parent: string | null) => {
    for (const node of list) {
      const { id } = node.organisation;
      lines.push({ node, level, parent });
      if (isOpen(id)) add(node.children, level + 1, id);
    }
  };
  add(nodes, 1, null);
  return lines;
}

/** Where the focus of the tree goes by a key, and what the key opens or closes. */
export function treeKey(
  key: string,
  lines: readonly Line[],
  focused: string,
  isOpen: (id: string) => boolean,
): { focus?: string; toggle?: string } | null {
  const index = lines.findIndex((line) => line.node.organisation.id === focused);
  const line = lines[index];
  if (!line) return null;
  const id = (at: number) => lines[at]?.node.organisation.id;
  const hasChildren = line.node.children.length > 0;
  switch (key) {
    case "ArrowDown":
      return { focus: id(index + 1) };
    case "ArrowUp":
      return { focus: id(index - 1) };
    case "Home":
      return { focus: id(0) };
    case "End":
      return { focus: id(lines.length - 1) };
    case "ArrowRight":
      if (!hasChildren) return {};
      return isOpen(focused) ? { focus: id(index + 1) } : { toggle: focused };
    case "ArrowLeft":
      if (hasChildren && isOpen(focused)) return { toggle: focused };
      return line.parent ? { focus: line.parent } : {};
    default:
      return null;
  }
}

/** A moment as a field for a date and a time takes it, to the minute, in the time of the browser. */
export function dateField(ms: number): string {
  const date = new Date(ms);
  return new Date(ms - date.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
}

/** Fields of an entry of the audit log, before and after. */
export interface Difference {
  field: string;
  before: unknown;
  after: unknown;
  changed: boolean;
}

export function differences(before: unknown, after: unknown): Difference[] {
  const of = (value: unknown) =>
    value !== null && typeof value === "object" ? (value as Record<string, unknown>) : {};
  const [old, fresh] = [of(before), of(after)];
  const fields = [...new Set([...Object.keys(old), ...Object.keys(fresh)])];
  return fields.map((field) => ({
    field,
    before: old[field],
    after: fresh[field],
    changed: JSON.stringify(old[field]) !== JSON.stringify(fresh[field]),
  }));
}

/** What a browser calls itself, in a few words: `Chromium 140, Linux`. */
export function agentName(agent: string): string {
  const browsers: [RegExp, string][] = [
    [/Edg\/(\d+)/, "Edge"],
    [/Firefox\/(\d+)/, "Firefox"],
    [/Chrom(?:e|ium)\/(\d+)/, "Chrome"],
    [/Version\/(\d+).*Safari/, "Safari"],
  ];
  const systems: [RegExp, string][] = [
    [/Android/, "Android"],
    [/iPhone|iPad/, "iOS"],
    [/Windows/, "Windows"],
    [/Mac OS X/, "macOS"],
    [/Linux/, "Linux"],
  ];
  const found = browsers.find(([pattern]) => pattern.test(agent));
  const browser = found && `${found[1]} ${found[0].exec(agent)?.[1]}`;
  const system = systems.find(([pattern]) => pattern.test(agent))?.[1];
  return [browser, system].filter(Boolean).join(", ") || agent.slice(0, 40);
}
