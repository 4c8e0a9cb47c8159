// What is a link in what people write. All else is text, whatever it looks like.

export interface Part {
  text: string;
  /** Where it leads: an http or https address. */
  href?: string;
}

const LINK = /https?:\/\/[^\s<>"'\u3000-\u303f\uff00-\uffef]+/gi;
/** Ends a sentence rather than an address. */
const TAIL = /[.,;:!?)\]}]+$/;

/** The text in parts, links apart. */
export function linked(text: string): Part[] {
  const parts: Part[] = [];
  let from = 0;
  for (const match of text.matchAll(LINK)) {
    const shown = match[0].replace(TAIL, "");
    const href = safe(shown);
    if (!href) continue;
    if (match.index > from) parts.push({ text: text.slice(from, match.index) });
    parts.push({ text: shown, href });
    from = match.index + shown.length;
  }
  if (from < text.length) parts.push({ text: text.slice(from) });
  return parts;
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
