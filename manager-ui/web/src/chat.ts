// What people write: what in it is a link, all else being text, whatever it looks like; and which keys
// are part of writing it.

export interface Part {
  text: string;
  /** Where it leads: an http or https address. */
  href?: string;
}

/** Whether a key belongs to an input method; Safari says so by the code alone at the end of a word. */
export const isComposing = (event: Pick<KeyboardEvent, "isComposing" | "keyCode">): boolean =>
  event.isComposing || event.keyCode === 229;

const LINK = /https?:\/\/[^\s<>"'\u3000-\u303f\uff00-\uffef]+/gi;
/** End a sentence rather than an address. */
const TAIL = ".,;:!?)]}";

/** The text in parts, links apart. */
export function linked(text: string): Part[] {
  const parts: Part[] = [];
  let from = 0;
  for (const match of text.matchAll(LINK)) {
    const shown = withoutTail(match[0]);
    const href = safe(shown);
    if (!href) continue;
    if (match.index > from) parts.push({ text: text.slice(from, match.index) });
    parts.push({ text: shown, href });
    from = match.index + shown.length;
  }
  if (from < text.length) parts.push({ text: text.slice(from) });
  return parts;
}

/** From the end, once: an expression would look at each run of such signs again from each of them. */
function withoutTail(text: string): string {
  let end = text.length;
  while (end > 0 && TAIL.includes(text.charAt(end - 1))) end -= 1;
  return text.slice(0, end);
}

/** The address as the browser reads it, if it is one, and names nobody else before its host. */
function safe(text: string): string | null {
  try {
    const url = new URL(text);
    const isWeb = url.protocol === "http:" || url.protocol === "https:";
    // https://bank.example@evil.example/ leads to evil.example.
    return isWeb && url.username === "" && url.password === "" ? url.href : null;
  } catch {
    return null;
  }
}
