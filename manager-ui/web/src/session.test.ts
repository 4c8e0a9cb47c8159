import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Tracks } from "./peer";
import type { BrowserMessage, LegId, ServerMessage, Site } from "./protocol";
import { ownSite, resumeKey, Session, type Snapshot } from "./session";

const sockets: FakeSocket[] = [];
const peers: FakePeer[] = [];
let offersRefused = false;

class FakeSocket {
  static readonly OPEN = 1;
  readyState = 0;
  sent: BrowserMessage[] = [];
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  constructor() {
    sockets.push(this);
  }
  send(text: string) {
    this.sent.push(JSON.parse(text) as BrowserMessage);
  }
  close() {
    this.readyState = 3;
  }
  async opens() {
    this.readyState = FakeSocket.OPEN;
    this.onopen?.();
    await settle();
  }
  async says(message: ServerMessage) {
    this.onmessage?.({ data: JSON.stringify(message) });
    await settle();
  }
  breaks() {
    this.readyState = 3;
    this.onclose?.();
  }
}

class FakeTrack {
  enabled = true;
}

class FakePeer {
  connectionState = "new";
  localDescription: { sdp: string } | null = null;
  answer: string | null = null;
  /** What each line sends. */
  sends: unknown[] = [];
  refusesTracks = false;
  private listener: () => void = () => {};
  constructor() {
    peers.push(this);
  }
  addTransceiver(what: unknown) {
    const line = this.sends.push(what) - 1;
    const replaceTrack = async (track: unknown) => {
      if (this.refusesTracks) throw new Error("refused");
      this.sends[line] = track;
    };
    return { receiver: { track: {} }, sender: { replaceTrack }, mid: null };
  }
  addEventListener(_: string, listener: () => void) {
    this.listener = listener;
  }
  async createOffer() {
    if (offersRefused) throw new Error("refused");
    return { type: "offer", sdp: `offer ${peers.indexOf(this)}` };
  }
  /** What is in force when gathering begins. */
  gathersWith: unknown;
  private configuration: { iceServers?: unknown } = {};
  getConfiguration() {
    return this.configuration;
  }
  setConfiguration(configuration: object) {
    this.configuration = configuration;
  }
  async setLocalDescription(description: { sdp: string }) {
    this.localDescription = description;
    this.gathersWith = this.configuration.iceServers;
  }
  async setRemoteDescription({ sdp }: { sdp: string }) {
    this.answer = sdp;
  }
  becomes(state: string) {
    this.connectionState = state;
    this.listener();
  }
  close() {
    this.connectionState = "closed";
  }
}

const settle = () => vi.advanceTimersByTimeAsync(0);
const memory = new Map<string, string>();
let latest: Snapshot;

const track = () => new FakeTrack() as unknown as MediaStreamTrack;
const microphone = () => ({ audio: track(), video: null });

function visit(tracks: Tracks = { audio: track(), video: track() }, pin?: string, guest?: string): Session {
  const store = {
    getItem: (key: string) => memory.get(key) ?? null,
    setItem: (key: string, value: string) => void memory.set(key, value),
    removeItem: (key: string) => void memory.delete(key),
  };
  const muted = { audio: false, video: false };
  const known = { room: "3000", name: "Li", tracks, muted, pin, guest };
  const session = new Session("wss://x/ws", known, store, (s) => {
    latest = s;
  });
  session.start();
  return session;
}

const answer = (peer: number) => `answer ${peer}\r\na=ice-ufrag:ours-${peer}\r\n`;

/** In the room, media connected. */
async function inRoom(tracks?: Tracks): Promise<Session> {
  const session = visit(tracks);
  await sockets[0]!.opens();
  await sockets[0]!.says({ type: "joined", leg: 7, sdp: answer(0), resume: "token" });
  peers[0]!.becomes("connected");
  return session;
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("RTCPeerConnection", FakePeer);
  vi.stubGlobal("RTCRtpSender", { getCapabilities: () => null });
  vi.stubGlobal("RTCRtpReceiver", { getCapabilities: () => null });
  const timers = { setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout };
  vi.stubGlobal("window", Object.assign(new EventTarget(), timers));
  sockets.length = 0;
  peers.length = 0;
  offersRefused = false;
  memory.clear();
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe("a visit", () => {
  it("gathers by the relays that come before the answer", async () => {
    visit();
    await sockets[0]!.opens();
    expect(peers[0]!.localDescription).toBeNull();
    const relay = { urls: ["turns:t.example:443"], username: "1700003600:00", credential: "c" };
    await sockets[0]!.says({ type: "relays", ...relay });
    await sockets[0]!.says({ type: "joined", leg: 7, sdp: answer(0), resume: "token" });
    expect(peers[0]!.gathersWith).toEqual([relay]);
    expect(peers[0]!.localDescription?.sdp).toBe("offer 0");
  });

  it("says which ports are blocked when no connection is made in time, until one is", async () => {
    const session = visit();
    await sockets[0]!.opens();
    const door = (n: number, transport: string, port: number) =>
      `a=candidate:${n} 1 ${transport} 1 192.0.2.${n} ${port} typ host\r\n`;
    const doors = door(1, "udp", 20000) + door(2, "udp", 20000) + door(3, "tcp", 443);
    await sockets[0]!.says({ type: "joined", leg: 7, sdp: answer(0) + doors, resume: "token" });
    await vi.advanceTimersByTimeAsync(9_999);
    expect(latest.blocked).toBeNull();
    await vi.advanceTimersByTimeAsync(1);
    const tried = [
      { protocol: "UDP", port: "20000", addresses: ["192.0.2.1", "192.0.2.2"] },
      { protocol: "TCP", port: "443", addresses: ["192.0.2.3"] },
    ];
    expect(latest).toMatchObject({ phase: "in", blocked: tried });
    await sockets[0]!.says({ type: "answer", sdp: answer(1) });
    expect(latest.blocked).toEqual(tried);
    peers[1]!.becomes("connected");
    expect(latest.blocked).toBeNull();
    session.leave();
  });

  it("joins with an offer and plays what the answer brings", async () => {
    await inRoom();
    expect(sockets[0]!.sent[0]).toMatchObject({ type: "join", room: "3000", sdp: "offer 0" });
    expect(sockets[0]!.sent[0]).not.toHaveProperty("resume");
    expect(peers[0]!.answer).toBe(answer(0));
    expect(latest).toMatchObject({ phase: "in", leg: 7 });
    expect(latest.peer?.pc).toBe(peers[0]);
    expect(memory.get(resumeKey("3000"))).toBe("token");
  });

  it("comes back after 250 ms with its token, and its media goes on as it was", async () => {
    await inRoom();
    sockets[0]!.breaks();
    expect(latest.phase).toBe("reconnecting");
    await vi.advanceTimersByTimeAsync(249);
    expect(sockets).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    await sockets[1]!.opens();
    expect(sockets[1]!.sent[0]).toMatchObject({ answer_ufrag: "ours-0", resume: "token" });
    expect(sockets[1]!.sent[0]).not.toHaveProperty("sdp");
    await sockets[1]!.says({ type: "joined", leg: 7, sdp: null, resume: "token" });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(latest).toMatchObject({ phase: "in", leg: 7 });
    expect(latest.peer?.pc).toBe(peers[0]);
    expect(peers).toHaveLength(1);
    expect(sockets[1]!.sent.map(({ type }) => type)).toEqual(["join"]);
  });

  /** Lost its WebSocket; the next is open, and the join is sent. */
  const comesBack = async () => {
    sockets.at(-1)!.breaks();
    const before = sockets.length;
    while (sockets.length === before) await vi.advanceTimersByTimeAsync(50);
    await sockets.at(-1)!.opens();
    return sockets.at(-1)!;
  };
  const open = () => peers.filter(({ connectionState }) => connectionState !== "closed");

  it("comes back with an offer when its media does not go on", async () => {
    await inRoom();
    peers[0]!.becomes("disconnected");
    const socket = await comesBack();
    expect(socket.sent[0]).toMatchObject({ type: "join", sdp: "offer 1", resume: "token" });
    expect(socket.sent[0]).not.toHaveProperty("answer_ufrag");
    await socket.says({ type: "joined", leg: 7, sdp: answer(1), resume: "token" });
    peers[1]!.becomes("connected");
    expect(latest.peer?.pc).toBe(peers[1]);
    expect(open()).toEqual([peers[1]]);
    const again = await comesBack();
    expect(again.sent[0], "which goes on the next time").toMatchObject({ answer_ufrag: "ours-1" });
  });

  it("joins with an offer when told that its media cannot go on", async () => {
    await inRoom();
    const socket = await comesBack();
    await socket.says({ type: "renew" });
    expect(socket.sent).toHaveLength(2);
    expect(socket.sent[1]).toMatchObject({ type: "join", sdp: "offer 1", resume: "token" });
    await socket.says({ type: "joined", leg: 8, sdp: answer(1), resume: "token 2" });
    expect(latest.peer?.pc, "until the new one connects").toBe(peers[0]);
    peers[1]!.becomes("connected");
    expect(latest).toMatchObject({ phase: "in", leg: 8 });
    expect(open()).toEqual([peers[1]]);
    expect(memory.get(resumeKey("3000"))).toBe("token 2");
  });

  it("comes back with an offer while another connection is on its way", async () => {
    await inRoom();
    await sockets[0]!.says({ type: "renew" });
    const socket = await comesBack();
    expect(socket.sent[0]).toMatchObject({ type: "join", sdp: "offer 2" });
    await socket.says({ type: "joined", leg: 7, sdp: answer(2), resume: "token" });
    const after = await comesBack();
    expect(after.sent[0], "answered, not connected").toMatchObject({ type: "join", sdp: "offer 3" });
    await after.says({ type: "joined", leg: 7, sdp: answer(3), resume: "token" });
    peers[3]!.becomes("connected");
    expect(open()).toEqual([peers[3]]);
  });

  it("makes a new connection when its own fails while it comes back", async () => {
    await inRoom();
    const socket = await comesBack();
    peers[0]!.becomes("failed");
    await socket.says({ type: "joined", leg: 7, sdp: null, resume: "token" });
    expect(socket.sent.at(-1)).toEqual({ type: "offer", sdp: "offer 1" });
    await socket.says({ type: "answer", sdp: answer(1) });
    peers[1]!.becomes("connected");
    const again = await comesBack();
    peers[1]!.becomes("disconnected");
    await again.says({ type: "joined", leg: 7, sdp: null, resume: "token" });
    expect(again.sent).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(again.sent.at(-1)).toEqual({ type: "offer", sdp: "offer 2" });
  });

  it("keeps its media while the server has nothing to say to it", async () => {
    await inRoom();
    const socket = await comesBack();
    await socket.says({ type: "refused", code: "no_media" });
    expect(latest).toMatchObject({ phase: "reconnecting", refusal: "no_media" });
    const silent = await comesBack();
    expect(silent.sent[0]).toMatchObject({ answer_ufrag: "ours-0" });
    await vi.advanceTimersByTimeAsync(8_000);
    expect(silent.readyState, "taken for gone").toBe(3);
    const last = await comesBack();
    await last.says({ type: "joined", leg: 7, sdp: null, resume: "token" });
    expect(latest).toMatchObject({ phase: "in", refusal: null });
    expect(peers).toHaveLength(1);
  });

  it("waits longer from attempt to attempt, to 4 s", async () => {
    visit();
    const waits: number[] = [];
    for (let attempt = 0; attempt < 7; attempt++) {
      sockets.at(-1)!.breaks();
      const before = sockets.length;
      let waited = 0;
      for (; sockets.length === before; waited += 50) await vi.advanceTimersByTimeAsync(50);
      waits.push(waited);
    }
    expect(waits).toEqual([250, 500, 1000, 2000, 4000, 4000, 4000]);
  });

  it("makes a new connection when told, and at once when its own failed", async () => {
    await inRoom();
    await sockets[0]!.says({ type: "renew" });
    expect(sockets[0]!.sent.at(-1)).toEqual({ type: "offer", sdp: "offer 1" });
    await sockets[0]!.says({ type: "answer", sdp: "answer 1" });
    peers[1]!.becomes("connected");
    expect(latest.peer?.pc).toBe(peers[1]);
    peers[1]!.becomes("failed");
    await settle();
    expect(sockets[0]!.sent.at(-1)).toEqual({ type: "offer", sdp: "offer 2" });
  });

  it("gives a disconnected connection 2 s", async () => {
    await inRoom();
    peers[0]!.becomes("disconnected");
    await vi.advanceTimersByTimeAsync(1_900);
    peers[0]!.becomes("connected");
    await vi.advanceTimersByTimeAsync(5_000);
    expect(peers).toHaveLength(1);
    peers[0]!.becomes("disconnected");
    await vi.advanceTimersByTimeAsync(2_000);
    expect(sockets[0]!.sent.at(-1)).toEqual({ type: "offer", sdp: "offer 1" });
  });

  it("never takes an old answer for a new offer's", async () => {
    await inRoom();
    await sockets[0]!.says({ type: "renew" });
    await sockets[0]!.says({ type: "renew" });
    await sockets[0]!.says({ type: "answer", sdp: "answer 1" });
    expect(peers[2]!.answer).toBeNull();
    await sockets[0]!.says({ type: "answer", sdp: "answer 2" });
    expect(peers[2]!.answer).toBe("answer 2");
    expect(peers[1]!.connectionState).toBe("closed");
  });

  it("takes a server that does not answer for gone", async () => {
    await inRoom();
    await sockets[0]!.says({ type: "renew" });
    await vi.advanceTimersByTimeAsync(8_000);
    expect(latest.phase).toBe("reconnecting");
    await vi.advanceTimersByTimeAsync(250);
    expect(sockets).toHaveLength(2);
  });

  // After a change of network the page waited 8 s for a WebSocket that led nowhere any more.
  it("takes it for gone sooner where its media is lost, too", async () => {
    await inRoom();
    peers[0]!.becomes("disconnected");
    await vi.advanceTimersByTimeAsync(2_000);
    expect(sockets[0]!.sent.at(-1)).toMatchObject({ type: "offer" });
    await vi.advanceTimersByTimeAsync(3_499);
    expect(latest.phase).toBe("in");
    await vi.advanceTimersByTimeAsync(1 + 250);
    await sockets[1]!.opens();
    expect(sockets[1]!.sent[0]).toMatchObject({ type: "join", sdp: "offer 2", resume: "token" });
  });

  it("waits for a media process, and ends at any other refusal", async () => {
    visit();
    await sockets[0]!.opens();
    await sockets[0]!.says({ type: "refused", code: "no_media" });
    expect(latest).toMatchObject({ phase: "joining", refusal: "no_media" });
    await vi.advanceTimersByTimeAsync(250);
    await sockets[1]!.opens();
    await sockets[1]!.says({ type: "refused", code: "no_such_room" });
    expect(latest).toMatchObject({ phase: "ended", refusal: "no_such_room" });
    sockets[1]!.breaks();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(sockets).toHaveLength(2);
  });

  it("brings the PIN that was typed, and ends where it is asked for", async () => {
    visit(undefined, "4711");
    await sockets[0]!.opens();
    expect(sockets[0]!.sent[0]).toMatchObject({ type: "join", pin: "4711" });
    await sockets[0]!.says({ type: "refused", code: "pin_wrong" });
    expect(latest).toMatchObject({ phase: "ended", refusal: "pin_wrong" });
  });

  it("brings its token after a reload, and forgets it when it leaves", async () => {
    await inRoom();
    expect(memory.get(resumeKey("3000"))).toBe("token");
    sockets.length = 0;
    peers.length = 0;
    const again = await inRoom();
    expect(sockets[0]!.sent[0]).toMatchObject({ resume: "token" });
    again.leave();
    expect(sockets[0]!.sent.at(-1)).toEqual({ type: "leave" });
    expect(memory.has(resumeKey("3000"))).toBe(false);
    expect(latest).toMatchObject({ phase: "ended", refusal: null });
  });

  it("leaves also before it is in", async () => {
    const session = visit();
    await sockets[0]!.opens();
    session.leave();
    expect(sockets[0]!.sent.map(({ type }) => type)).toEqual(["join", "leave"]);
  });

  it("is known again as a link's guest who left or was refused, and not who was put out", async () => {
    const comes = async (guest?: string) => {
      sockets.length = 0;
      const session = visit(undefined, undefined, guest);
      await sockets[0]!.opens();
      const { resume } = sockets[0]!.sent[0] as { resume?: string };
      return { session, resume };
    };
    const joined: ServerMessage = { type: "joined", leg: 7, sdp: "answer\r\n", resume: "token" };
    const { session } = await comes("secret");
    await sockets[0]!.says(joined);
    session.leave();
    // A reload stays outside.
    expect(memory.has(resumeKey("3000"))).toBe(false);
    expect((await comes()).resume).toBeUndefined();
    expect((await comes("secret")).resume).toBe("token");
    await sockets[0]!.says({ type: "refused", code: "room_full" });
    expect((await comes("secret")).resume).toBe("token");
    await sockets[0]!.says(joined);
    await sockets[0]!.says({ type: "refused", code: "removed" });
    expect((await comes("secret")).resume).toBeUndefined();
  });

  it("says its mute switches at once and again when it comes back", async () => {
    const session = await inRoom();
    session.mute({ audio: true });
    expect(sockets[0]!.sent.at(-1)).toEqual({ type: "mute", audio: true, video: false });
    sockets[0]!.breaks();
    await vi.advanceTimersByTimeAsync(250);
    await sockets[1]!.opens();
    expect(sockets[1]!.sent[0]).toMatchObject({ audio_muted: true, video_muted: false });
  });

  const mutes = () => sockets.flatMap((socket) => socket.sent).filter(({ type }) => type === "mute");

  // `mute` before `join` was refused, which ended the visit and forgot its token.
  it("says nothing of its switches before the join, which carries them", async () => {
    const session = visit();
    session.mute({ audio: true });
    const opening = sockets[0]!.opens();
    session.mute({ video: true });
    await opening;
    expect(sockets[0]!.sent).toHaveLength(1);
    expect(sockets[0]!.sent[0]).toMatchObject({ type: "join", audio_muted: true, video_muted: true });
    await sockets[0]!.says({ type: "joined", leg: 7, sdp: "answer 0", resume: "token" });
    expect(mutes(), "nothing has changed since").toEqual([]);
  });

  it("says after the join what changed during it", async () => {
    const session = visit();
    await sockets[0]!.opens();
    session.mute({ audio: true });
    expect(mutes()).toEqual([]);
    await sockets[0]!.says({ type: "joined", leg: 7, sdp: "answer 0", resume: "token" });
    expect(mutes()).toEqual([{ type: "mute", audio: true, video: false }]);
  });

  const site = (original_sound: boolean, change: Partial<Site> = {}): Site => ({
    leg: 7,
    name: "Dr Li",
    kind: "browser",
    audio_muted: false,
    video_muted: false,
    audio_silenced: false,
    video_silenced: false,
    original_sound,
    sound_lag_ms: null,
    ...change,
  });
  const roster = (...sites: Site[]): ServerMessage => ({ type: "roster", sites, slots: [], speaker: null });
  const told = () => sockets.flatMap((socket) => socket.sent).filter(({ type }) => type === "sound");

  it("keeps the roster by what changes in it", async () => {
    await inRoom();
    const change = (sites: Site[], gone: LegId[]): ServerMessage => {
      return { type: "roster_change", sites, gone, slots: [], speaker: 8, max_height: null };
    };
    const of = (leg: LegId, name: string) => site(false, { leg, name });
    expect(sockets[0]!.sent[0]).toMatchObject({ roster_changes: true });
    await sockets[0]!.says(roster(of(7, "own"), of(8, "a"), of(9, "b")));
    await sockets[0]!.says(change([of(8, "c"), of(10, "d")], [9]));
    expect(latest.sites.map(({ leg, name }) => `${leg}${name}`)).toEqual(["7own", "8c", "10d"]);
    expect(latest.speaker).toBe(8);
    await sockets[0]!.says(change([], [7, 8, 10]));
    expect(latest.sites).toEqual([]);
  });

  it("tells that its sound goes as it is once a connection made for it sends, and at once when none does", async () => {
    const session = await inRoom();
    await sockets[0]!.says(roster(site(false)));
    session.useOriginal(true);
    await settle();
    expect(sockets[0]!.sent.at(-1)).toEqual({ type: "offer", sdp: "offer 1" });
    await sockets[0]!.says({ type: "answer", sdp: answer(1) });
    expect(told()).toEqual([]);
    peers[1]!.becomes("connected");
    expect(told()).toEqual([{ type: "sound", original: true }]);
    await sockets[0]!.says(roster(site(true)));
    session.useOriginal(false);
    expect(told().at(-1)).toEqual({ type: "sound", original: false });
    await settle();
    expect(sockets[0]!.sent.at(-1)).toEqual({ type: "offer", sdp: "offer 2" });
  });

  // The connection that went on sent processed sound, while others read that it was the original.
  it("makes another connection when it comes back to other sound", async () => {
    const session = await inRoom();
    await sockets[0]!.says(roster(site(false)));
    sockets[0]!.breaks();
    session.useOriginal(true);
    await vi.advanceTimersByTimeAsync(250);
    await sockets[1]!.opens();
    expect(sockets[1]!.sent[0]).toMatchObject({ type: "join", sdp: "offer 1" });
    await sockets[1]!.says({ type: "joined", leg: 7, sdp: answer(1), resume: "token" });
    await sockets[1]!.says(roster(site(false)));
    expect(told()).toEqual([]);
    peers[1]!.becomes("connected");
    expect(told()).toEqual([{ type: "sound", original: true }]);
  });

  it("makes another connection when other sound was wanted while it came back", async () => {
    const session = await inRoom();
    const socket = await comesBack();
    expect(socket.sent[0]).toMatchObject({ answer_ufrag: "ours-0" });
    session.useOriginal(true);
    await socket.says({ type: "joined", leg: 7, sdp: null, resume: "token" });
    await socket.says(roster(site(false)));
    expect(socket.sent.map(({ type }) => type)).toEqual(["join", "offer"]);
    await socket.says({ type: "answer", sdp: answer(1) });
    peers[1]!.becomes("connected");
    expect(told()).toEqual([{ type: "sound", original: true }]);
    await socket.says(roster(site(true)));
    expect(peers).toHaveLength(2);
  });

  // One's own tile had the name that was typed, and said nothing of an operator's mute.
  it("shows oneself as the server has it, with one's own switches as they are", async () => {
    const session = await inRoom();
    expect(ownSite(latest, "typed")).toMatchObject({ leg: 7, name: "typed", audio_silenced: false });
    await sockets[0]!.says(roster(site(false, { audio_muted: true, audio_silenced: true })));
    expect(ownSite(latest, "typed")).toMatchObject({ name: "Dr Li", audio_muted: true, audio_silenced: true });
    session.mute({ video: true });
    await sockets[0]!.says(roster(site(true)));
    expect(ownSite(latest, "typed")).toMatchObject({
      audio_muted: false,
      audio_silenced: false,
      video_muted: true,
      original_sound: true,
    });
  });

  it("says nothing of its switches on a new socket before it is in again", async () => {
    const session = await inRoom();
    window.dispatchEvent(new Event("online"));
    expect(latest.phase).toBe("reconnecting");
    await sockets[1]!.opens();
    session.mute({ audio: true });
    session.show([{ mid: "2", height: 360 }]);
    expect(sockets[1]!.sent.map(({ type }) => type)).toEqual(["join"]);
    await sockets[1]!.says({ type: "joined", leg: 7, sdp: null, resume: "token" });
    expect(sockets[1]!.sent.map(({ type }) => type)).toEqual(["join", "mute", "sizes"]);
  });

  it("is muted to others without a device, whatever the switch says", async () => {
    const session = await inRoom(microphone());
    expect(sockets[0]!.sent[0]).toMatchObject({ audio_muted: false, video_muted: true });
    session.mute({ video: true });
    session.mute({ video: false });
    expect(mutes(), "nothing to tell").toEqual([]);
    session.use({ audio: null, video: null });
    expect(mutes()).toEqual([{ type: "mute", audio: true, video: true }]);
    expect(latest.muted).toEqual({ audio: false, video: false });
  });

  it("hands new tracks to every connection, with the switches as they are", async () => {
    const session = await inRoom(microphone());
    session.mute({ audio: true });
    await sockets[0]!.says({ type: "renew" });
    const [audio, video] = [track(), track()];
    session.use({ audio, video });
    await settle();
    for (const peer of peers) expect(peer.sends.slice(0, 2)).toEqual([audio, video]);
    expect([audio.enabled, video.enabled]).toEqual([false, true]);
    expect(mutes().at(-1)).toEqual({ type: "mute", audio: true, video: false });
    await sockets[0]!.says({ type: "renew" });
    expect(peers[2]!.sends.slice(0, 2), "and to those that come").toEqual([audio, video]);
    const said = mutes().length;
    session.use({ audio, video });
    expect(mutes(), "the same again is no change").toHaveLength(said);
  });

  it("makes a new connection when its own does not take a track", async () => {
    vi.spyOn(console, "warn").mockImplementation(() => {});
    const session = await inRoom(microphone());
    peers[0]!.refusesTracks = true;
    const audio = track();
    session.use({ audio, video: null });
    await settle();
    expect(sockets[0]!.sent.at(-1)).toEqual({ type: "offer", sdp: "offer 1" });
    expect(peers[1]!.sends[0]).toBe(audio);
  });

  it("says so when the browser makes no offer", async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    offersRefused = true;
    visit();
    await sockets[0]!.opens();
    expect(latest).toMatchObject({ phase: "ended", refusal: "bad_offer" });
    expect(peers[0]!.connectionState).toBe("closed");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(sockets).toHaveLength(1);
  });

  it("says so when the browser cannot be asked for one", async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    vi.stubGlobal("RTCPeerConnection", undefined);
    visit();
    await sockets[0]!.opens();
    expect(latest).toMatchObject({ phase: "ended", refusal: "bad_offer" });
  });

  it("goes on with what plays when the browser makes no other connection", async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    const session = await inRoom();
    offersRefused = true;
    session.useOriginal(true);
    await settle();
    expect(latest).toMatchObject({ phase: "in", original: false });
    expect(latest.peer?.pc).toBe(peers[0]);
    expect(peers[1]!.connectionState).toBe("closed");
    offersRefused = false;
    peers[0]!.becomes("failed");
    await settle();
    expect(sockets[0]!.sent.at(-1)).toEqual({ type: "offer", sdp: "offer 2" });
  });

  it("takes no tracks after its end", async () => {
    const session = await inRoom(microphone());
    session.leave();
    session.use({ audio: null, video: null });
    expect(latest.tracks.audio).not.toBeNull();
    expect(mutes()).toEqual([]);
  });

  it("reports sizes only when they change, and after a return", async () => {
    const session = await inRoom();
    session.show([{ mid: "2", height: 360 }]);
    session.show([{ mid: "2", height: 360 }]);
    const sizes = () => sockets.flatMap((s) => s.sent).filter((m) => m.type === "sizes");
    expect(sizes()).toHaveLength(1);
    sockets[0]!.breaks();
    await vi.advanceTimersByTimeAsync(250);
    await sockets[1]!.opens();
    await sockets[1]!.says({ type: "joined", leg: 7, sdp: null, resume: "t" });
    expect(sizes()).toHaveLength(2);
  });
});
