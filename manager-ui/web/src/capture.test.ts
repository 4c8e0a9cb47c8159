import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Capture, untouched, type Device, type Devices, type Kind } from "./capture";

class FakeTrack extends EventTarget {
  readyState = "live";
  constructor(
    readonly kind: Kind,
    readonly label: string,
  ) {
    super();
  }
  getSettings() {
    return { deviceId: this.label };
  }
  stop() {
    this.readyState = "ended";
    log.push(`stop ${this.label}`);
  }
  vanishes() {
    this.readyState = "ended";
    this.dispatchEvent(new Event("ended"));
  }
}

class FakeDevices extends EventTarget {
  async enumerateDevices() {
    return inputs;
  }
  async getUserMedia(wanted: MediaStreamConstraints) {
    const kinds = (["audio", "video"] as const).filter((kind) => wanted[kind]);
    const { audio } = wanted;
    const isRaw = typeof audio === "object" && audio.noiseSuppression === false;
    log.push(`ask ${isRaw ? "original " : ""}${kinds.join("+")}`);
    if (gate) await gate;
    for (const kind of kinds) {
      const error = errors[kind];
      if (error) throw new DOMException("no", error);
    }
    const tracks = kinds.map((kind) => new FakeTrack(kind, nameOf(kind, wanted[kind])));
    return { getTracks: () => tracks };
  }
}

function nameOf(kind: Kind, wanted: boolean | MediaTrackConstraints | undefined): string {
  const id =
    typeof wanted === "object" ? (wanted.deviceId as { ideal?: string; exact?: string } | undefined) : undefined;
  return id?.exact ?? id?.ideal ?? `any ${kind}`;
}

let log: string[];
let inputs: Partial<MediaDeviceInfo>[];
let errors: Partial<Record<Kind, string>>;
/** While set, the browser does not answer. */
let gate: Promise<void> | null;
let media: FakeDevices;
let latest: Devices;
let capture: Capture;
/** Sees every change. */
let heed: (devices: Devices) => void;

const settle = () => vi.advanceTimersByTimeAsync(0);
const labels = () => [latest.audio.track?.label ?? null, latest.video.track?.label ?? null];
const vanish = (kind: Kind) => (latest[kind].track as unknown as FakeTrack).vanishes();

/** The browser answers only when the returned function is called. */
function hold(): () => Promise<void> {
  let answer = () => {};
  gate = new Promise((resolve) => (answer = resolve));
  return async () => {
    gate = null;
    answer();
    await settle();
  };
}

async function open(): Promise<void> {
  capture.open();
  await settle();
  // Longer than a device is watched for ending at once.
  await vi.advanceTimersByTimeAsync(5_000);
}

beforeEach(() => {
  vi.useFakeTimers();
  log = [];
  inputs = [];
  errors = {};
  gate = null;
  heed = () => {};
  media = new FakeDevices();
  vi.stubGlobal("navigator", { mediaDevices: media });
  capture = new Capture({ audio: untouched(undefined), video: untouched("lens") }, (devices) => {
    latest = devices;
    heed(devices);
  });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("capture", () => {
  it("asks once for both, the chosen ones first", async () => {
    await open();
    expect(log).toEqual(["ask audio+video"]);
    expect(labels()).toEqual(["any audio", "lens"]);
  });

  // A blocked camera took the microphone with it, and the page said that one could listen only.
  it.each([
    ["NotAllowedError", "denied"],
    ["NotFoundError", "notFound"],
    ["NotReadableError", "busy"],
    ["AbortError", "busy"],
  ])("asks for each alone after %s, and tells whose fault it was", async (error, fault) => {
    errors = { video: error };
    await open();
    expect(log).toEqual(["ask audio+video", "ask audio", "ask video"]);
    expect(labels()).toEqual(["any audio", null]);
    expect([latest.audio.fault, latest.video.fault]).toEqual([null, fault]);
  });

  it("tells two faults apart", async () => {
    errors = { audio: "NotFoundError", video: "NotAllowedError" };
    await open();
    expect([latest.audio.fault, latest.video.fault]).toEqual(["notFound", "denied"]);
  });

  it("cannot do without https", async () => {
    vi.stubGlobal("navigator", {});
    await open();
    expect([latest.audio.fault, latest.video.fault]).toEqual(["insecure", "insecure"]);
  });

  it("tries again only what failed", async () => {
    errors = { video: "NotReadableError" };
    await open();
    errors = {};
    log = [];
    capture.again();
    expect([latest.audio.pending, latest.video.pending]).toEqual([false, true]);
    await settle();
    expect(log).toEqual(["ask video"]);
    expect(labels()).toEqual(["any audio", "lens"]);
  });
});

describe("original sound", () => {
  const input = (deviceId: string, groupId: string, label: string) =>
    ({ kind: "audioinput", deviceId, groupId, label }) as const;
  /** As Chromium lists them; a group may have two. */
  const systemHas = (groupId: string, name: string) => [
    input("default", groupId, `Default - ${name}`),
    input("scope", "1", "Stethoscope"),
    input("line", "1", "Line in"),
    input("headset", "2", "Headset"),
  ];

  // What was remembered of "default" held for whatever was the system's microphone the next time.
  it("is remembered of the microphone, not of what stands for the system's", async () => {
    inputs = systemHas("1", "Stethoscope");
    const asked = () => log.filter((line) => line.startsWith("ask"));
    capture = new Capture({ audio: untouched("default"), video: untouched("lens") }, (devices) => {
      latest = devices;
    });
    await open();
    capture.useOriginal(true);
    await settle();
    expect(capture.originalIds).toEqual(["scope"]);
    expect(latest.audio).toMatchObject({ original: true, chosen: "default" });
    expect(asked().at(-1)).toBe("ask original audio");
    inputs = systemHas("2", "Headset");
    media.dispatchEvent(new Event("devicechange"));
    await settle();
    expect(latest.audio, "another is the system's").toMatchObject({ original: false, pending: false });
    inputs = systemHas("1", "Stethoscope");
    media.dispatchEvent(new Event("devicechange"));
    await settle();
    expect(latest.audio.original, "and the first again").toBe(true);
    inputs = [input("default", "", "Default")];
    capture.choose("audio", "default");
    await settle();
    capture.useOriginal(true);
    await settle();
    expect(latest.audio.original, "for this visit").toBe(true);
    expect(capture.originalIds, "of which nobody knows what it is").toEqual(["scope"]);
  });

  beforeEach(open);

  it("is asked for of the microphone in use, and no more so", async () => {
    log = [];
    capture.useOriginal(true);
    await settle();
    expect(log).toEqual(["stop any audio", "ask audio", "stop any audio", "ask original audio"]);
    expect(latest.audio).toMatchObject({ original: true, chosen: "any audio" });
    capture.useOriginal(false);
    await settle();
    expect(latest.audio.original).toBe(false);
    expect(log.at(-1)).toBe("ask audio");
  });

  it("asks once more for the microphone that was chosen where another was given for no reason", async () => {
    const { getUserMedia } = media;
    media.getUserMedia = (wanted) => {
      const { audio } = wanted;
      const isWish = typeof audio === "object" && "ideal" in (audio.deviceId as object);
      return getUserMedia.call(media, isWish ? { audio: true } : wanted);
    };
    capture.choose("audio", "table");
    await settle();
    expect(labels()[0]).toBe("table");
  });

  it("is remembered of each microphone", async () => {
    capture.choose("audio", "stethoscope");
    await settle();
    capture.useOriginal(true);
    await settle();
    capture.choose("audio", "table");
    await settle();
    expect(latest.audio.original).toBe(false);
    capture.choose("audio", "stethoscope");
    await settle();
    expect(latest.audio.original).toBe(true);
  });
});

describe("another choice", () => {
  beforeEach(open);

  it("lets the old camera go before it opens the new one, and leaves the microphone", async () => {
    log = [];
    capture.choose("video", "dome");
    expect([latest.audio.pending, latest.video.pending]).toEqual([false, true]);
    await settle();
    expect(log).toEqual(["stop lens", "ask video"]);
    expect(labels()).toEqual(["any audio", "dome"]);
  });

  it("says what is wrong when the new one does not open", async () => {
    errors = { video: "NotReadableError" };
    capture.choose("video", "dome");
    await settle();
    expect(latest.video).toMatchObject({ track: null, pending: false, fault: "busy", tell: null });
    errors = {};
    capture.choose("video", "lens");
    await settle();
    expect(latest.video).toMatchObject({ pending: false, fault: null });
    expect(labels()).toEqual(["any audio", "lens"]);
  });

  it("ends with the latest of choices in a hurry, and is pending until then", async () => {
    log = [];
    const ready = new Set<string | null>();
    heed = ({ video }) => void (video.pending || ready.add(video.track?.label ?? null));
    const answers = hold();
    capture.choose("video", "dome");
    capture.choose("video", "ceiling");
    capture.choose("audio", "table");
    expect([latest.audio.pending, latest.video.pending]).toEqual([true, true]);
    ready.clear();
    await answers();
    expect([...ready]).toEqual(["ceiling"]);
    expect(labels()).toEqual(["table", "ceiling"]);
    expect(log.filter((line) => line.startsWith("stop"))).toEqual(["stop lens", "stop any audio", "stop dome"]);
  });

  it("ends what comes after the end", async () => {
    const answers = hold();
    capture.choose("video", "dome");
    capture.close();
    expect(labels()).toEqual([null, null]);
    await answers();
    expect(log.slice(-2)).toEqual(["stop any audio", "stop dome"]);
    expect(labels()).toEqual([null, null]);
  });

  it("is pending from the moment it opens again, even before an old answer has come", async () => {
    const answers = hold();
    capture.choose("video", "dome");
    capture.close();
    capture.open();
    expect([latest.audio.pending, latest.video.pending]).toEqual([true, true]);
    await answers();
    expect(labels()).toEqual(["any audio", "dome"]);
    expect([latest.audio.pending, latest.video.pending]).toEqual([false, false]);
  });
});

describe("a device that vanishes", () => {
  beforeEach(open);

  it("is replaced by another, which is said for ten seconds", async () => {
    const seen: Device["tell"][] = [];
    const answers = hold();
    vanish("audio");
    seen.push(latest.audio.tell);
    expect(labels()).toEqual([null, "lens"]);
    await answers();
    seen.push(latest.audio.tell);
    expect(labels()).toEqual(["any audio", "lens"]);
    await vi.advanceTimersByTimeAsync(10_000);
    seen.push(latest.audio.tell);
    expect(seen).toEqual(["missing", "replaced", null]);
  });

  it("is not missed when it had been given up before", async () => {
    const before = latest.video.track as unknown as FakeTrack;
    capture.choose("video", "dome");
    await settle();
    before.vanishes();
    expect(latest.video.tell).toBeNull();
    expect(labels()).toEqual(["any audio", "dome"]);
  });

  it("is waited for when there is no other", async () => {
    errors = { audio: "NotFoundError" };
    vanish("audio");
    await settle();
    expect(latest.audio).toMatchObject({ track: null, pending: false, fault: "notFound", tell: "missing" });
    media.dispatchEvent(new Event("devicechange"));
    await settle();
    expect(latest.audio, "something else was plugged in").toMatchObject({ track: null, tell: "missing" });
    errors = {};
    media.dispatchEvent(new Event("devicechange"));
    await settle();
    expect(latest.audio).toMatchObject({ fault: null, tell: "replaced" });
    expect(labels()).toEqual(["any audio", "lens"]);
  });

  it("is found though it comes back while the browser is being asked in vain", async () => {
    errors = { video: "NotFoundError" };
    const answers = hold();
    vanish("video");
    media.dispatchEvent(new Event("devicechange"));
    log = [];
    await answers();
    expect(log, "a second time").toEqual(["ask video"]);
  });

  it("is not asked for again and again when it is blocked or ends at once", async () => {
    errors = { video: "NotAllowedError" };
    vanish("video");
    await settle();
    log = [];
    media.dispatchEvent(new Event("devicechange"));
    await settle();
    expect(log).toEqual([]);
    errors = {};
    capture.recover("video");
    await settle();
    vanish("video");
    await settle();
    expect(log).toEqual(["ask video"]);
    expect(latest.video).toMatchObject({ track: null, fault: "busy", tell: "missing" });
  });
});

describe("a device that never was there", () => {
  beforeEach(async () => {
    errors = { audio: "NotFoundError" };
    await open();
    errors = {};
    log = [];
  });

  it("is not opened because something was plugged in", async () => {
    media.dispatchEvent(new Event("devicechange"));
    await settle();
    expect(log).toEqual([]);
    expect(latest.audio.tell).toBeNull();
  });

  it("is opened when asked for in the room", async () => {
    capture.recover("audio");
    await settle();
    expect(log).toEqual(["ask audio"]);
    expect(latest.audio.tell).toBe("replaced");
    capture.recover("audio");
    await settle();
    expect(log, "one that works stays").toEqual(["ask audio"]);
  });
});
