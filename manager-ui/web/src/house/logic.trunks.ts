// What a form says of a trunk, and what the server is told.

/** A number of a trunk and the room that it leads to. */
export interface TrunkNumber {
  number: string;
  room: string;
}

/** A trunk as it is written in a form: what there may be many of as one text. */
export interface TrunkEntry {
  name: string;
  organisation: string;
  address: string;
  transport: string;
  domain: string;
  user: string;
  realm: string;
  register: boolean;
  sources: string;
  prefix: string;
  prepend: string;
  numbers: string;
}

/** A trunk as the server tells it. */
export interface TrunkRow {
  name: string;
  organisation: string;
  address: string;
  transport?: string | null;
  domain?: string | null;
  user?: string | null;
  realm?: string | null;
  register: boolean;
  sources: readonly string[];
  prefix?: string | null;
  prepend: string;
  numbers: readonly TrunkNumber[];
}

/** The form of a trunk that is there. */
export const entryOf = (row: TrunkRow): TrunkEntry => ({
  name: row.name,
  organisation: row.organisation,
  address: row.address,
  transport: row.transport ?? "",
  domain: row.domain ?? "",
  user: row.user ?? "",
  realm: row.realm ?? "",
  register: row.register,
  sources: row.sources.join(" "),
  prefix: row.prefix ?? "",
  prepend: row.prepend,
  numbers: row.numbers.map(({ number, room }) => `${number}=${room}`).join(" "),
});

/** The form of a new one. */
export const emptyTrunk = (organisation: string): TrunkEntry =>
  entryOf({
    name: "",
    organisation,
    address: "",
    register: false,
    sources: [],
    prepend: "",
    numbers: [],
  });

const words = (text: string) => text.split(/[\s,;，；、]+/).filter(Boolean);

const NUMBER = /^([0-9A-Za-z+._-]{1,32})[=＝]([0-9A-Za-z._-]{1,32})$/;

/** Numbers and rooms, as `NUMBER=ROOM` between spaces; null where something else is written. */
export function numbersOf(text: string): TrunkNumber[] | null {
  const found = words(text).map((word) => NUMBER.exec(word));
  if (found.some((match) => !match)) return null;
  return found.map((match) => ({ number: match?.[1] ?? "", room: match?.[2] ?? "" }));
}

export const isTrunkName = (text: string) => /^[0-9A-Za-z._-]{1,32}$/.test(text);
export const isTrunkAddress = (text: string) => /^[0-9A-Za-z._:[\]-]{1,260}$/.test(text);
/** Digits, and what else is on a telephone's keys; or nothing. */
export const isPrefix = (text: string) => /^[0-9*#+]{0,16}$/.test(text);

/** What the server is told of the fields that are set; null takes one away. */
export function trunkBody(entry: Partial<TrunkEntry>) {
  const { name, organisation, address, register } = entry;
  const text = (value: string | undefined) => (value === undefined ? undefined : value || null);
  return {
    name,
    organisation,
    address,
    register,
    transport: text(entry.transport) as "udp" | "tcp" | "tls" | null | undefined,
    domain: text(entry.domain),
    user: text(entry.user),
    realm: text(entry.realm),
    sources: entry.sources === undefined ? undefined : words(entry.sources),
    prefix: text(entry.prefix),
    prepend: text(entry.prepend),
    numbers: entry.numbers === undefined ? undefined : (numbersOf(entry.numbers) ?? []),
  };
}
