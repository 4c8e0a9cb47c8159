// One visit to a room: the WebSocket, the peer connections, and how both come back. No user
// interface here: it publishes a Snapshot after every change.

import { Peer, type Door, type Tracks } from "./peer";
import type { BrowserMessage, ChatLine, LegId, Refusal, ServerMessage, Site, Slot, SlotSize } from "./protocol";

export interface Snapshot {
  phase: "joining" | "in" | "reconnecting" | "ended";
  /** Why it ended, or what is waited for; null after leaving. */
  refusal: Refusal | null;
  leg: LegId | null;
  sites: Site[];
  slots: Slot[];
  speaker: LegId | null;
  /** What is sent; null for a device that is missing. */
  tracks: Tracks;
  /** The switches, also of a device that is missing. */
  muted: Muted;
  /** The connection that plays. */
  peer: Peer | null;
  /** Ports that the last connection tried and did not get through; null when one does. */
  blocked: Door[] | null;
  /** Our sound goes as it is. */
  original: boolean;
  /** What was written since we came, oldest first. */
  chat: ChatLine[];
  /** How often something was not taken. */
  chatRefused: number;
}

export interface Muted {
  audio: boolean;
  video: boolean;
}

export interface Visit {
  room: string;
  name: string;
  tracks: Tracks;
  muted: Muted;
  original?: boolean;
  /** PIN of the room, as it was typed. */
  pin?: string;
  /** What stands in the link by which a guest comes. */
  guest?: string;
}

/** Where the token to come back with is kept: sessionStorage, or a map in tests. */
export interface Memory {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 4_000;
/** A peer connection that lost contact may find it again by itself for so long. */
const DISCONNECTED_MS = 2_000;
/** An offer is answered within this, or the WebSocket is taken for dead. */
const ANSWER_MS = 8_000;
/** Where sound and picture are lost, the WebSocket may be, too, as after a change of network: sooner then. */
const LOST_ANSWER_MS = 3_500;
/** A new peer connection that takes longer to connect is given up. */
const CONNECT_MS = 10_000;

/** Lines that are kept; the server keeps no more. */
const MAX_LINES = 200;

/** What others are told: without a device one is as silent, or unseen, as with it switched off. */
export function mutedForOthers({ muted, tracks }: Pick<Snapshot, "muted" | "tracks">): Muted {
  return { audio: muted.audio || !tracks.audio, video: muted.video || !tracks.video };
}

/**
 * Oneself as others see it: named as the server has it, which a login or a link may say, and as one's own
 * switches are now. Before the first roster it is what was typed.
 */
export function ownSite(state: Snapshot, typed: string): Site {
  const told = state.sites.find((site) => site.leg === state.leg);
  const { audio, video } = mutedForOthers(state);
  const { audio_silenced = false, video_silenced = false } = told ?? {};
  return {
    leg: state.leg ?? -1,
    name: told?.name ?? typed,
    kind: "browser",
    audio_muted: audio || audio_silenced,
    video_muted: video || video_silenced,
    audio_silenced,
    video_silenced,
    original_sound: told?.original_sound ?? false,
    sound_lag_ms: null,
  };
}

export const resumeKey = (room: string) => `consilium.resume.${room}`;
/** Of a guest who is out and is known by it when coming again by the same link. */
export const returnKey = (room: string) => `consilium.return.${room}`;

export class Session {
  private state: Snapshot;
  private socket: WebSocket | null = null;
  private retryMs = FIRST_RETRY_MS;
  /** Made and offered, but not yet playing. */
  private next: Peer | null = null;
  /** Offers sent on this socket that wait for their answer, oldest first. */
  private offered: Peer[] = [];
  /** For the next answer. */
  private relays: RTCIceServer[] = [];
  private sizes: SlotSize[] = [];
  /** Tallest picture of ours that the room wants. */
  private maxHeight: number | null = null;
  /** What the server knows of our switches. */
  private told: Muted | null = null;
  /** What the server knows of our sound; null before it has said so. */
  private original: boolean | null = null;
  private retryTimer = 0;
  private answerTimer = 0;
  private connectTimer = 0;
  private disconnectedTimer = 0;

  constructor(
    private readonly url: string,
    private readonly visit: Visit,
    private readonly memory: Memory,
    private readonly publish: (state: Snapshot) => void,
  ) {
    this.state = {
      phase: "joining",
      refusal: null,
      leg: null,
      sites: [],
      slots: [],
      speaker: null,
      tracks: { ...visit.tracks },
      muted: { ...visit.muted },
      peer: null,
      blocked: null,
      original: visit.original ?? false,
      chat: [],
      chatRefused: 0,
    };
    this.applyMute();
  }

  get snapshot(): Snapshot {
    return this.state;
  }

  start(): void {
    window.addEventListener("online", this.retryNow);
    this.open();
  }

  /** Leaves for good. */
  leave(): void {
    if (this.state.phase === "ended") return;
    this.say({ type: "leave" });
    this.end(null);
  }

  mute(change: Partial<Muted>): void {
    const muted = { ...this.state.muted, ...change };
    this.change({ muted });
    this.applyMute();
    this.tellMute();
  }

  /** Sends these from now on: a device was chosen, got lost or came back. */
  use(tracks: Tracks): void {
    const { audio, video } = this.state.tracks;
    if (this.state.phase === "ended" || (audio === tracks.audio && video === tracks.video)) return;
    this.change({ tracks: { ...tracks } });
    this.applyMute();
    for (const peer of [this.state.peer, this.next]) if (peer) void this.replace(peer);
    this.tellMute();
  }

  /**
   * Has our sound go as it is from now on, or no more so: by another connection, made for it. Out of the
   * room it is made with the return.
   */
  useOriginal(original: boolean): void {
    if (this.state.phase === "ended" || original === this.state.original) return;
    this.change({ original });
    this.tellOriginal();
    this.reshape();
  }

  /** Writes to everybody in the room. `false`: there is no connection. */
  write(text: string): boolean {
    if (this.state.phase !== "in" || this.socket?.readyState !== WebSocket.OPEN) return false;
    this.say({ type: "chat", text });
    return true;
  }

  /** Heights at which the slots are shown now. */
  show(sizes: SlotSize[]): void {
    if (JSON.stringify(sizes) === JSON.stringify(this.sizes)) return;
    this.sizes = sizes;
    if (this.state.phase === "in") this.say({ type: "sizes", slots: sizes });
  }

  private open(): void {
    this.closeSocket();
    this.original = null;
    // Until the answer to the join that follows, the server takes no other message.
    if (this.state.phase === "in") this.change({ phase: "reconnecting" });
    const socket = new WebSocket(this.url);
    this.socket = socket;
    const ifCurrent = (act: () => void) => () => {
      if (this.socket === socket) act();
    };
    socket.onopen = ifCurrent(() => this.enter());
    socket.onclose = ifCurrent(() => this.lost());
    socket.onmessage = (event) => {
      if (this.socket === socket) void this.hear(JSON.parse(event.data) as ServerMessage);
    };
    this.waitForAnswer();
  }

  private closeSocket(): void {
    const socket = this.socket;
    this.socket = null;
    this.offered = [];
    clearTimeout(this.answerTimer);
    clearTimeout(this.retryTimer);
    socket?.close();
  }

  private lost(): void {
    this.closeSocket();
    if (this.state.phase === "ended") return;
    this.change({ phase: this.state.phase === "joining" ? "joining" : "reconnecting" });
    // Pages that lost the same server do not come back in the same instant.
    const wait = this.retryMs * (0.75 + Math.random() / 2);
    this.retryMs = Math.min(this.retryMs * 2, LAST_RETRY_MS);
    this.retryTimer = window.setTimeout(() => this.open(), wait);
  }

  private readonly retryNow = () => {
    if (this.state.phase === "ended") return;
    this.retryMs = FIRST_RETRY_MS;
    this.open();
  };

  /** Joins or comes back. A peer connection that still stands goes on: its media is not touched. */
  private enter(): void {
    const peer = this.state.peer;
    // Where another was on its way, this one was to be replaced.
    const goesOn = peer?.connected && peer.original === this.state.original && !this.next;
    if (!goesOn || !peer.answerUfrag) {
      void this.offer("join");
      return;
    }
    this.say(this.join({ answer_ufrag: peer.answerUfrag }));
    this.waitForAnswer();
  }

  /** Makes a new peer connection beside the one that plays, and offers it. */
  private async offer(as: "join" | "offer", patienceMs = ANSWER_MS): Promise<void> {
    const socket = this.socket;
    this.dropNext();
    let peer: Peer | undefined;
    let sdp: string;
    try {
      const { tracks, original } = this.state;
      peer = new Peer(tracks, (changed) => this.peerChanged(changed), { original });
      this.next = peer;
      void peer.limit(this.maxHeight);
      sdp = await peer.offer();
    } catch (error) {
      console.error("no offer made", error);
      // What became of one that was given up meanwhile is nobody's matter.
      if (this.socket === socket && (!peer || this.next === peer)) this.withoutOffer();
      return;
    }
    if (this.socket !== socket || this.next !== peer) return;
    this.offered.push(peer);
    this.say(as === "join" ? this.join({ sdp }) : { type: "offer", sdp });
    this.waitForAnswer(patienceMs);
  }

  /** This browser makes no connection: what plays goes on as it is, and without that it is said. */
  private withoutOffer(): void {
    this.dropNext();
    const { phase, peer } = this.state;
    if (phase !== "in" || !peer?.connected) return this.end("bad_offer");
    this.change({ original: peer.original });
    this.tellOriginal();
  }

  private join(media: { sdp: string } | { answer_ufrag: string }): BrowserMessage {
    const { audio, video } = mutedForOthers(this.state);
    this.told = { audio, video };
    const { room, name, pin, guest } = this.visit;
    const known = guest ? this.memory.getItem(returnKey(room)) : null;
    const resume = this.memory.getItem(resumeKey(room)) ?? known ?? undefined;
    const muted = { audio_muted: audio, video_muted: video };
    return { type: "join", room, name, ...media, resume, ...muted, pin, guest, roster_changes: true };
  }

  private async hear(message: ServerMessage): Promise<void> {
    switch (message.type) {
      case "joined":
        this.retryMs = FIRST_RETRY_MS;
        this.memory.setItem(resumeKey(this.visit.room), message.resume);
        this.memory.removeItem(returnKey(this.visit.room));
        this.change({ phase: "in", refusal: null, leg: message.leg });
        this.tellMute();
        if (this.sizes.length > 0) this.say({ type: "sizes", slots: this.sizes });
        if (message.sdp === null) this.goesOn();
        else await this.answered(message.sdp);
        this.reshape();
        break;
      case "relays": {
        const { urls, username, credential } = message;
        this.relays = [{ urls, username, credential }];
        break;
      }
      case "answer":
        await this.answered(message.sdp);
        break;
      case "roster":
      case "roster_change": {
        const { slots, speaker } = message;
        const sites = message.type === "roster" ? message.sites : changed(this.state.sites, message);
        this.maxHeight = message.max_height ?? null;
        for (const peer of [this.state.peer, this.next]) void peer?.limit(this.maxHeight);
        this.change({ sites, slots, speaker });
        this.tellSoundLags();
        this.original = this.own(sites)?.original_sound ?? null;
        this.tellOriginal();
        break;
      }
      case "chat":
        this.change({ chat: merged(this.state.chat, message.lines) });
        break;
      case "chat_refused":
        this.change({ chatRefused: this.state.chatRefused + 1 });
        break;
      case "renew":
        // Out of the room it answers a join without offer: its connection cannot go on.
        await this.offer(this.state.phase === "in" ? "offer" : "join");
        break;
      case "refused":
        this.refused(message.code);
        break;
    }
  }

  private refused(code: Refusal): void {
    if (code === "no_media") {
      // The media process is starting: worth another attempt.
      this.change({ refusal: code });
      this.lost();
    } else {
      this.end(code);
    }
  }

  private async answered(sdp: string): Promise<void> {
    clearTimeout(this.answerTimer);
    const peer = this.offered.shift();
    if (!peer || peer !== this.next) return;
    try {
      await peer.accept(sdp, this.relays);
    } catch (error) {
      console.error("answer refused", error);
      this.end("bad_offer");
      return;
    }
    if (!this.state.peer?.connected) this.promote(peer);
    clearTimeout(this.connectTimer);
    this.connectTimer = window.setTimeout(() => {
      if (this.state.phase !== "in" || peer.connected || !this.isUsed(peer)) return;
      this.change({ blocked: peer.doors });
      void this.offer("offer");
    }, CONNECT_MS);
  }

  /** We are in with the connection that we had, which may have failed since we said so. */
  private goesOn(): void {
    clearTimeout(this.answerTimer);
    if (this.state.peer) this.peerChanged(this.state.peer);
  }

  private peerChanged(peer: Peer): void {
    if (!this.isUsed(peer)) return;
    const state = peer.pc.connectionState;
    if (state === "connected") this.change({ blocked: null });
    if (state === "connected" && peer === this.next) this.promote(peer);
    if (peer !== this.state.peer) return;
    clearTimeout(this.disconnectedTimer);
    if (state === "failed") this.renewIfIn(peer);
    if (state === "disconnected") {
      this.disconnectedTimer = window.setTimeout(() => this.renewIfIn(peer), DISCONNECTED_MS);
    }
    this.change({});
  }

  /** Replaces a connection that plays no more. Without a WebSocket the next join does it. */
  private renewIfIn(peer: Peer): void {
    if (this.state.phase === "in" && peer === this.state.peer && !peer.connected && !this.next) {
      void this.offer("offer", LOST_ANSWER_MS);
    }
  }

  private promote(peer: Peer): void {
    const old = this.state.peer;
    this.next = null;
    this.change({ peer });
    this.tellSoundLags();
    this.tellOriginal();
    if (old !== peer) old?.close();
  }

  private tellSoundLags(): void {
    const { peer, sites, slots } = this.state;
    const lag = (leg: LegId) => sites.find((site) => site.leg === leg)?.sound_lag_ms ?? null;
    peer?.setSoundLags(new Map(slots.map((slot) => [slot.mid, lag(slot.leg)])));
  }

  private isUsed(peer: Peer): boolean {
    return peer === this.state.peer || peer === this.next;
  }

  private dropNext(): void {
    const peer = this.next;
    this.next = null;
    peer?.close();
  }

  private waitForAnswer(patienceMs = ANSWER_MS): void {
    clearTimeout(this.answerTimer);
    this.answerTimer = window.setTimeout(() => this.lost(), patienceMs);
  }

  private applyMute(): void {
    const { audio, video } = this.state.tracks;
    if (audio) audio.enabled = !this.state.muted.audio;
    if (video) video.enabled = !this.state.muted.video;
  }

  private tellMute(): void {
    const { audio, video } = mutedForOthers(this.state);
    // Out of the room nothing is said: the join that leads into it carries the switches.
    if (this.state.phase !== "in" || (this.told?.audio === audio && this.told.video === video)) return;
    this.told = { audio, video };
    this.say({ type: "mute", audio, video });
  }

  /** Makes the connection anew where another was switched to than the last one was made for. */
  private reshape(): void {
    const last = this.next ?? this.state.peer;
    if (this.state.phase === "in" && last && last.original !== this.state.original) void this.offer("offer");
  }

  /**
   * Says whether our sound goes as it is: by a connection that was made for it. What the server knows may
   * be from before a reload, or of a leg that is new.
   */
  private tellOriginal(): void {
    const original = this.state.original && (this.state.peer?.original ?? false);
    // Before the first roster nothing is known of it.
    if (this.state.phase !== "in" || this.original === null || this.original === original) return;
    this.original = original;
    this.say({ type: "sound", original });
  }

  private own(sites: Site[]): Site | undefined {
    return sites.find((site) => site.leg === this.state.leg);
  }

  private async replace(peer: Peer): Promise<void> {
    try {
      await peer.replace(this.state.tracks);
    } catch (error) {
      // A new connection can send what this one cannot.
      console.warn("track not replaced", error);
      if (this.state.phase === "in" && this.isUsed(peer)) await this.offer("offer");
    }
  }

  private say(message: BrowserMessage): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  private end(refusal: Refusal | null): void {
    window.removeEventListener("online", this.retryNow);
    clearTimeout(this.connectTimer);
    clearTimeout(this.disconnectedTimer);
    this.layDown(refusal);
    this.closeSocket();
    this.dropNext();
    this.state.peer?.close();
    this.change({ phase: "ended", refusal, peer: null, sites: [], slots: [], speaker: null });
  }

  /** Out of the room the token leads back into it no more, but for the guest of a link. */
  private layDown(refusal: Refusal | null): void {
    const { room, guest } = this.visit;
    const token = this.memory.getItem(resumeKey(room));
    this.memory.removeItem(resumeKey(room));
    // Where it was put out, another page may have taken the token over.
    if (token && guest && refusal !== "removed") this.memory.setItem(returnKey(room), token);
  }

  private change(change: Partial<Snapshot>): void {
    this.state = { ...this.state, ...change };
    this.publish(this.state);
  }
}

/** A roster after a change: those that stay in their places, new ones behind them. */
function changed(known: Site[], { sites, gone }: { sites: Site[]; gone: LegId[] }): Site[] {
  const told = new Map(sites.map((site) => [site.leg, site]));
  const left = new Set(gone);
  const stay = known.filter(({ leg }) => !left.has(leg));
  const before = new Set(stay.map(({ leg }) => leg));
  return [...stay.map((site) => told.get(site.leg) ?? site), ...sites.filter(({ leg }) => !before.has(leg))];
}

/** Lines in their order, each once. */
function merged(known: ChatLine[], told: ChatLine[]): ChatLine[] {
  const ids = new Set(known.map((line) => line.id));
  const all = [...known, ...told.filter((line) => !ids.has(line.id))];
  return all.sort((a, b) => a.id - b.id).slice(-MAX_LINES);
}
