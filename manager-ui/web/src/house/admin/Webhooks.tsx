import { useEffect, useRef, useState } from "react";
import Button from "antd/es/button";
import { api, ask, type Delivery, type EventType, type Webhook } from "../api";
import { useChosen, useDelayed, useDoing, useEdits, useHouseWords, useMoment, usePages } from "../hooks";
import { newsOf, useLive } from "../live";
import { isName, isNumber } from "../logic";
import { Choice, Done, Field, Form, Loading, State, Sure, Trouble } from "../parts";
import type { SectionProps } from "./Admin";
import { organisationName, placeToBegin, useDirectory } from "./directory";
import { Panel } from "./Panel";
import { PlaceChoice } from "./PlaceChoice";
import { Table } from "./Table";

/** Between two looks at what became of deliveries. */
const LOOK_MS = 5000;

/** Servers that are told of what happens. */
export function Webhooks({ me, place, move }: SectionProps) {
  const words = useHouseWords();
  const directory = useDirectory();
  const [filter, setFilter] = useState("");
  // A secret is told once, and must outlive the form that asked for it, but not whoever looks at it.
  const [told, setTold] = useState<{ id: string; secret: string } | null>(null);
  useEffect(() => setTold((last) => (last?.id === place.chosen ? last : null)), [place.chosen]);
  const q = useDelayed(filter.trim());
  const pages = usePages(
    (after) => ask(api.GET("/api/v1/webhooks", { params: { query: { after, q, limit: 50 } } })),
    `webhooks ${q}`,
  );
  const one = useChosen("webhook", place.chosen, webhookOf);
  const again = () => {
    pages.again();
    one.again();
  };
  useLive(newsOf("webhook"), again);
  const shown = one.value ?? pages.items?.find((row) => row.id === place.chosen);
  const close = () => move({ chosen: null });
  return (
    <>
      <div className="middle">
        <div className="tools">
          <Field label={words.webhooks.filter} testId="filter" value={filter} change={setFilter} />
          <Button type="primary" data-testid="new" onClick={() => move({ chosen: "new" })}>
            {words.webhooks.fresh}
          </Button>
        </div>
        <Trouble failure={pages.failure} />
        {!pages.items ? (
          !pages.failure && <Loading />
        ) : (
          <Table
            caption={words.sections.webhooks}
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
            rows={pages.items}
            idOf={(row) => row.id}
            chosen={place.chosen}
            choose={(id) => move({ chosen: id })}
            more={pages.more}
            busy={pages.busy}
          />
        )}
      </div>
      {place.chosen === "new" && (
        <Panel title={words.webhooks.fresh} chosen="new" close={close}>
          <New
            at={placeToBegin(directory, place.at ?? me.organisation)}
            made={(id, secret) => {
              pages.again();
              move({ chosen: id });
              setTold({ id, secret });
            }}
          />
        </Panel>
      )}
      {place.chosen && place.chosen !== "new" && !shown && (
        <Panel title={words.sections.webhooks} chosen={place.chosen} close={close}>
          <Loading failure={one.failure} />
        </Panel>
      )}
      {shown && (
        <Panel key={shown.id} title={shown.name} chosen={shown.id} close={close}>
          <p>
            <HookState row={shown} /> {words.webhooks.reasons[shown.state]}
          </p>
          {told?.id === shown.id && (
            <div role="status">
              <p>{words.webhooks.keep}</p>
              <code className="told" data-testid="webhook-secret">
                {told.secret}
              </code>
            </div>
          )}
          <Acts row={shown} again={again} told={(secret) => setTold({ id: shown.id, secret })} />
          <Deliveries key={shown.id} hook={shown} />
          <h3>{words.webhooks.settings}</h3>
          <Change
            row={shown}
            changed={(row) => {
              one.put(row);
              pages.again();
            }}
            removed={() => {
              pages.again();
              close();
            }}
          />
        </Panel>
      )}
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
  );
  const again = pages.again;
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === "visible" && again(), LOOK_MS);
    return () => clearInterval(timer);
  }, [again]);
  const retry = async ({ id }: Delivery) => {
    const params = { path: { ...path, delivery: id } };
    const send = () =>
      ask(api.POST("/api/v1/webhooks/{id}/deliveries/{delivery}/retry", { params }));
    if (!(await doing.act(send, words.webhooks.retried))) return;
    // The button is gone with what it was for.
    heading.current?.focus();
    again();
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
      <Button type="primary" htmlType="submit" data-testid="save" loading={doing.busy}>
        {words.save}
      </Button>
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
      <div className="acts">
        <Button type="primary" htmlType="submit" data-testid="save" loading={doing.busy}>
          {words.save}
        </Button>
        <Done text={doing.done} />
      </div>
      <div className="acts end">
        <Sure
          label={words.remove}
          question={words.webhooks.ask(row.name)}
          act={() => void remove()}
          busy={doing.busy}
          testId="remove"
        />
      </div>
    </Form>
  );
}
