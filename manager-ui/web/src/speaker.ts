// By which loudspeaker the room is heard, where the browser lets the page choose.

import { useCallback, useEffect, useState } from "react";
import { useDevices } from "./devices";

const SPEAKER = "consilium.speaker";

export interface Speaker {
  /** Those that there are, without the system's own choice. */
  listed: MediaDeviceInfo[];
  /** Whether one can be chosen at all. */
  canChoose: boolean;
  /** Id of the one in use; empty for the system's choice. */
  used: string;
  /** The one that was chosen is not there: the system's serves. */
  gone: boolean;
  choose: (id: string) => void;
}

type Sink = HTMLMediaElement & { setSinkId?: (id: string) => Promise<void> };

/** `refresh`: something that changes when the browser may tell of more devices than before. */
export function useSpeaker(refresh: unknown): Speaker {
  const [chosen, setChosen] = useState(() => localStorage.getItem(SPEAKER) ?? "");
  const all = useDevices("audiooutput", refresh);
  const listed = all.filter(({ deviceId }) => deviceId !== "default" && deviceId !== "communications");
  const choose = useCallback((id: string) => {
    localStorage.setItem(SPEAKER, id);
    setChosen(id);
  }, []);
  const isThere = chosen === "" || listed.some(({ deviceId }) => deviceId === chosen);
  return {
    listed,
    canChoose: "setSinkId" in HTMLMediaElement.prototype && listed.length > 0,
    used: isThere ? chosen : "",
    // Before the first answer of the browser nothing is known to be gone.
    gone: !isThere && all.length > 0,
    choose,
  };
}

/** Has an element play there. One that does not take it plays on by the system's. */
export async function playBy(element: HTMLMediaElement, id: string): Promise<void> {
  const sink: Sink = element;
  if ((element as { sinkId?: string }).sinkId === id) return;
  await sink.setSinkId?.(id).catch((error: unknown) => console.warn("loudspeaker not taken", error));
}

/** Keeps an element of the page at that loudspeaker. */
export function useSink(element: React.RefObject<HTMLMediaElement | null>, id: string): void {
  useEffect(() => {
    if (element.current) void playBy(element.current, id);
  }, [element, id]);
}

const NOTES_HZ = [660, 880];
const NOTE_S = 0.45;

/** Plays two notes there, and is done when they are over. */
export async function playTest(id: string): Promise<void> {
  const context = new AudioContext();
  const out = context.createMediaStreamDestination();
  const element = new Audio();
  element.dataset.testid = "test-tone";
  element.srcObject = out.stream;
  // In the page, so that what plays can be looked at.
  element.hidden = true;
  document.body.append(element);
  try {
    await playBy(element, id);
    await context.resume();
    await element.play();
    const begin = context.currentTime + 0.05;
    const notes = NOTES_HZ.map((hz, index) => note(context, out, hz, begin + index * NOTE_S));
    await new Promise((resolve) => notes.at(-1)?.addEventListener("ended", resolve));
  } finally {
    element.remove();
    await context.close();
  }
}

/** One note, which begins and ends softly. */
function note(context: AudioContext, out: AudioNode, hz: number, at: number): OscillatorNode {
  const tone = new OscillatorNode(context, { frequency: hz });
  const gain = new GainNode(context, { gain: 0 });
  gain.gain.setValueAtTime(0, at);
  gain.gain.linearRampToValueAtTime(0.25, at + 0.02);
  gain.gain.setValueAtTime(0.25, at + NOTE_S - 0.08);
  gain.gain.linearRampToValueAtTime(0, at + NOTE_S);
  tone.connect(gain).connect(out);
  tone.start(at);
  tone.stop(at + NOTE_S);
  return tone;
}
