// Which cameras and microphones there are, and how loud the microphone is.

import { useEffect, useRef, useState } from "react";

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
