import { useRef, useState } from "react";
import Button from "antd/es/button";
import { api, ask, type Delivery, type EventType, type Webhook } from "../api";
import { useDoing, useEdits, useHouseWords, useMoment, usePages } from "../hooks";
import { isName, isNumber } from "../logic";
import { Choice, Done, Field, Form, Remove, Save, SaveRow, State, Trouble } from "../parts";
import type { SectionProps } from "./Admin";
import { organisationName, placeToBegin, useDirectory } from "./directory";
import { Chosen, Listing, ToldOnce, useListed, useToldOnce } from "./Listing";
import { PlaceChoice } from "./PlaceChoice";

/** Between two looks at what became of deliveries. */
const LOOK_MS = 5000;

/** Servers that are told of what happens. */
export function Webhooks({ me, place, move }: SectionProps) {
  const words = useHouseWords();
  const directory = useDirectory();
  const told = useToldOnce(place.chosen);
  const list = useListed(
    "webhook",
    { place, move },
    (query) => ask(api.GET("/api/v1/webhooks", { params: { query } })),
    webhookOf,
    LOOK_MS,
  );
  return (
    <>
      <Listing
        title={words.sections.webhooks}
        filter={{ label: words.webhooks.filter, ...list.filter }}
        fresh={words.webhooks.fresh}
        place={place}
        move={move}
        columns={[
          { title: words.name, cell: (row) => row.name },
          { title: words.state, cell: (row) => <HookState row={row} /> },
          { title: words.webhooks.dead, cell: (row) => row.dead },
          {
            title: words.place,
            cell: (row) => organisationName(directory, row.organisation),
            wide: true,
          },
        ]}
        {...list.table}
      />
      <Chosen
        title={words.sections.webhooks}
        fresh={{
          title: words.webhooks.fresh,
          form: (
            <New
              at={placeToBegin(directory, place.at ?? me.organisation)}
              made={(id, secret) => {
                list.made(id);
                told.tell(id, secret);
              }}
            />
          ),
        }}
        place={place}
        move={move}
        shown={list.shown}
        failure={list.failure}
        titleOf={(row) => row.name}
      >
        {(row) => (
          <>
            <p>
              <HookState row={row} /> {words.webhooks.reasons[row.state]}
            </p>
            <ToldOnce why={words.webhooks.keep} secret={told.of(row.id)} testId="webhook-secret" />
            <Acts row={row} again={list.again} told={(secret) => told.tell(row.id, secret)} />
            <Deliveries hook={row} />
            <h3>{words.webhooks.settings}</h3>
            <Change row={row} changed={list.changed} removed={list.removed} />
          </>
        )}
      </Chosen>
    </>
  );
}

const webhookOf = (id: string) =>
  ask(api.GET("/api/v1/webhooks/{id}", { params: { path: { id } } }));

function HookState({ row }: { row: Webhook }) {
  const words = useHouseWords();
  const failing = row.state === "on" && row.failing_since_ms;
  const kind = row.state === "off" ? "off" : row.state !== "on" || failing ? "bad" : "good";
  return <State kind={kind}>{failing ? words.webhooks.late : words.webhooks.states[row.state]}</State>;
}

interface ActsProps {
  row: Webhook;
  again: () => void;
  told: (secret: string) => void;
}

/** Tries it, switches it off and on, and gives it another secret. */
function Acts({ row, again, told }: ActsProps) {
  const words = useHouseWords();
  const doing = useDoing();
  const [tried, setTried] = useState("");
  const params = { path: { id: row.id } };
  const test = async () => {
    setTried("");
    await doing.act(async () => {
      const { delivered, status, problem } = await ask(
        api.POST("/api/v1/webhooks/{id}/test", { params }),
      );
      const why = words.webhooks.problems[problem ?? ""] ?? "";
      setTried(delivered ? words.webhooks.arrived : words.webhooks.failed(why, status ?? null));
    });
  };
  const enabled = row.state !== "on";
  const flip = async () => {
    setTried("");
    const change = () => ask(api.PATCH("/api/v1/webhooks/{id}", { params, body: { enabled } }));
    if (await doing.act(change, words.saved)) again();
  };
  const renew = async () => {
    setTried("");
    await doing.act(async () => {
      const made = await ask(api.PUT("/api/v1/webhooks/{id}/secret", { params, body: {} }));
      told(made.secret);
    }, words.webhooks.renewed);
  };
  return (
    <>
      <Trouble failure={doing.failure} />
      <div className="acts">
        <Button data-testid="test" loading={doing.busy} onClick={() => void test()}>
          {words.webhooks.test}
        </Button>
        <Button data-testid="flip" onClick={() => void flip()}>
          {enabled ? words.webhooks.switchOn : words.webhooks.switchOff}
        </Button>
        <Button data-testid="renew" onClick={() => void renew()}>
          {words.webhooks.renew}
        </Button>
      </div>
      <Done text={tried || doing.done} />
    </>
  );
}

const STATES = ["", "waiting", "delivered", "dead", "withheld"];

/** What became of each message. */
function Deliveries({ hook }: { hook: Webhook }) {
  const words = useHouseWords();
  const [state, setState] = useState("");
  const doing = useDoing();
  const heading = useRef<HTMLHeadingElement>(null);
  const path = { id: hook.id };
  const pages = usePages(
    (after) =>
      ask(
        api.GET("/api/v1/webhooks/{id}/deliveries", {
          params: { path, query: { after, state, limit: 20 } },
        }),
      ),
    `deliveries ${hook.id} ${state}`,
    LOOK_MS,
  );
  const retry = async ({ id }: Delivery) => {
    const params = { path: { ...path, delivery: id } };
    const send = () =>
      ask(api.POST("/api/v1/webhooks/{id}/deliveries/{delivery}/retry", { params }));
    if (!(await doing.act(send, words.webhooks.retried))) return;
    // The button is gone with what it was for.
    heading.current?.focus();
    pages.again();
  };
  return (
    <>
      <h3 ref={heading} tabIndex={-1}>
        {words.webhooks.deliveries}
      </h3>
      <Choice
        label={words.state}
        testId="delivery-state"
        value={state}
        change={setState}
        options={STATES.map((value) => ({
          value,
          label: value ? (words.webhooks.deliveryStates[value] ?? value) : words.webhooks.all,
        }))}
      />
      <Trouble failure={doing.failure ?? pages.failure} />
      <Done text={doing.done} />
      {pages.items?.length === 0 && <p>{words.webhooks.none}</p>}
      <ul className="sessions" data-testid="deliveries">
        {pages.items?.map((one) => (
          <One key={one.id} one={one} retry={() => void retry(one)} />
        ))}
      </ul>
      {pages.more && (
        <Button data-testid="more-deliveries" onClick={pages.more} loading={pages.busy}>
          {words.more}
        </Button>
      )}
    </>
  );
}

const KINDS: Record<string, "good" | "bad" | "off"> = { delivered: "good", dead: "bad" };

function One({ one, retry }: { one: Delivery; retry: () => void }) {
  const words = useHouseWords();
  const moment = useMoment(true);
  const type = words.webhooks.types[one.type] ?? one.type;
  const why = [
    words.webhooks.problems[one.problem ?? ""],
    one.problem && one.status ? words.webhooks.status(one.status) : "",
    one.answer ? words.webhooks.answer(one.answer) : "",
  ];
  return (
    <li>
      <div>
        <strong>{type}</strong>{" "}
        <State kind={KINDS[one.state] ?? "off"}>{words.webhooks.deliveryStates[one.state]}</State>
        <small>
          {moment(one.tried_ms ?? one.created_ms)}
          {one.attempts > 1 && ` · ${words.webhooks.attempts(one.attempts)}`}
          {one.next_ms && one.attempts > 0 && ` · ${words.webhooks.next(moment(one.next_ms))}`}
        </small>
        {one.problem && <small>{why.filter(Boolean).join(" · ")}</small>}
      </div>
      {one.state === "dead" && (
        <Button
          data-testid="retry"
          aria-label={words.webhooks.retryOf(type, moment(one.created_ms))}
          onClick={retry}
        >
          {words.webhooks.retry}
        </Button>
      )}
    </li>
  );
}

const isUrl = (text: string) => /^https?:\/\/\S+$/.test(text) && text.length <= 1000;

interface Entry {
  name: string;
  url: string;
  types: EventType[];
  room: string;
}

/** Fields that a new one and a change have. */
function Fields(props: { entry: Entry; set: (change: Partial<Entry>) => void; tried: boolean }) {
  const words = useHouseWords();
  const { entry, set, tried } = props;
  return (
    <>
      <Field
        label={words.name}
        testId="webhook-name"
        value={entry.name}
        change={(name) => set({ name })}
        wrong={tried && !isName(entry.name) ? words.nameWrong : ""}
      />
      <Field
        label={words.webhooks.url}
        testId="webhook-url"
        type="url"
        hint={words.webhooks.urlHint}
        value={entry.url}
        change={(url) => set({ url })}
        wrong={tried && !isUrl(entry.url) ? words.webhooks.urlHint : ""}
      />
      <Types types={entry.types} change={(types) => set({ types })} />
      {tried && entry.types.length === 0 && (
        <small className="wrong" role="alert">
          {words.problems.webhook_types}
        </small>
      )}
      <Field
        label={words.webhooks.room}
        testId="webhook-room"
        hint={words.webhooks.roomHint}
        value={entry.room}
        change={(room) => set({ room })}
        wrong={tried && entry.room && !isNumber(entry.room) ? words.rooms.numberWrong : ""}
      />
    </>
  );
}

function Types({ types, change }: { types: EventType[]; change: (types: EventType[]) => void }) {
  const words = useHouseWords();
  const all = Object.entries(words.webhooks.types) as [EventType, string][];
  const flip = (type: EventType) =>
    change(types.includes(type) ? types.filter((one) => one !== type) : [...types, type]);
  return (
    <fieldset className="checks">
      <legend>{words.webhooks.whatOf}</legend>
      {all.map(([type, text]) => (
        <label key={type}>
          <input
            type="checkbox"
            data-testid={`type-${type}`}
            checked={types.includes(type)}
            onChange={() => flip(type)}
          />
          <span>{text}</span>
        </label>
      ))}
    </fieldset>
  );
}

const isWhole = (entry: Entry) =>
  isName(entry.name) &&
  isUrl(entry.url) &&
  entry.types.length > 0 &&
  (!entry.room || isNumber(entry.room));

function New({ at, made }: { at: string; made: (id: string, secret: string) => void }) {
  const words = useHouseWords();
  const begin = { name: "", url: "https://", types: [] as EventType[], room: "", organisation: at };
  const { entry, set, clear } = useEdits(begin);
  const [tried, setTried] = useState(false);
  const doing = useDoing();
  const submit = async () => {
    setTried(true);
    if (!isWhole(entry)) return;
    const body = { ...entry, room: entry.room || undefined };
    await doing.act(async () => {
      const hook = await ask(api.POST("/api/v1/webhooks", { body }));
      clear();
      made(hook.id, hook.secret);
    });
  };
  return (
    <Form submit={() => void submit()}>
      <p className="hint">{words.webhooks.why}</p>
      <Trouble failure={doing.failure} />
      <Fields entry={entry} set={set} tried={tried} />
      <PlaceChoice
        testId="webhook-organisation"
        value={entry.organisation}
        change={(organisation) => set({ organisation })}
      />
      <Save busy={doing.busy} />
    </Form>
  );
}

interface ChangeProps {
  row: Webhook;
  changed: (row: Webhook) => void;
  removed: () => void;
}

function Change({ row, changed, removed }: ChangeProps) {
  const words = useHouseWords();
  const { name, url, types } = row;
  const { entry, set, changes, clear } = useEdits({ name, url, types, room: row.room ?? "" });
  const doing = useDoing();
  const params = { path: { id: row.id } };
  const save = async () => {
    if (!isWhole(entry)) return;
    const { room, ...rest } = changes;
    const body = room === undefined ? rest : { ...rest, room: room || null };
    const none = Object.keys(body).length === 0;
    await doing.act(
      async () => {
        if (none) return;
        const made = await ask(api.PATCH("/api/v1/webhooks/{id}", { params, body }));
        clear();
        changed(made);
      },
      none ? words.unchanged : words.saved,
    );
  };
  const remove = async () => {
    if (await doing.act(() => ask(api.DELETE("/api/v1/webhooks/{id}", { params })))) removed();
  };
  return (
    <Form submit={() => void save()}>
      <Trouble failure={doing.failure} />
      <Fields entry={entry} set={set} tried />
      <small>{words.webhooks.takeOver}</small>
      <SaveRow doing={doing} />
      <div className="acts end">
        <Remove question={words.webhooks.ask(row.name)} act={remove} busy={doing.busy} />
      </div>
    </Form>
  );
}
