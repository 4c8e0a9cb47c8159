import { describe, expect, it } from "vitest";
import { linked } from "./chat";

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
});
