import { useRef, useState } from "react";
import Button from "antd/es/button";
import { api, ask, type Share } from "../api";
import { useDoing, useHouseWords, useLoad } from "../hooks";
import { newsOf, useLive } from "../live";
import { Done, Form, Loading, State, Sure, Switch, Trouble } from "../parts";
import { organisationMark, placeToBegin, useDirectory } from "./directory";
import { PlaceChoice } from "./PlaceChoice";

const ENDS = ["may_view", "may_join", "may_control"] as const;
type End = (typeof ENDS)[number];
type Ends = Record<End, boolean>;

const endsOf = ({ may_view, may_join, may_control }: Share): Ends => ({
  may_view,
  may_join,
  may_control,
});

/** With which organisations a room is shared, and to what end. */
export function Shares({ number, home }: { number: string; home: string }) {
  const words = useHouseWords();
  const params = { path: { number } };
  const loaded = useLoad(
    () => ask(api.GET("/api/v1/rooms/{number}/shares", { params })),
    `shares ${number}`,
  );
  useLive(newsOf("room"), loaded.again);
  // The organisation whose share is being changed; "new" for another one.
  const [open, setOpen] = useState<string | null>(null);
  const doing = useDoing();
  // What is ended takes its buttons along.
  const heading = useRef<HTMLHeadingElement>(null);
  const done = () => {
    setOpen(null);
    heading.current?.focus();
    loaded.again();
  };
  const write = (organisation: string, body: Ends) => {
    const path = { number, organisation };
    const put = () =>
      ask(api.PUT("/api/v1/rooms/{number}/shares/{organisation}", { params: { path }, body }));
    void doing.act(put, words.saved).then((taken) => taken && done());
  };
  const end = (organisation: string) => {
    const path = { number, organisation };
    const remove = () =>
      ask(api.DELETE("/api/v1/rooms/{number}/shares/{organisation}", { params: { path } }));
    void doing.act(remove, words.shares.ended).then((taken) => taken && done());
  };
  // It is another organisation's room, which alone shares it.
  if (loaded.failure?.status === 403 || loaded.failure?.status === 404) return null;
  return (
    <>
      <h3 ref={heading} tabIndex={-1}>
        {words.shares.title}
      </h3>
      <p>{words.shares.why}</p>
      {!loaded.value && <Loading failure={loaded.failure} />}
      {loaded.value?.length === 0 && <p>{words.shares.none}</p>}
      <ul className="grants" data-testid="shares">
        {loaded.value?.map((share) => (
          <One
            key={share.organisation}
            share={share}
            open={open === share.organisation}
            busy={doing.busy}
            change={() => setOpen(share.organisation)}
            write={(ends) => write(share.organisation, ends)}
            end={() => end(share.organisation)}
          />
        ))}
      </ul>
      <Trouble failure={doing.failure} />
      <Done text={doing.done} />
      {open === "new" ? (
        <Add home={home} taken={loaded.value ?? []} busy={doing.busy} write={write} />
      ) : (
        <Button data-testid="new-share" onClick={() => setOpen("new")}>
          {words.shares.fresh}
        </Button>
      )}
    </>
  );
}

interface OneProps {
  share: Share;
  open: boolean;
  busy: boolean;
  change: () => void;
  write: (ends: Ends) => void;
  end: () => void;
}

function One({ share, open, busy, change, write, end }: OneProps) {
  const words = useHouseWords();
  const name = organisationMark(useDirectory(), share.organisation);
  const [ends, setEnds] = useState(endsOf(share));
  const given = ENDS.filter((which) => share[which]);
  return (
    <li>
      <span>
        <strong>{name}</strong>{" "}
        {given.map((which) => (
          <State key={which} kind="good">
            {words.shares.ends[which]}
          </State>
        ))}
        {given.length === 0 && <State kind="off">{words.shares.nothing}</State>}
      </span>
      {open ? (
        <Form className="landing give" submit={() => write(ends)}>
          <EndSwitches ends={ends} set={setEnds} />
          <Button type="primary" htmlType="submit" data-testid="save-share" loading={busy}>
            {words.save}
          </Button>
        </Form>
      ) : (
        <Button
          size="small"
          data-testid="change-share"
          aria-label={words.shares.changeOf(name)}
          onClick={() => {
            setEnds(endsOf(share));
            change();
          }}
        >
          {words.shares.change}
        </Button>
      )}
      <Sure
        size="small"
        label={words.shares.end}
        name={words.shares.endOf(name)}
        question={words.shares.ask(name)}
        act={end}
        busy={busy}
        testId="end-share"
      />
    </li>
  );
}

interface AddProps {
  home: string;
  taken: Share[];
  busy: boolean;
  write: (organisation: string, ends: Ends) => void;
}

function Add({ home, taken, busy, write }: AddProps) {
  const words = useHouseWords();
  const directory = useDirectory();
  const others = directory.organisations.filter(
    ({ id }) => id !== home && !taken.some((share) => share.organisation === id),
  );
  const [at, setAt] = useState(placeToBegin(directory, others[0]?.id ?? home));
  const [ends, setEnds] = useState<Ends>({ may_view: true, may_join: true, may_control: false });
  return (
    <Form className="landing give" submit={() => write(at, ends)}>
      <PlaceChoice
        label={words.shares.whom}
        testId="share-organisation"
        value={at}
        change={setAt}
      />
      <EndSwitches ends={ends} set={setEnds} />
      <Button type="primary" htmlType="submit" data-testid="make-share" loading={busy}>
        {words.shares.make}
      </Button>
    </Form>
  );
}

function EndSwitches({ ends, set }: { ends: Ends; set: (ends: Ends) => void }) {
  const words = useHouseWords();
  return ENDS.map((which) => (
    <Switch
      key={which}
      label={words.shares.ends[which]}
      testId={`share-${which}`}
      value={ends[which]}
      change={(given) => set({ ...ends, [which]: given })}
    />
  ));
}
