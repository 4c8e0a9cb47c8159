import { describe, expect, it } from "vitest";
import { houseWords } from "./house/words";
import { firstLanguage, words } from "./words";

/** Every text of a language with its key; functions are called with a sample. */
function texts(value: unknown, path = ""): [string, string][] {
  if (typeof value === "string") return [[path, value]];
  if (typeof value === "function") return [[path, String(value("3"))]];
  return Object.entries(value as object).flatMap(([key, inner]) => texts(inner, `${path}.${key}`));
}

describe("words", () => {
  const [en, zh] = [
    texts({ room: words.en, house: houseWords.en }),
    texts({ room: words.zh, house: houseWords.zh }),
  ];

  it("has the same keys in both languages, none empty", () => {
    expect(zh.map(([key]) => key).sort()).toEqual(en.map(([key]) => key).sort());
    for (const [key, text] of [...en, ...zh]) expect(text.trim(), key).not.toBe("");
  });

  it("leaves nothing untranslated", () => {
    const chinese = /\p{Script=Han}/u;
    const other = (key: string) => key === ".room.language" || key === ".room.languageLabel";
    for (const [key, text] of zh) if (!other(key)) expect(text, key).toMatch(chinese);
    for (const [key, text] of en) if (!other(key)) expect(text, key).not.toMatch(chinese);
  });

  it("starts in the language chosen, else in the browser's", () => {
    expect(firstLanguage(null, ["zh-CN", "en"])).toBe("zh");
    expect(firstLanguage(null, ["de", "zh"])).toBe("en");
    expect(firstLanguage("en", ["zh-CN"])).toBe("en");
    expect(firstLanguage("nonsense", ["zh-TW"])).toBe("zh");
  });
});
