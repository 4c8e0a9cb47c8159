import { describe, expect, it } from "vitest";
import { grid } from "./grid";

describe("grid", () => {
  it("fills a wide stage and a phone", () => {
    expect(grid(1, 1600, 900, 8)).toEqual({ columns: 1, width: 1600, height: 900 });
    expect(grid(4, 1608, 908, 8).columns).toBe(2);
    expect(grid(9, 1600, 900, 8).columns).toBe(3);
    expect(grid(2, 390, 700, 8).columns).toBe(1);
  });

  it("never overflows the stage", () => {
    for (let count = 1; count <= 12; count++) {
      for (const [width, height] of [[1440, 760], [374, 640], [320, 200]] as const) {
        const { columns, width: w, height: h } = grid(count, width, height, 8);
        const rows = Math.ceil(count / columns);
        expect(columns * w + (columns - 1) * 8).toBeLessThanOrEqual(width);
        expect(rows * h + (rows - 1) * 8).toBeLessThanOrEqual(height);
      }
    }
  });

  it("survives a stage without size", () => {
    expect(grid(3, 0, 0, 8)).toEqual({ columns: 1, width: 0, height: 0 });
  });
});
