// One peer connection to the media server. Lines, in this order: our sound (both ways: the mixed
// sound comes back on it), our picture, and SLOTS pictures of others. Every connection is made alike,
// so a slot has the same mid on the next one.

import { layersWithin } from "./ceiling";
import { keepInStep } from "./lipsync";

export const SLOTS = 8;

/** Sound and picture as captured; null for what is missing. */
export interface Tracks {
  audio: MediaStreamTrack | null;
  video: MediaStreamTrack | null;
}

/** A port of the server for media, which need not be where the page comes from. */
export interface Door {
  /** UDP or TCP. */
  protocol: string;
  port: string;
  addresses: string[];
}

/** What is not as in every call. */
export interface Shape {
  /** Our sound goes as it is. */
  original?: boolean;
  /** How many pictures of others it takes. */
  slots?: number;
  /** As what our picture goes. */
  layers?: RTCRtpEncodingParameters[];
}

/** RFC 8853 simulcast, lowest layer first. */
const LAYERS: RTCRtpEncodingParameters[] = [
  { rid: "l", scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: "m", scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: "h", scaleResolutionDownBy: 1, maxBitrate: 1_500_000 },
];

/** Of a camera that does not say how many lines it has: what is asked of it. */
const CAMERA_LINES = 720;

/** In the answer, for sound that is to come as it is: no coding made for speech, no pauses. */
const ORIGINAL = "stereo=1;maxaveragebitrate=128000;usedtx=0";

/** Whether this browser has one of the formats in which pictures come and go. */
export function hasPictures(): boolean {
  if (typeof RTCRtpReceiver === "undefined" || !RTCRtpReceiver.getCapabilities) return true;
  const codecs = RTCRtpReceiver.getCapabilities("video")?.codecs ?? [];
  return codecs.some((codec) => ["video/h264", "video/vp8"].includes(codec.mimeType.toLowerCase()));
}

/** The answer by which our encoder of sound keeps everything; the server takes Opus in any form. */
export function asOriginal(answer: string): string {
  const type = /^a=rtpmap:(\d+) opus\//im.exec(answer)?.[1];
  if (!type) return answer;
  return answer.replace(new RegExp(`^(a=fmtp:${type} [^\r\n]*)`, "m"), `$1;${ORIGINAL}`);
}

export class Peer {
  readonly pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  /** ICE user fragment of the answer: by it the server knows this connection. */
  answerUfrag: string | null = null;
  /** Where the server takes sound and pictures, as the answer says. */
  doors: Door[] = [];
  private offered: RTCSessionDescriptionInit | undefined;
  private readonly audio: RTCRtpTransceiver;
  private readonly video: RTCRtpTransceiver;
  /** By mid: how much later the sound of what a slot shows leaves the server. */
  private lags = new Map<string, number | null>();
  /** Tallest picture of ours that the room wants. */
  private maxHeight: number | null = null;
  private readonly endLipSync: () => void;

  constructor(
    tracks: Tracks,
    onState: (peer: Peer) => void,
    private readonly shape: Shape = {},
  ) {
    this.audio = this.pc.addTransceiver(tracks.audio ?? "audio", { direction: "sendrecv" });
    this.video = this.pc.addTransceiver(tracks.video ?? "video", {
      direction: "sendonly",
      sendEncodings: (shape.layers ?? LAYERS).map((layer) => ({ ...layer })),
    });
    preferH264(this.video, RTCRtpSender.getCapabilities("video"));
    for (let slot = 0; slot < (shape.slots ?? SLOTS); slot++) {
      const line = this.pc.addTransceiver("video", { direction: "recvonly" });
      preferH264(line, RTCRtpReceiver.getCapabilities("video"));
    }
    this.endLipSync = keepInStep(this.audio.receiver, () =>
      this.slots().map(({ mid, receiver }) => ({ receiver, lagMs: this.lags.get(mid ?? "") ?? null })),
    );
    this.pc.addEventListener("connectionstatechange", () => onState(this));
  }

  /**
   * The offer. It holds no candidates: the server is ICE-lite and learns ours from checks. They are
   * gathered from the answer on, with the relays that come with it.
   */
  async offer(): Promise<string> {
    this.offered = await this.pc.createOffer();
    return this.offered.sdp ?? "";
  }

  /** A relay that this browser does not take is no reason to stay out: UDP or TCP may do. */
  private useRelays(relays: RTCIceServer[]): void {
    if (relays.length === 0) return;
    try {
      this.pc.setConfiguration({ ...this.pc.getConfiguration(), iceServers: relays });
    } catch (error) {
      console.warn("relays not taken", error);
    }
  }

  async accept(sdp: string, relays: RTCIceServer[]): Promise<void> {
    this.useRelays(relays);
    await this.pc.setLocalDescription(this.offered);
    const answer = this.shape.original ? asOriginal(sdp) : sdp;
    await this.pc.setRemoteDescription({ type: "answer", sdp: answer });
    this.answerUfrag = /^a=ice-ufrag:(\S+)/m.exec(sdp)?.[1] ?? null;
    this.doors = doorsOf(sdp);
    await this.fit();
  }

  /** Sends no taller picture than this from now on; null for as tall as the camera's. */
  async limit(maxHeight: number | null): Promise<void> {
    if (maxHeight === this.maxHeight) return;
    this.maxHeight = maxHeight;
    // Before the answer nothing is sent, and none of this is taken.
    if (this.answerUfrag !== null) await this.fit();
  }

  private async fit(): Promise<void> {
    const { sender } = this.video;
    const layers = this.shape.layers ?? LAYERS;
    const parameters = sender.getParameters?.();
    if (!parameters?.encodings || parameters.encodings.length !== layers.length) return;
    const lines = sender.track?.getSettings().height ?? CAMERA_LINES;
    const fitted = layersWithin(layers, lines, this.maxHeight);
    const before = JSON.stringify(parameters.encodings);
    parameters.encodings = parameters.encodings.map((encoding, n) => {
      const { active, scaleResolutionDownBy } = fitted[n] ?? encoding;
      return { ...encoding, active, scaleResolutionDownBy };
    });
    if (JSON.stringify(parameters.encodings) === before) return;
    try {
      await sender.setParameters(parameters);
    } catch (error) {
      console.warn("layers not fitted", error);
    }
  }

  /** Made for sound that goes as it is. */
  get original(): boolean {
    return this.shape.original ?? false;
  }

  get connected(): boolean {
    return this.pc.connectionState === "connected";
  }

  /** The mixed sound of the room. */
  get sound(): MediaStreamTrack {
    return this.audio.receiver.track;
  }

  /** The picture that a slot receives. */
  picture(mid: string): MediaStreamTrack | null {
    return this.slots().find((slot) => slot.mid === mid)?.receiver.track ?? null;
  }

  /** Tells how much later than its picture the sound of each slot's site leaves the server, in ms. */
  setSoundLags(lags: Map<string, number | null>): void {
    this.lags = lags;
  }

  private slots(): RTCRtpTransceiver[] {
    return this.pc.getTransceivers().filter((line) => line !== this.audio && line !== this.video);
  }

  async replace(tracks: Tracks): Promise<void> {
    await Promise.all([
      this.audio.sender.replaceTrack(tracks.audio),
      this.video.sender.replaceTrack(tracks.video),
    ]);
    await this.fit();
  }

  close(): void {
    this.endLipSync();
    this.pc.close();
  }
}

/** The candidates of an answer, each door once. */
export function doorsOf(sdp: string): Door[] {
  const doors = new Map<string, Door>();
  for (const [, name = "", address = "", port = ""] of sdp.matchAll(
    /^a=candidate:\S+ 1 (udp|tcp) \d+ (\S+) (\d+) /gim,
  )) {
    const protocol = name.toUpperCase();
    const key = `${protocol} ${port}`;
    const door = doors.get(key) ?? { protocol, port, addresses: [] };
    if (!door.addresses.includes(address)) door.addresses.push(address);
    doors.set(key, door);
  }
  return [...doors.values()];
}

/** H.264 first, packetisation mode 1 before 0: terminals speak it, so nothing is transcoded. Then VP8. */
export function byPreference(codecs: RTCRtpCodec[]): RTCRtpCodec[] {
  const rank = (codec: RTCRtpCodec) => {
    const type = codec.mimeType.toLowerCase();
    if (type !== "video/h264") return type === "video/vp8" ? 3 : 4;
    const fmtp = codec.sdpFmtpLine ?? "";
    if (!fmtp.includes("packetization-mode=1")) return 2;
    return /profile-level-id=42[eE]0/.test(fmtp) ? 0 : 1;
  };
  return [...codecs].sort((a, b) => rank(a) - rank(b));
}

function preferH264(line: RTCRtpTransceiver, capabilities: RTCRtpCapabilities | null): void {
  if (capabilities && typeof line.setCodecPreferences === "function") {
    line.setCodecPreferences(byPreference(capabilities.codecs));
  }
}
