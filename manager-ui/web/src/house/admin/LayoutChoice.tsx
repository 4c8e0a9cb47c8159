import { useId } from "react";
import { api, ask } from "../api";
import { useHouseWords, useLoad } from "../hooks";
import { Loading, Trouble } from "../parts";
import { useLanguage } from "../../language";
import type { components } from "../../schema";

export type Layout = components["schemas"]["LayoutView"];

/** What rooms and terminals may have, the default first. */
export function useLayouts() {
  return useLoad(() => ask(api.GET("/api/v1/layouts")), "layouts");
}

/** What people call a layout. */
export function useLayoutTitle(): (layout: Layout) => string {
  const { language } = useLanguage();
  return (layout) => layout[language];
}

/** One of the layouts, by pictures of them. */
export function LayoutChoice(props: { value: string; change: (name: string) => void }) {
  const words = useHouseWords();
  const { value: layouts = [], failure } = useLayouts();
  const title = useLayoutTitle();
  const name = useId();
  const chosen = layouts.find((layout) => layout.name === props.value);
  const ratios = [...new Set(layouts.map((layout) => layout.canvas))];
  return (
    <fieldset className="field layouts" data-testid="room-layout">
      <legend>
        {words.rooms.layout}
        {chosen && <span aria-hidden="true">{title(chosen)}</span>}
      </legend>
      <Trouble failure={failure} />
      {!failure && layouts.length === 0 && <Loading />}
      {ratios.map((ratio) => (
        <div key={ratio} role="presentation">
          {layouts
            .filter((layout) => layout.canvas === ratio)
            .map((layout) => (
              <label key={layout.name} title={title(layout)}>
                <input
                  type="radio"
                  name={name}
                  value={layout.name}
                  aria-label={title(layout)}
                  checked={layout.name === props.value}
                  onChange={() => props.change(layout.name)}
                />
                <Drawn layout={layout} />
              </label>
            ))}
        </div>
      ))}
    </fieldset>
  );
}

/** Cells that lead are green. A layout that grows is drawn for a few sites, with dots for more. */
function Drawn({ layout }: { layout: Layout }) {
  const { arrangements, leads } = layout;
  const cells = arrangements[Math.min(2, arrangements.length - 1)] ?? [];
  const grows = arrangements.length > 1;
  const [wide, tall] = layout.canvas === "4:3" ? [48, 36] : [64, 36];
  return (
    <svg viewBox={`0 0 ${wide} ${tall}`} width={wide} height={tall} aria-hidden="true">
      <rect className="ground" width={wide} height={tall} />
      {cells.map(([left = 0, top = 0, width = 0, height = 0], index) => (
        <rect
          key={`${left} ${top} ${index}`}
          className={index < leads ? "lead" : "cell"}
          x={left * wide + 0.75}
          y={top * tall + 0.75}
          width={width * wide - 1.5}
          height={height * tall - 1.5}
        />
      ))}
      {grows &&
        [-6, 0, 6].map((aside) => (
          <circle key={aside} className="more" cx={wide / 2 + aside} cy={tall / 2} r={2} />
        ))}
    </svg>
  );
}
