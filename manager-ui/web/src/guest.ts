// The secret of a link for guests: it comes behind `#`, which no browser sends, leaves the address bar at
// once, and is kept for a reload of this tab alone.

import type { Memory } from "./session";

const key = (room: string) => `consilium.guest.${room}`;

/** Takes the secret out of the address, if there is one; yields it, or the one of an earlier load. */
export function guestSecret(
  room: string,
  at: Pick<Location, "hash" | "pathname" | "search">,
  memory: Memory,
  clean: (address: string) => void,
): string | undefined {
  const secret = /^#guest=([A-Za-z0-9_-]+)$/.exec(at.hash)?.[1];
  if (secret) {
    memory.setItem(key(room), secret);
    clean(at.pathname + at.search);
  }
  return memory.getItem(key(room)) ?? undefined;
}

/** A link that lets nobody in does not stand in the way of another, or of a PIN. */
export const forgetGuest = (room: string, memory: Memory) => memory.removeItem(key(room));
