// Camera and microphone: asking for them, listing them, and how loud the microphone is.

import { useEffect, useRef, useState } from "react";
import type { Tracks } from "./peer";

export type Problem = "denied" | "notFound" | "busy" | "insecure";

export interface Chosen {
  camera?: string;
  microphone?: string;
}

export interface Capture {
  tracks: Tracks;
  problem: Problem | null;
}

const NONE: Tracks = { audio: null, video: null };

/** Asks for both at once, so that the browser asks once; then for each alone. */
export async function capture(chosen: Chosen): Promise<Capture> {
  if (!navigator.mediaDevices?.getUserMedia) return { tracks: NONE, problem: "insecure" };
  const wanted = constraints(chosen);
  try {
    return { tracks: tracksOf(await navigator.mediaDevices.getUserMedia(wanted)), problem: null };
  } catch (error) {
    const name = error instanceof DOMException ? error.name : "";
    if (name === "NotAllowedError") return { tracks: NONE, problem: "denied" };
    const audio = await alone({ audio: wanted.audio });
    const video = await alone({ video: wanted.video });
    const problem = name === "NotReadableError" || name === "AbortError" ? "busy" : "notFound";
    return { tracks: { audio, video }, problem };
  }
}

function constraints(chosen: Chosen): MediaStreamConstraints {
  const video: MediaTrackConstraints = {
    width: { ideal: 1280 },
    height: { ideal: 720 },
    frameRate: { ideal: 30 },
  };
  if (chosen.camera) video.deviceId = { ideal: chosen.camera };
  const audio = chosen.microphone ? { deviceId: { ideal: chosen.microphone } } : true;
  return { audio, video };
}

async function alone(wanted: MediaStreamConstraints): Promise<MediaStreamTrack | null> {
  try {
    return (await navigator.mediaDevices.getUserMedia(wanted)).getTracks()[0] ?? null;
  } catch {
    return null;
  }
}

function tracksOf(stream: MediaStream): Tracks {
  return { audio: stream.getAudioTracks()[0] ?? null, video: stream.getVideoTracks()[0] ?? null };
}

export function stop(tracks: Tracks): void {
  tracks.audio?.stop();
  tracks.video?.stop();
}

/** Devices of one kind, kept current while they are plugged in and out. */
export function useDevices(kind: MediaDeviceKind, refresh: unknown): MediaDeviceInfo[] {
  const [devices, setDevices] = useState<MediaDeviceInfo[]>([]);
  useEffect(() => {
    const media = navigator.mediaDevices;
    if (!media?.enumerateDevices) return;
    const list = async () => {
      const all = await media.enumerateDevices();
      setDevices(all.filter((device) => device.kind === kind && device.deviceId !== ""));
    };
    void list();
    media.addEventListener("devicechange", list);
    return () => media.removeEventListener("devicechange", list);
  }, [kind, refresh]);
  return devices;
}

const FLOOR_DB = -60;

/** Loudness 0 to 1 (-60 to 0 dBFS RMS) of the track, given to `show` with every picture. */
export function useLevel(track: MediaStreamTrack | null, show: (level: number) => void): void {
  const latest = useRef(show);
  latest.current = show;
  useEffect(() => {
    if (!track) return;
    const context = new AudioContext();
    const analyser = new AnalyserNode(context, { fftSize: 1024 });
    context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const resume = () => void context.resume();
    window.addEventListener("pointerdown", resume);
    let frame = 0;
    const tick = () => {
      analyser.getFloatTimeDomainData(samples);
      latest.current(level(samples));
      frame = requestAnimationFrame(tick);
    };
    tick();
    return () => {
      cancelAnimationFrame(frame);
      window.removeEventListener("pointerdown", resume);
      void context.close();
    };
  }, [track]);
}

export function level(samples: Float32Array): number {
  let energy = 0;
  for (const sample of samples) energy += sample * sample;
  const db = 10 * Math.log10(energy / samples.length + 1e-12);
  return Math.min(1, Math.max(0, 1 - db / FLOOR_DB));
}
