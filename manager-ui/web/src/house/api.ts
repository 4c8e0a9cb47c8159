// What the server's interface is asked, typed by the description that the server itself gives.

import createClient from "openapi-fetch";
import type { components, paths } from "../schema";
import { isAttended } from "./attended";
import type { Page } from "./logic";

type Schemas = components["schemas"];
export type Me = Schemas["Me"];
export type Right = Schemas["Right"];
export type Organisation = Schemas["Organisation"];
export type Person = Schemas["PersonView"];
export type Grant = Schemas["Grant"];
export type Role = Schemas["Role"];
export type OwnSession = Schemas["Session"];
export type Token = Schemas["Token"];
export type Room = Schemas["Room"];
export type Share = Schemas["Share"];
export type GuestLink = Schemas["GuestLink"];
export type Account = Schemas["Account"];
export type Trunk = Schemas["Trunk"];
export type TrunkState = Schemas["TrunkState"];
export type Webhook = Schemas["Webhook"];
export type EventType = Webhook["types"][number];
export type Delivery = Schemas["WebhookDelivery"];
export type Entry = Schemas["EntryView"];
export type Running = Schemas["Meeting"];
export type RunningSite = Schemas["MeetingSite"];
export type System = Schemas["System"];

/** The server refused, or could not be asked. */
export class Failure extends Error {
  /**
   * @param status HTTP status, 0 where nothing answered.
   * @param code the problem's word for programs.
   * @param once it was asked once, and is not asked again by itself.
   */
  constructor(
    readonly status: number,
    readonly code?: string,
    readonly once = false,
  ) {
    super(code ?? String(status));
  }

  /** It may go better by itself: the server, its database or what is before it is away, or busy. */
  get passes(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

export const api = createClient<paths>({ baseUrl: globalThis.location?.origin });

// What goes on by itself keeps no login alive.
api.use({
  onRequest({ request }) {
    if (!isAttended()) request.headers.set("Consilium-Unattended", "1");
    return request;
  },
});

/** Sound or pictures one way. */
interface Flow {
  bitrate_bps: number;
  loss_percent: number;
  jitter_ms: number;
  /** Score of sound by ITU-T G.107; null where the codec has none. */
  mos: number | null;
  /** For how long no picture came while pictures flowed, since it is in. */
  frozen_ms: number;
}

/** A site in a room, as `docs/ref/api.md` has it. */
export interface Leg {
  leg: number;
  name: string;
  kind: string;
  state: string;
  /** It has not entered the PIN. */
  waiting: boolean;
  audio_silenced: boolean;
  /** Name of a terminal's own layout; none where it sees that of the room. */
  layout: string | null;
  /** A terminal does not see itself. */
  without_self: boolean;
  /** Cell in which an operator has it shown, the first being 0. */
  cell: number | null;
  received: Flow;
  sent: Flow;
  round_trip_ms: number | null;
}

/** What goes on in a room. */
export interface Live {
  legs: Leg[];
}

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** What was answered. Throws a `Failure` and nothing else. */
export async function ask<T>(request: Promise<Answer<T>>): Promise<T> {
  const answer = await request.catch(() => {
    throw new Failure(0, "unreachable");
  });
  if (!answer.response.ok) throw new Failure(answer.response.status, codeOf(answer.error));
  return answer.data as T;
}

function codeOf(problem: unknown): string | undefined {
  const code = problem && typeof problem === "object" && "code" in problem ? problem.code : undefined;
  return typeof code === "string" ? code : undefined;
}

/** Every page of a list, one after the other. */
export async function all<T>(page: (after?: string) => Promise<Page<T>>): Promise<T[]> {
  const items: T[] = [];
  let after: string | undefined;
  do {
    const one = await page(after);
    items.push(...one.items);
    after = one.next ?? undefined;
  } while (after);
  return items;
}

/** The most rows that the server gives at a time. */
export const PAGE = 200;

/** All organisations that may be seen. */
export const organisations = () =>
  all((after) =>
    ask(api.GET("/api/v1/organisations", { params: { query: { after, limit: PAGE } } })),
  );

/** State of the server's processes, as `/health` tells it. */
export interface Health {
  status: string;
  version: string;
  control: string;
  media: string;
}

/** `/health`, which answers 503 with the same body where something is away. */
export async function health(): Promise<Health> {
  try {
    return (await (await fetch("/health")).json()) as Health;
  } catch {
    throw new Failure(0, "unreachable");
  }
}
