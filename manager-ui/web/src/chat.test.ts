import { describe, expect, it } from "vitest";
import { isComposing, linked } from "./chat";

describe("what is written", () => {
  it("has links to http and https alone", () => {
    expect(linked("see https://example.org/a?b=1, or HTTP://x.example.")).toEqual([
      { text: "see " },
      { text: "https://example.org/a?b=1", href: "https://example.org/a?b=1" },
      { text: ", or " },
      { text: "HTTP://x.example", href: "http://x.example/" },
      { text: "." },
    ]);
    for (const text of [
      "javascript:alert(1)",
      "data:text/html,x",
      "<img src=x onerror=alert(1)>",
      "https://bank.example@evil.example/",
      "https://",
    ]) {
      expect(linked(text)).toEqual([{ text }]);
    }
  });

  it("ends a link where Chinese goes on", () => {
    expect(linked("影像：https://pacs.example/1。请看")).toEqual([
      { text: "影像：" },
      { text: "https://pacs.example/1", href: "https://pacs.example/1" },
      { text: "。请看" },
    ]);
  });

  // Each run of such signs was looked at again from each of them.
  it("is looked through once, whatever stands in it", () => {
    const text = `https://a/${".".repeat(50_000)}x`;
    const began = performance.now();
    expect(linked(text)).toHaveLength(1);
    expect(linked(`${text.slice(0, -1)}`)[0]).toEqual({ text: "https://a/", href: "https://a/" });
    expect(performance.now() - began).toBeLessThan(2_000);
  });
});

it("leaves the keys of an input method to it", () => {
  expect(isComposing({ isComposing: true, keyCode: 27 })).toBe(true);
  expect(isComposing({ isComposing: false, keyCode: 229 })).toBe(true);
  expect(isComposing({ isComposing: false, keyCode: 27 })).toBe(false);
});
