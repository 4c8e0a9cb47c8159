import { useEffect, useRef, useState, type RefObject } from "react";
import { useLanguage } from "./language";
import { ownSite, type Snapshot } from "./session";

/** Size of the element's content in CSS pixels, as it changes. */
export function useSize(element: RefObject<HTMLElement | null>): { width: number; height: number } {
  const [size, setSize] = useState({ width: 0, height: 0 });
  useEffect(() => {
    if (!element.current) return;
    const observer = new ResizeObserver(([entry]) => {
      if (entry) setSize({ width: entry.contentRect.width, height: entry.contentRect.height });
    });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [element]);
  return size;
}

/** Single keys, except while something is typed or another key is held. */
export function useKeys(keys: Record<string, () => void>): void {
  const latest = useRef(keys);
  latest.current = keys;
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
      if (event.target instanceof Element && event.target.closest("input, textarea, select")) return;
      const act = latest.current[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (!act) return;
      event.preventDefault();
      act();
    };
    window.addEventListener("keydown", pressed);
    return () => window.removeEventListener("keydown", pressed);
  }, []);
}

/** Keeps the screen on while the room is shown, where the browser can. */
export function useWakeLock(): void {
  useEffect(() => {
    let lock: WakeLockSentinel | null = null;
    let wanted = true;
    const ask = async () => {
      if (document.visibilityState !== "visible" || !("wakeLock" in navigator)) return;
      // Refused on low battery, for example: then the screen sleeps.
      const got = await navigator.wakeLock.request("screen").catch(() => null);
      if (wanted) lock = got;
      else void got?.release();
    };
    void ask();
    document.addEventListener("visibilitychange", ask);
    return () => {
      wanted = false;
      document.removeEventListener("visibilitychange", ask);
      void lock?.release();
    };
  }, []);
}

/** What a screen reader says: who came and went, and what became of one's own switches. */
export function useAnnouncements(state: Snapshot): string {
  const { words } = useLanguage();
  const before = useRef<Snapshot | null>(null);
  const [text, setText] = useState("");
  useEffect(() => {
    const last = before.current;
    before.current = state;
    if (!last) return;
    const news: string[] = [];
    if (last.sites.length > 0 && state.sites.length > 0) {
      const knew = new Set(last.sites.map((site) => site.leg));
      const knows = new Set(state.sites.map((site) => site.leg));
      for (const s of state.sites) if (!knew.has(s.leg)) news.push(words.came(s.name));
      for (const s of last.sites) if (!knows.has(s.leg)) news.push(words.went(s.name));
    }
    if (last.muted.audio !== state.muted.audio) {
      news.push(state.muted.audio ? words.youAreMuted : words.youAreHeard);
    }
    if (last.muted.video !== state.muted.video) {
      news.push(state.muted.video ? words.youAreHidden : words.youAreSeen);
    }
    const [was, is] = [last, state].map((one) => ownSite(one, ""));
    if (was && is && was.audio_silenced !== is.audio_silenced) {
      news.push(is.audio_silenced ? words.audioSilenced : words.audioUnsilenced);
    }
    if (was && is && was.video_silenced !== is.video_silenced) {
      news.push(is.video_silenced ? words.videoSilenced : words.videoUnsilenced);
    }
    if (news.length > 0) setText(news.join(". "));
  }, [state, words]);
  return text;
}
