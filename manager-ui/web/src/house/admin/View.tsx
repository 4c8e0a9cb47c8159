import { useState } from "react";
import Button from "antd/es/button";
import { api, ask, type Leg } from "../api";
import { useDoing, useHouseWords } from "../hooks";
import { Choice, Switch, Trouble } from "../parts";
import { useLayouts, useLayoutTitle } from "./LayoutChoice";
import type { components } from "../../schema";

type Changes = components["schemas"]["LegChanges"];

/** Most cells that a layout has. */
const CELLS = 25;

/** Where a site is seen in the picture of terminals, and what a terminal sees itself. */
export function View({ number, leg, changed }: { number: string; leg: Leg; changed: () => void }) {
  const words = useHouseWords();
  const [open, setOpen] = useState(false);
  const { view, viewOf } = words.meeting;
  return (
    <>
      <Button
        size="small"
        data-testid="view"
        aria-label={viewOf(leg.name)}
        aria-expanded={open}
        onClick={() => setOpen(!open)}
      >
        {view}
      </Button>
      {open && <Wishes number={number} leg={leg} changed={changed} />}
    </>
  );
}

function Wishes({ number, leg, changed }: { number: string; leg: Leg; changed: () => void }) {
  const words = useHouseWords();
  const layouts = useLayouts();
  const title = useLayoutTitle();
  const doing = useDoing();
  const params = { path: { number, leg: leg.leg } };
  const set = async (body: Changes) => {
    const patch = () => ask(api.PATCH("/api/v1/rooms/{number}/legs/{leg}", { params, body }));
    if (await doing.act(patch)) changed();
  };
  const { cell, anyCell, cellOf, ownLayout, roomLayout, selfView } = words.meeting;
  const cells = Array.from({ length: CELLS }, (_, n) => ({ value: `${n}`, label: cellOf(`${n + 1}`) }));
  return (
    <div className="landing give">
      <Choice
        label={cell}
        testId="leg-cell"
        value={leg.cell == null ? "" : `${leg.cell}`}
        change={(value) => void set({ cell: value === "" ? null : Number(value) })}
        options={[{ value: "", label: anyCell }, ...cells]}
      />
      {leg.kind === "sip" && (
        <>
          <Choice
            label={ownLayout}
            testId="leg-layout"
            value={leg.layout ?? ""}
            change={(value) =>
              void set({ layout: value === "" ? null : (value as NonNullable<Changes["layout"]>) })
            }
            options={[
              { value: "", label: roomLayout },
              ...layouts.map((layout) => ({ value: layout.name, label: title(layout) })),
            ]}
          />
          <Switch
            label={selfView}
            testId="leg-self-view"
            value={!leg.without_self}
            change={(self_view) => void set({ self_view })}
          />
        </>
      )}
      <Trouble failure={doing.failure} />
    </div>
  );
}
