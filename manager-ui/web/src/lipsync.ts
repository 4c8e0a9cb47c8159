// Sound and pictures of a room come on separate streams: one mixed sound, one picture a site.
// Browsers keep a sound in step with one picture at most, so here every picture is held back by as
// much as the sound is: by the browser's own buffer, which it tells, and by the server's, where sound
// waits for its turn in the mix while pictures pass at once.

const EVERY_MS = 500;
/** A picture is not held back further: then the sound is hopelessly late. */
const MOST_MS = 500;
/** The server's part: a jitter buffer of 20 to 40 ms, and half a mixing interval of 20 ms. */
const MIXING_MS = 50;
/** Smaller changes are not seen; following them would only unsettle the picture. */
const UNSEEN_MS = 10;

/** What statistics say of a sound's buffer: both grow for ever. */
export interface Buffered {
  /** Seconds that all samples together have waited. */
  jitterBufferDelay: number;
  /** Samples that have left the buffer. */
  jitterBufferEmittedCount: number;
}

/** How long a picture is to be held back, by two looks at the sound's buffer. */
export function holdMs(before: Buffered, now: Buffered, heldMs: number): number {
  const samples = now.jitterBufferEmittedCount - before.jitterBufferEmittedCount;
  if (samples <= 0) return heldMs;
  const waitedMs = ((now.jitterBufferDelay - before.jitterBufferDelay) / samples) * 1000;
  const wanted = Math.min(MOST_MS, Math.max(0, Math.round(waitedMs) + MIXING_MS));
  return Math.abs(wanted - heldMs) < UNSEEN_MS ? heldMs : wanted;
}

async function buffered(sound: RTCRtpReceiver): Promise<Buffered | undefined> {
  for (const stat of (await sound.getStats()).values()) {
    if (stat.type === "inbound-rtp") return stat as Buffered;
  }
  return undefined;
}

/** Keeps all pictures in step with the sound until the returned function is called. */
export function keepInStep(sound: RTCRtpReceiver, pictures: () => RTCRtpReceiver[]): () => void {
  let before: Buffered | undefined;
  let heldMs = 0;
  const step = async () => {
    const now = await buffered(sound);
    if (before && now) heldMs = holdMs(before, now, heldMs);
    before = now;
    for (const picture of pictures()) {
      if (picture.jitterBufferTarget !== heldMs) picture.jitterBufferTarget = heldMs;
    }
  };
  const timer = setInterval(() => void step().catch(() => undefined), EVERY_MS);
  return () => clearInterval(timer);
}
