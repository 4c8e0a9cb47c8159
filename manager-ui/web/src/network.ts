// Whether picture and sound get through, measured: a short connection to the media server like that of
// a call, to which the server sends back what it gets. What is not known is null, never a guess.

import { hasPictures, Peer, type Door } from "./peer";
import type { BrowserMessage, ServerMessage } from "./protocol";

export interface Measured {
  /** How packets go; null: no way was found. */
  path: "udp" | "tcp" | "relay" | null;
  roundTripMs: number | null;
  /** Shares of packets lost, 0 to 1. */
  lossUp: number | null;
  lossDown: number | null;
  /** Picture in bit/s while it was measured; null without pictures. */
  upBps: number | null;
  downBps: number | null;
  /** The browser has the format of pictures. */
  pictures: boolean;
  /** Ports that were tried. */
  doors: Door[];
}

export type Outcome = Measured | "no-server" | "busy";

export type Verdict = "good" | "freezes" | "soundOnly" | "closed";
export type Reason =
  | "fine"
  | "noServer"
  | "blocked"
  | "noPicture"
  | "slow"
  | "narrow"
  | "lossy"
  | "lossySome"
  | "far"
  | "tcp"
  | "relay";

const CONNECT_MS = 8_000;
/** The rate of pictures grows for some seconds before it is what the line carries. */
const GROW_MS = 2_500;
const MEASURE_MS = 2_000;

/** What one picture of a call takes at most. */
const MOST_BPS = 1_500_000;
/** Below this a picture stands more than it moves; below the second it is small. */
const LEAST_BPS = 150_000;
const ENOUGH_BPS = 600_000;

/** What a figure means for who wants to call: the worst of all decides, and is the reason. */
export function judge(outcome: Exclude<Outcome, "busy">): { verdict: Verdict; reason: Reason } {
  if (outcome === "no-server") return { verdict: "closed", reason: "noServer" };
  if (outcome.path === null) return { verdict: "closed", reason: "blocked" };
  const loss = Math.max(outcome.lossUp ?? 0, outcome.lossDown ?? 0);
  const rates = [outcome.upBps, outcome.downBps].filter((rate) => rate !== null);
  const rate = rates.length > 0 ? Math.min(...rates) : null;
  if (!outcome.pictures) return { verdict: "soundOnly", reason: "noPicture" };
  if (loss > 0.15) return { verdict: "soundOnly", reason: "lossy" };
  if (rate !== null && rate < LEAST_BPS) return { verdict: "soundOnly", reason: "slow" };
  if (loss > 0.02) return { verdict: "freezes", reason: "lossySome" };
  if (rate !== null && rate < ENOUGH_BPS) return { verdict: "freezes", reason: "narrow" };
  if ((outcome.roundTripMs ?? 0) > 400) return { verdict: "freezes", reason: "far" };
  if (outcome.path === "tcp") return { verdict: "freezes", reason: "tcp" };
  return { verdict: "good", reason: outcome.path === "relay" ? "relay" : "fine" };
}

/** Checks the way to this server; ends early, with an error, when `signal` does. */
export async function check(url: string, sound: MediaStreamTrack | null, signal: AbortSignal): Promise<Outcome> {
  const pictures = hasPictures();
  const canvas = pictures ? noise() : null;
  // Sound of nobody: the microphone's place in the connection, silent.
  const quiet = sound?.clone() ?? null;
  if (quiet) quiet.enabled = false;
  const shape = { slots: 1, layers: [{ maxBitrate: MOST_BPS }] };
  const peer = new Peer({ audio: quiet, video: canvas?.track ?? null }, () => {}, shape);
  let socket: WebSocket | null = null;
  try {
    socket = await opened(url, signal);
    if (!socket) return "no-server";
    const answered = await exchange(socket, peer, signal);
    if (answered !== null) return answered;
    const way = await connected(peer, signal);
    if (!way) return { ...NOTHING, pictures, doors: peer.doors };
    await pass(GROW_MS, signal);
    const before = await peer.pc.getStats();
    await pass(MEASURE_MS, signal);
    return { ...figures(before, await peer.pc.getStats()), pictures, doors: peer.doors };
  } finally {
    socket?.close();
    peer.close();
    quiet?.stop();
    canvas?.stop();
  }
}

const NOTHING: Omit<Measured, "pictures" | "doors"> = {
  path: null,
  roundTripMs: null,
  lossUp: null,
  lossDown: null,
  upBps: null,
  downBps: null,
};

/** A picture that is nothing but change, so that as much is sent as the line carries. */
function noise() {
  const canvas = document.createElement("canvas");
  canvas.width = 640;
  canvas.height = 360;
  const context = canvas.getContext("2d");
  const image = context?.createImageData(canvas.width, canvas.height);
  const draw = () => {
    if (!context || !image) return;
    const values = new Uint32Array(image.data.buffer);
    let state = Math.floor(Math.random() * 0xffffffff) | 1;
    for (let i = 0; i < values.length; i++) {
      // Blocks of the same grey: what every pixel has of its own no encoder can send.
      if (i % 8 === 0) state = Math.imul(state, 1664525) + 1013904223;
      const grey = (state >>> 24) & 0xff;
      values[i] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
    context.putImageData(image, 0, 0);
  };
  draw();
  const timer = setInterval(draw, 1000 / 15);
  const track = canvas.captureStream(15).getVideoTracks()[0] ?? null;
  const stop = () => {
    clearInterval(timer);
    track?.stop();
  };
  return { track, stop };
}

/** Ends a promise with an error when `signal` ends. */
function unless<T>(signal: AbortSignal, begin: (resolve: (value: T) => void) => () => void): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(new DOMException("ended", "AbortError"));
    let end = () => {};
    let isOver = false;
    const ended = () => {
      end();
      reject(new DOMException("ended", "AbortError"));
    };
    const finish = (value: T) => {
      isOver = true;
      signal.removeEventListener("abort", ended);
      end();
      resolve(value);
    };
    end = begin(finish);
    // What was so already when it began.
    if (isOver) end();
    else signal.addEventListener("abort", ended, { once: true });
  });
}

function pass(ms: number, signal: AbortSignal): Promise<void> {
  return unless(signal, (resolve) => {
    const timer = setTimeout(resolve, ms);
    return () => clearTimeout(timer);
  });
}

/** The WebSocket once it is open, or null. */
function opened(url: string, signal: AbortSignal): Promise<WebSocket | null> {
  return unless(signal, (resolve) => {
    const socket = new WebSocket(url);
    const timer = setTimeout(() => resolve(null), CONNECT_MS);
    socket.onopen = () => resolve(socket);
    socket.onclose = () => resolve(null);
    return () => {
      clearTimeout(timer);
      socket.onopen = socket.onclose = null;
    };
  });
}

/** Offer and answer; what came instead of an answer. */
async function exchange(socket: WebSocket, peer: Peer, signal: AbortSignal): Promise<"no-server" | "busy" | null> {
  const sdp = await peer.offer();
  const relays: RTCIceServer[] = [];
  const answer = await unless<string | "no-server" | "busy">(signal, (resolve) => {
    const timer = setTimeout(() => resolve("no-server"), CONNECT_MS);
    socket.onclose = () => resolve("no-server");
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(String(data)) as ServerMessage;
      if (message.type === "relays") relays.push(message);
      if (message.type === "answer") resolve(message.sdp);
      if (message.type === "refused") resolve(message.code === "room_full" ? "busy" : "no-server");
    };
    const ask: BrowserMessage = { type: "probe", sdp };
    socket.send(JSON.stringify(ask));
    return () => {
      clearTimeout(timer);
      socket.onclose = socket.onmessage = null;
    };
  });
  if (answer === "no-server" || answer === "busy") return answer;
  await peer.accept(answer, relays);
  return null;
}

function connected(peer: Peer, signal: AbortSignal): Promise<boolean> {
  return unless(signal, (resolve) => {
    const timer = setTimeout(() => resolve(false), CONNECT_MS);
    const look = () => {
      if (peer.connected) resolve(true);
      else if (peer.pc.connectionState === "failed") resolve(false);
    };
    peer.pc.addEventListener("connectionstatechange", look);
    look();
    return () => {
      clearTimeout(timer);
      peer.pc.removeEventListener("connectionstatechange", look);
    };
  });
}

// Of many browsers: what each leaves out is not there.
type Stat = RTCStats & Partial<Record<string, number | string | boolean>>;

function figures(before: RTCStatsReport, after: RTCStatsReport): Omit<Measured, "pictures" | "doors"> {
  const then = statsOf(before);
  const now = statsOf(after);
  const grown = (stat: Stat, name: string) => number(stat[name]) - number(then.get(stat.id)?.[name]);
  const of = (type: string) => [...now.values()].filter((stat) => stat.type === type);
  const reports = of("remote-inbound-rtp");
  const received = of("inbound-rtp");
  const sum = (stats: Stat[], name: string) => stats.reduce((total, stat) => total + grown(stat, name), 0);
  const share = (lost: number, all: number) => (all > 0 ? Math.min(1, Math.max(0, lost) / all) : null);
  const lost = sum(received, "packetsLost");
  const pictures = (stats: Stat[]) => stats.filter(({ kind }) => kind === "video");
  const rate = (stats: Stat[], name: string) => {
    const [first] = stats;
    const ms = first ? first.timestamp - number(then.get(first.id)?.timestamp) : 0;
    return first && ms > 0 ? (sum(stats, name) * 8_000) / ms : null;
  };
  const pair = pairInUse(now);
  const trips = [pair?.currentRoundTripTime, ...reports.map((stat) => stat.roundTripTime)];
  const trip = trips.find((value) => typeof value === "number");
  return {
    path: pathOf(pair, now),
    roundTripMs: typeof trip === "number" ? trip * 1000 : null,
    // Of all that was sent: reports tell of it some seconds late, so that the whole check counts.
    lossUp: share(
      reports.reduce((total, stat) => total + number(stat.packetsLost), 0),
      of("outbound-rtp").reduce((total, stat) => total + number(stat.packetsSent), 0),
    ),
    lossDown: share(lost, sum(received, "packetsReceived") + Math.max(0, lost)),
    upBps: rate(pictures(of("outbound-rtp")), "bytesSent"),
    downBps: rate(pictures(received), "bytesReceived"),
  };
}

function statsOf(report: RTCStatsReport): Map<string, Stat> {
  const stats = new Map<string, Stat>();
  report.forEach((stat: Stat) => stats.set(stat.id, stat));
  return stats;
}

const number = (value: unknown) => (typeof value === "number" ? value : 0);

function pairInUse(stats: Map<string, Stat>): Stat | undefined {
  const all = [...stats.values()];
  const transport = all.find(({ type }) => type === "transport");
  const chosen = transport && stats.get(String(transport.selectedCandidatePairId));
  // Firefox says it of the pair itself.
  return chosen ?? all.find((stat) => stat.type === "candidate-pair" && (stat.selected === true || stat.nominated === true));
}

function pathOf(pair: Stat | undefined, stats: Map<string, Stat>): Measured["path"] {
  const local = pair && stats.get(String(pair.localCandidateId));
  if (!local) return null;
  if (local.candidateType === "relay") return "relay";
  return local.protocol === "tcp" ? "tcp" : "udp";
}
