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
  /** It comes as it is: nothing suppressed, no gain control. */
  original: boolean;
}

export type Devices = Record<Kind, Device>;

type Changes = Partial<Record<Kind, Partial<Device>>>;
type Answer = Pick<Device, "track" | "fault"> & { original?: boolean; real?: string };

/** So long it is said that another device serves now. */
const TELL_MS = 10_000;
/** A track that ends sooner after its capture is not captured again at once: it might go on for ever. */
const SETTLED_MS = 2_000;

export function untouched(chosen: string | undefined): Device {
  return { chosen, track: null, pending: false, fault: null, tell: null, original: false };
}

export class Capture {
  private isOpen = false;
  private isAsking = false;
  /** Some device was plugged in or out since the browser was asked last. */
  private changed = false;
  private readonly wanted = new Set<Kind>();
  private readonly takenAt = { audio: 0, video: 0 };
  /** The microphone in use, where the browser calls it by what stands for the system's. */
  private real: string | undefined;

  constructor(
    private devices: Devices,
    private readonly publish: (devices: Devices) => void,
    /** Ids of microphones whose sound is to come as it is. */
    private readonly originals = new Set<string>(),
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

  /**
   * Microphones whose sound comes as it is, the latest last; no more than anybody has. Not what may stand
   * for another one the next time.
   */
  get originalIds(): string[] {
    return [...this.originals].filter((id) => !isStandIn(id)).slice(-20);
  }

  /** Has the sound of the microphone in use come as it is, or no more so; it is remembered of that one. */
  useOriginal(original: boolean): void {
    const { chosen, track } = this.devices.audio;
    const id = track?.getSettings().deviceId ?? chosen;
    if (!id) return;
    const real = (track && this.real) ?? id;
    if (original) this.originals.add(real);
    else this.originals.delete(real);
    this.choose("audio", id);
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
    void this.followSystem();
  };

  /** What stands for the system's microphone may be another one now, which is to come otherwise. */
  private async followSystem(): Promise<void> {
    const { track, original } = this.devices.audio;
    const id = track?.getSettings().deviceId;
    if (!id || !isStandIn(id)) return;
    const real = await realOf(id);
    if (this.devices.audio.track === track && this.originals.has(real) !== original) this.want("audio");
  }

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
      this.take(kinds, await capture(kinds, this.devices, this.originals));
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
      const { track = null, fault = null, original = false, real } = answers[kind] ?? {};
      if (kind === "audio") this.real = real;
      const { tell } = this.devices[kind];
      const pending = this.wanted.has(kind);
      return { track, fault, pending, original, tell: track && tell === "missing" ? "replaced" : tell };
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
async function capture(
  kinds: Kind[],
  devices: Devices,
  originals: ReadonlySet<string>,
): Promise<Partial<Record<Kind, Answer>>> {
  const media = navigator.mediaDevices;
  const answers: Partial<Record<Kind, Answer>> = {};
  if (!media?.getUserMedia) {
    for (const kind of kinds) answers[kind] = { track: null, fault: "insecure" };
    return answers;
  }
  if (kinds.length > 1) {
    const stream = await media.getUserMedia(constraints(kinds, devices)).catch(() => null);
    if (stream) {
      for (const kind of kinds) {
        answers[kind] = await asWanted(kind, answer(stream, kind), devices, originals);
      }
      return answers;
    }
  }
  for (const kind of kinds) {
    answers[kind] = await media.getUserMedia(constraints([kind], devices)).then(
      (stream) => asWanted(kind, answer(stream, kind), devices, originals),
      (error: unknown) => ({ track: null, fault: faultOf(error) }),
    );
  }
  return answers;
}

const SIZE = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
const AS_IT_IS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

/**
 * The device that was chosen, and a microphone as it is where that is wanted of it. Which one was given
 * is known only now: another may stand in for one that is not there, and Chromium does not always heed
 * a wish.
 */
async function asWanted(
  kind: Kind,
  given: Answer,
  devices: Devices,
  originals: ReadonlySet<string>,
): Promise<Answer> {
  const got = given.track?.getSettings().deviceId;
  const { chosen } = devices[kind];
  const isOther = chosen !== undefined && chosen !== got;
  if (!got) return given;
  const real = kind === "audio" ? await realOf(got) : got;
  if (!(isOther || originals.has(real))) return { ...given, real };
  // Phones open one camera at a time.
  given.track?.stop();
  const wanted = isOther ? await exactly(kind, chosen, originals) : null;
  return wanted?.track ? wanted : exactly(kind, got, originals);
}

async function exactly(kind: Kind, id: string, originals: ReadonlySet<string>): Promise<Answer> {
  const real = kind === "audio" ? await realOf(id) : id;
  const original = kind === "audio" && originals.has(real);
  const deviceId = { exact: id };
  const wanted =
    kind === "audio"
      ? { audio: { ...(original ? AS_IT_IS : {}), deviceId } }
      : { video: { ...SIZE, deviceId } };
  try {
    const stream = await navigator.mediaDevices.getUserMedia(wanted);
    return { ...answer(stream, kind), original, real };
  } catch (error) {
    return { track: null, fault: faultOf(error) };
  }
}

/** Ids of Chromium's that stand for whatever the system uses at the time. */
const isStandIn = (id: string) => id === "default" || id === "communications";

/** The microphone for which an id stands; the id itself where nothing tells. */
async function realOf(id: string): Promise<string> {
  if (!isStandIn(id)) return id;
  const all = await navigator.mediaDevices.enumerateDevices().catch(() => []);
  const inputs = all.filter(({ kind }) => kind === "audioinput");
  const own = inputs.find(({ deviceId }) => deviceId === id);
  if (!own) return id;
  const others = inputs.filter(({ deviceId }) => !isStandIn(deviceId));
  const near = others.filter(({ groupId }) => groupId !== "" && groupId === own.groupId);
  // "Default - NAME": a group may have several microphones.
  const named = (list: MediaDeviceInfo[]) => list.find(({ label }) => label && own.label.endsWith(` - ${label}`));
  const real = named(near) ?? (near.length === 1 ? near[0] : undefined) ?? named(others);
  return real?.deviceId ?? id;
}

function answer(stream: MediaStream, kind: Kind): Answer {
  const track = stream.getTracks().find((track) => track.kind === kind) ?? null;
  return { track, fault: track ? null : "notFound" };
}

/** Chosen devices are ideals: if one is not there, any other is better than none. */
function constraints(kinds: Kind[], { audio, video }: Devices): MediaStreamConstraints {
  const id = (device: Device) => (device.chosen ? { deviceId: { ideal: device.chosen } } : {});
  const wanted: MediaStreamConstraints = {};
  if (kinds.includes("audio")) wanted.audio = audio.chosen ? id(audio) : true;
  if (kinds.includes("video")) wanted.video = { ...SIZE, ...id(video) };
  return wanted;
}

function faultOf(error: unknown): Fault {
  // Not every browser makes a DOMException of an OverconstrainedError.
  const { name } = error as Error;
  if (name === "NotAllowedError" || name === "SecurityError") return "denied";
  if (name === "NotFoundError" || name === "OverconstrainedError") return "notFound";
  return "busy";
}
