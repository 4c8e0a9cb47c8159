// Sound and pictures of a room come on separate streams: one mixed sound, one picture a site.
// Browsers keep a sound in step with one picture at most, so here every picture is held back by as
// much as its sound is: by the browser's own buffer and the way to the loudspeaker, which it tells, and
// by the server's, where sound waits for its turn in the mix while pictures pass at once. The server
// measures that for each site.

const EVERY_MS = 500;
/** A picture is not held back further: then the sound is hopelessly late. */
const MOST_MS = 500;
/** The server's part while it is not known: a short jitter buffer and half a mixing interval. */
const USUAL_LAG_MS = 50;
/** Smaller changes are not seen; following them would only unsettle the picture. */
const UNSEEN_MS = 10;

/** What statistics say of a sound, in seconds and samples; all grow for ever. */
export interface Waited {
  /** All samples' time in the buffer, and how many left it. */
  jitterBufferDelay: number;
  jitterBufferEmittedCount: number;
  /** All samples' time from there to the loudspeaker, and how many there were; 0 where not told. */
  totalPlayoutDelay: number;
  totalSamplesCount: number;
}

/** A picture, and how much later its sound leaves the server, in ms. */
export interface Held {
  receiver: RTCRtpReceiver;
  lagMs: number | null;
}

/** How long samples waited between two looks; undefined when none came. */
export function waitedMs(before: Waited, now: Waited): number | undefined {
  const samples = now.jitterBufferEmittedCount - before.jitterBufferEmittedCount;
  if (samples <= 0) return undefined;
  const buffered = (now.jitterBufferDelay - before.jitterBufferDelay) / samples;
  const played = now.totalSamplesCount - before.totalSamplesCount;
  const onTheWay = played > 0 ? (now.totalPlayoutDelay - before.totalPlayoutDelay) / played : 0;
  return (buffered + onTheWay) * 1000;
}

/** How long a picture is to be held back that has been held back by `heldMs`. */
export function holdMs(soundMs: number, lagMs: number | null, heldMs: number): number {
  const wanted = Math.min(MOST_MS, Math.max(0, Math.round(soundMs + (lagMs ?? USUAL_LAG_MS))));
  return Math.abs(wanted - heldMs) < UNSEEN_MS ? heldMs : wanted;
}

async function waited(sound: RTCRtpReceiver): Promise<Waited | undefined> {
  const found = { totalPlayoutDelay: 0, totalSamplesCount: 0 };
  let buffered: Waited | undefined;
  for (const stat of (await sound.getStats()).values()) {
    if (stat.type === "inbound-rtp") buffered = stat as Waited;
    if (stat.type === "media-playout") Object.assign(found, stat);
  }
  return buffered && { ...buffered, ...found };
}

/** Keeps all pictures in step with the sound until the returned function is called. */
export function keepInStep(sound: RTCRtpReceiver, pictures: () => Held[]): () => void {
  let before: Waited | undefined;
  const step = async () => {
    const now = await waited(sound);
    const soundMs = before && now && waitedMs(before, now);
    before = now;
    if (soundMs === undefined) return;
    for (const { receiver, lagMs } of pictures()) {
      const heldMs = receiver.jitterBufferTarget ?? 0;
      const wanted = holdMs(soundMs, lagMs, heldMs);
      if (wanted !== heldMs) receiver.jitterBufferTarget = wanted;
    }
  };
  const timer = setInterval(() => void step().catch(() => undefined), EVERY_MS);
  return () => clearInterval(timer);
}
