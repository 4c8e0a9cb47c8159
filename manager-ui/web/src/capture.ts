// Camera and microphone of a visit: asking for them, and what becomes of them when one is chosen
// anew, vanishes or comes back. No user interface here: it publishes its devices after every change.

export type Kind = "audio" | "video";
export const KINDS: readonly Kind[] = ["audio", "video"];

export type Fault = "denied" | "notFound" | "busy" | "insecure";

export interface Device {
  /** Id of the device that was chosen; another one stands in while it is not there. */
  chosen: string | undefined;
  track: MediaStreamTrack | null;
  /** The browser is being asked for it. */
  pending: boolean;
  /** Why there is no track. */
  fault: Fault | null;
  /** What is to be said in the room: it is missed (gone, or asked for in vain), or another serves. */
  tell: "missing" | "replaced" | null;
}

export type Devices = Record<Kind, Device>;

type Changes = Partial<Record<Kind, Partial<Device>>>;
type Answer = Pick<Device, "track" | "fault">;

/** So long it is said that another device serves now. */
const TELL_MS = 10_000;
/** A track that ends sooner after its capture is not captured again at once: it might go on for ever. */
const SETTLED_MS = 2_000;

export function untouched(chosen: string | undefined): Device {
  return { chosen, track: null, pending: false, fault: null, tell: null };
}

export class Capture {
  private isOpen = false;
  private isAsking = false;
  /** Some device was plugged in or out since the browser was asked last. */
  private changed = false;
  private readonly wanted = new Set<Kind>();
  private readonly takenAt = { audio: 0, video: 0 };

  constructor(
    private devices: Devices,
    private readonly publish: (devices: Devices) => void,
  ) {}

  open(): void {
    this.isOpen = true;
    navigator.mediaDevices?.addEventListener("devicechange", this.devicesChanged);
    this.want(...KINDS);
  }

  /** Ends all tracks, also those that are yet to come. */
  close(): void {
    this.isOpen = false;
    navigator.mediaDevices?.removeEventListener("devicechange", this.devicesChanged);
    this.wanted.clear();
    for (const kind of KINDS) this.devices[kind].track?.stop();
    const { audio, video } = this.devices;
    this.update({ audio: untouched(audio.chosen), video: untouched(video.chosen) });
  }

  choose(kind: Kind, chosen: string): void {
    this.update({ [kind]: { chosen } });
    this.want(kind);
  }

  /** Tries again what failed. */
  again(): void {
    this.want(...KINDS.filter((kind) => this.devices[kind].fault));
  }

  /** Tries again in the room, where it is said what comes of it. */
  recover(kind: Kind): void {
    const { track, pending } = this.devices[kind];
    if (track || pending) return;
    this.update({ [kind]: { tell: "missing" } });
    this.want(kind);
  }

  private vanished(kind: Kind, track: MediaStreamTrack): void {
    if (this.devices[kind].track !== track) return;
    const hardlyBegun = Date.now() - this.takenAt[kind] < SETTLED_MS;
    const fault = hardlyBegun ? "busy" : null;
    this.update({ [kind]: { track: null, tell: "missing", fault } });
    if (!hardlyBegun) this.want(kind);
  }

  private readonly devicesChanged = () => {
    this.changed = true;
    void this.ask();
  };

  private want(...kinds: readonly Kind[]): void {
    for (const kind of kinds) this.wanted.add(kind);
    this.update(each(kinds, () => ({ pending: true })));
    void this.ask();
  }

  /** Asks one time after the other: what is wanted meanwhile is asked for when the answer is there. */
  private async ask(): Promise<void> {
    if (this.isAsking) return;
    this.isAsking = true;
    for (let kinds = this.due(); kinds.length > 0; kinds = this.due()) {
      this.release(kinds);
      this.take(kinds, await capture(kinds, this.devices));
    }
    this.isAsking = false;
  }

  private due(): Kind[] {
    const due = KINDS.filter(
      (kind) => this.wanted.has(kind) || (this.changed && mayComeBack(this.devices[kind])),
    );
    this.wanted.clear();
    this.changed = false;
    return this.isOpen ? due : [];
  }

  /** Phones open one camera at a time: the old one goes before the new one comes. */
  private release(kinds: Kind[]): void {
    for (const kind of kinds) this.devices[kind].track?.stop();
    this.update(each(kinds, () => ({ track: null, pending: true })));
  }

  private take(kinds: Kind[], answers: Partial<Record<Kind, Answer>>): void {
    if (!this.isOpen) {
      for (const kind of kinds) answers[kind]?.track?.stop();
      return;
    }
    const taken = (kind: Kind): Partial<Device> => {
      const { track = null, fault = null } = answers[kind] ?? {};
      const { tell } = this.devices[kind];
      const pending = this.wanted.has(kind);
      return { track, fault, pending, tell: track && tell === "missing" ? "replaced" : tell };
    };
    this.update(each(kinds, taken));
    for (const kind of kinds) this.watch(kind);
  }

  private watch(kind: Kind): void {
    const { track, tell } = this.devices[kind];
    this.takenAt[kind] = Date.now();
    track?.addEventListener("ended", () => this.vanished(kind, track));
    if (tell !== "replaced") return;
    setTimeout(() => {
      if (this.devices[kind].tell === "replaced") this.update({ [kind]: { tell: null } });
    }, TELL_MS);
  }

  private update(changes: Changes): void {
    const { audio, video } = this.devices;
    this.devices = { audio: { ...audio, ...changes.audio }, video: { ...video, ...changes.video } };
    this.publish(this.devices);
  }
}

/** One that was never there is not taken by itself: plugging in headphones opens no microphone. */
function mayComeBack({ track, tell, fault }: Device): boolean {
  return !track && tell === "missing" && fault !== "denied" && fault !== "insecure";
}

function each(kinds: readonly Kind[], change: (kind: Kind) => Partial<Device>): Changes {
  return Object.fromEntries(kinds.map((kind) => [kind, change(kind)]));
}

/** Asks for all at once, so that the browser asks once; if that fails, for each alone. */
async function capture(kinds: Kind[], devices: Devices): Promise<Partial<Record<Kind, Answer>>> {
  const media = navigator.mediaDevices;
  const answers: Partial<Record<Kind, Answer>> = {};
  if (!media?.getUserMedia) {
    for (const kind of kinds) answers[kind] = { track: null, fault: "insecure" };
    return answers;
  }
  if (kinds.length > 1) {
    const stream = await media.getUserMedia(constraints(kinds, devices)).catch(() => null);
    if (stream) return { audio: answer(stream, "audio"), video: answer(stream, "video") };
  }
  for (const kind of kinds) {
    answers[kind] = await media.getUserMedia(constraints([kind], devices)).then(
      (stream) => answer(stream, kind),
      (error: unknown) => ({ track: null, fault: faultOf(error) }),
    );
  }
  return answers;
}

function answer(stream: MediaStream, kind: Kind): Answer {
  const track = stream.getTracks().find((track) => track.kind === kind) ?? null;
  return { track, fault: track ? null : "notFound" };
}

/** Chosen devices are ideals: if one is not there, any other is better than none. */
function constraints(kinds: Kind[], { audio, video }: Devices): MediaStreamConstraints {
  const id = (device: Device) => (device.chosen ? { deviceId: { ideal: device.chosen } } : {});
  const size = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
  const wanted: MediaStreamConstraints = {};
  if (kinds.includes("audio")) wanted.audio = audio.chosen ? id(audio) : true;
  if (kinds.includes("video")) wanted.video = { ...size, ...id(video) };
  return wanted;
}

function faultOf(error: unknown): Fault {
  // Not every browser makes a DOMException of an OverconstrainedError.
  const { name } = error as Error;
  if (name === "NotAllowedError" || name === "SecurityError") return "denied";
  if (name === "NotFoundError" || name === "OverconstrainedError") return "notFound";
  return "busy";
}
