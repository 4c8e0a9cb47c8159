import { useHouseWords } from "../hooks";
import type { Quality } from "../logic";

const FULL: Record<Quality, number> = { good: 3, fair: 2, poor: 1, connecting: 0, failed: 0, waiting: 0 };

/** How something fares: by three bars, a colour, and the word. */
export function Bars({ quality }: { quality: Quality }) {
  const words = useHouseWords();
  return (
    <span className={`bars ${quality}`}>
      <svg viewBox="0 0 14 12" aria-hidden="true">
        {[0, 1, 2].map((bar) => (
          <rect
            key={bar}
            x={bar * 5}
            y={8 - bar * 4}
            width={4}
            height={4 + bar * 4}
            className={bar < FULL[quality] ? "full" : undefined}
          />
        ))}
      </svg>
      {words.meeting.qualities[quality]}
    </span>
  );
}
