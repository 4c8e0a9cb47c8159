// How many columns a grid of pictures has, so that they become as large as they can.

export interface Grid {
  columns: number;
  /** CSS pixels. */
  width: number;
  height: number;
}

const RATIO = 16 / 9;

/** The largest 16:9 tiles for `count` sites in a stage of this size, in CSS pixels. */
export function grid(count: number, width: number, height: number, gap: number): Grid {
  let best: Grid = { columns: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= Math.max(count, 1); columns++) {
    const rows = Math.ceil(Math.max(count, 1) / columns);
    const widest = (width - gap * (columns - 1)) / columns;
    const highest = (height - gap * (rows - 1)) / rows;
    const tile = Math.floor(Math.min(widest, highest * RATIO));
    if (tile > best.width) best = { columns, width: tile, height: Math.floor(tile / RATIO) };
  }
  return best;
}
