import { describe, expect, it } from "vitest";
import { busyShare, sharesOf, sizeText, spanText } from "./logic.system";
import { houseWords } from "./words";

describe("the page about the server", () => {
  it("tells spans by their two largest parts", () => {
    const { system } = houseWords.en;
    expect(spanText(59, system)).toBe("0 min 59 s");
    expect(spanText(3600 + 120, system)).toBe("1 h 2 min");
    expect(spanText(3 * 86400 + 7200, system)).toBe("3 d 2 h");
  });

  it("tells sizes by the unit that fits", () => {
    expect(sizeText(512)).toBe("512 B");
    expect(sizeText(1536)).toBe("1.5 KiB");
    expect(sizeText(34 * 1024 * 1024)).toBe("34 MiB");
  });

  it("tells the share of a processor, and nothing of a process that was started again", () => {
    expect(busyShare(1500, 3000)).toBe("50 %");
    expect(busyShare(-20, 3000)).toBeUndefined();
    expect(busyShare(20, 0)).toBeUndefined();
  });
});

describe("shares of the server", () => {
  it("are whole numbers of 100 in all at most", () => {
    expect(sharesOf([["hd", " 60 "], ["sd", "40"], ["sound", ""]])).toEqual({
      wrong: false,
      shares: { hd: 60, sd: 40, sound: 0 },
    });
    for (const typed of ["41", "4.5", "-1", "x", "1000"]) {
      expect(sharesOf([["hd", "60"], ["sd", typed]]), typed).toEqual({ wrong: true });
    }
  });
});
