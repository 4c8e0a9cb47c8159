import { useState } from "react";
import Button from "antd/es/button";
import { api, ask, type Leg } from "../api";
import { useDoing, useEdits, useHouseWords } from "../hooks";
import { Choice, Form, Loading, Switch, Trouble } from "../parts";
import { useLayouts, useLayoutTitle } from "./LayoutChoice";
import type { components } from "../../schema";

type Changes = components["schemas"]["LegChanges"];

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
  const { value: layouts = [], failure } = useLayouts();
  const title = useLayoutTitle();
  const doing = useDoing();
  const isTerminal = leg.kind === "sip";
  const { entry, set, changes, clear } = useEdits({
    cell: leg.cell == null ? "" : `${leg.cell}`,
    layout: leg.layout ?? "",
    self_view: !leg.without_self,
  });
  const apply = async () => {
    const params = { path: { number, leg: leg.leg } };
    const { cell, layout, self_view } = changes;
    const body: Changes = {
      ...(cell !== undefined && { cell: cell === "" ? null : Number(cell) }),
      ...(layout !== undefined && { layout: (layout || null) as Changes["layout"] }),
      ...(self_view !== undefined && { self_view }),
    };
    const patch = () => ask(api.PATCH("/api/v1/rooms/{number}/legs/{leg}", { params, body }));
    if (!(await doing.act(patch))) return;
    clear();
    changed();
  };
  const { cell, anyCell, cellOf, ownLayout, roomLayout, selfView, viewOf, show } = words.meeting;
  const most = Math.max(1, ...layouts.flatMap(({ arrangements }) => arrangements.map((a) => a.length)));
  const cells = Array.from({ length: most }, (_, n) => ({ value: `${n}`, label: cellOf(`${n + 1}`) }));
  if (layouts.length === 0) return failure ? <Trouble failure={failure} /> : <Loading />;
  return (
    <Form className="landing give" submit={() => void apply()}>
      <div role="group" aria-label={viewOf(leg.name)}>
        <Choice
          label={cell}
          testId="leg-cell"
          value={entry.cell}
          change={(value) => set({ cell: value })}
          options={[{ value: "", label: anyCell }, ...cells]}
        />
        {isTerminal && (
          <>
            <Choice
              label={ownLayout}
              testId="leg-layout"
              value={entry.layout}
              change={(layout) => set({ layout })}
              options={[
                { value: "", label: roomLayout },
                ...layouts.map((layout) => ({ value: layout.name, label: title(layout) })),
              ]}
            />
            <Switch
              label={selfView}
              testId="leg-self-view"
              value={entry.self_view}
              change={(self_view) => set({ self_view })}
            />
          </>
        )}
      </div>
      <Trouble failure={doing.failure} />
      <Button htmlType="submit" data-testid="show" loading={doing.busy}>
        {show}
      </Button>
    </Form>
  );
}
