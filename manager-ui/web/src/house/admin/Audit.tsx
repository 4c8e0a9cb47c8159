import { useState } from "react";
import Button from "antd/es/button";
import { api, ask, type Entry, type Right } from "../api";
import { useDelayed, useHouseWords, useMoment, usePages, useZone } from "../hooks";
import { dateField, differences } from "../logic";
import { Choice, Field, Loading, State, Trouble } from "../parts";
import type { HouseWords } from "../words";
import type { SectionProps } from "./Admin";
import { organisationMark, roleName, short, useDirectory, type Directory } from "./directory";
import { Panel } from "./Panel";
import { Table } from "./Table";

interface Filters {
  from: string;
  to: string;
  actor: string;
  action: string;
  object: string;
}

const EMPTY: Filters = { from: "", to: "", actor: "", action: "", object: "" };

/** As a field for a date and a time gives it, in the time of the browser. */
const millis = (text: string) => (text ? new Date(text).getTime() : undefined);

const asQuery = ({ from, to, actor, action, object }: Filters) => ({
  from_ms: millis(from),
  to_ms: millis(to),
  actor: actor.trim() || undefined,
  action: action || undefined,
  object: object.trim() || undefined,
});

/** The record of what was done. */
export function Audit({ place, move, search }: SectionProps) {
  const words = useHouseWords();
  const directory = useDirectory();
  const moment = useMoment(true);
  const zone = useZone();
  const [filters, setFilters] = useState<Filters>(() => {
    const wanted = new URLSearchParams(search);
    const from_ms = Number(wanted.get("from"));
    const from = from_ms > 0 && from_ms < 8e15 ? dateField(from_ms) : "";
    return { ...EMPTY, from, action: wanted.get("action") ?? "" };
  });
  const wanted = useDelayed(JSON.stringify(filters));
  const pages = usePages((next) => {
    const query = {
      before: next ? Number(next) : undefined,
      limit: 50,
      ...asQuery(JSON.parse(wanted) as Filters),
    };
    return ask(api.GET("/api/v1/audit", { params: { query } }));
  }, `audit ${wanted}`);
  const chosen = pages.items?.find((entry) => String(entry.seq) === place.chosen);
  return (
    <>
      <div className="middle">
        <FilterBar filters={filters} change={setFilters} />
        <Trouble failure={pages.failure} />
        {!pages.items ? (
          !pages.failure && <Loading />
        ) : (
          <Table
            caption={words.sections.audit}
            columns={[
              { title: `${words.audit.time} (${zone})`, cell: (entry) => moment(entry.at_ms) },
              { title: words.audit.who, cell: (entry) => actorName(entry, words) },
              { title: words.audit.what, cell: (entry) => <What entry={entry} /> },
              {
                title: words.audit.to_what,
                cell: (entry) => objectName(entry, directory, words),
                wide: true,
              },
            ]}
            rows={pages.items}
            idOf={(entry) => String(entry.seq)}
            chosen={place.chosen}
            choose={(id) => move({ chosen: id })}
            more={pages.more}
            busy={pages.busy}
          />
        )}
        <TakeAway filters={JSON.parse(wanted) as Filters} />
        <p className="hint">
          {words.audit.zone(Intl.DateTimeFormat().resolvedOptions().timeZone)} {words.audit.looked}
        </p>
      </div>
      {chosen && (
        <One
          entry={chosen}
          close={() => move({ chosen: null })}
          only={(object) => setFilters({ ...EMPTY, object })}
        />
      )}
    </>
  );
}

/** All that the filters show, as a file. */
function TakeAway({ filters }: { filters: Filters }) {
  const words = useHouseWords();
  const address = (format: string) => {
    const query = new URLSearchParams({ format });
    for (const [key, value] of Object.entries(asQuery(filters))) {
      if (value !== undefined && !Number.isNaN(value)) query.set(key, String(value));
    }
    return `/api/v1/audit/export?${query}`;
  };
  return (
    <p className="take">
      {words.audit.take}:{" "}
      <a href={address("csv")} download data-testid="export-csv">
        {words.audit.table}
      </a>{" "}
      <a href={address("ndjson")} download data-testid="export-ndjson">
        {words.audit.lines}
      </a>{" "}
      <a href={address("atna")} download data-testid="export-atna">
        {words.audit.messages}
      </a>
    </p>
  );
}

function FilterBar({ filters, change }: { filters: Filters; change: (to: Filters) => void }) {
  const words = useHouseWords();
  const set = (part: Partial<Filters>) => change({ ...filters, ...part });
  const field = (key: keyof Filters) => ({
    testId: `audit-${key}`,
    value: filters[key],
    change: (value: string) => set({ [key]: value }),
  });
  const actions = Object.entries(words.actions).map(([value, label]) => ({ value, label }));
  return (
    <div className="tools filters">
      <Field {...field("from")} label={words.audit.from} type="datetime-local" />
      <Field {...field("to")} label={words.audit.to} type="datetime-local" />
      <Field {...field("actor")} label={words.audit.actor} />
      <Choice
        {...field("action")}
        label={words.audit.action}
        options={[{ value: "", label: words.audit.any }, ...actions]}
      />
      <Field {...field("object")} label={words.audit.object} />
      <Button data-testid="clear" onClick={() => change(EMPTY)}>
        {words.audit.clear}
      </Button>
    </div>
  );
}

function What({ entry }: { entry: Entry }) {
  const words = useHouseWords();
  const bad = entry.action === "login_failed";
  return (
    <State kind={bad ? "bad" : entry.action === "view" ? "off" : "good"}>
      {words.actions[entry.action] ?? entry.action}
    </State>
  );
}

function actorName({ actor_name, actor }: Entry, words: HouseWords): string {
  if (actor) return actor_name;
  return actor_name === "server" ? words.audit.itself : words.audit.nobody;
}

/** What it was done to, by its name where there is one. */
function objectName(entry: Entry, directory: Directory, words: HouseWords): string {
  const kind = words.objects[entry.object_kind] ?? entry.object_kind;
  return [kind, nameOf(entry, directory, words)].filter(Boolean).join(": ");
}

function nameOf(entry: Entry, directory: Directory, words: HouseWords): string {
  const { object, object_kind } = entry;
  if (!object || object_kind === "session") return "";
  const told = (entry.after ?? entry.before ?? {}) as Record<string, unknown>;
  if (object_kind === "meeting" && typeof told.number === "string") return told.number;
  for (const key of ["login", "name"]) {
    if (typeof told[key] === "string" && object_kind !== "role") return told[key];
  }
  if (object_kind === "organisation") return organisationMark(directory, object);
  if (object_kind === "role") {
    return typeof told.name === "string" ? told.name : roleName(directory, object, words);
  }
  return short(object);
}

interface OneProps {
  entry: Entry;
  close: () => void;
  only: (object: string) => void;
}

function One({ entry, close, only }: OneProps) {
  const words = useHouseWords();
  const directory = useDirectory();
  const moment = useMoment(true);
  const { object } = entry;
  const rows = differences(entry.before, entry.after);
  const text = (field: string, value: unknown) =>
    field.endsWith("_ms") && typeof value === "number"
      ? moment(value)
      : valueText(field, value, directory, words);
  return (
    <Panel title={words.audit.entry(String(entry.seq))} chosen={String(entry.seq)} close={close}>
      <dl className="facts">
        <dt>{words.audit.time}</dt>
        <dd>{moment(entry.at_ms)}</dd>
        <dt>{words.audit.who}</dt>
        <dd>{actorName(entry, words)}</dd>
        <dt>{words.audit.source}</dt>
        <dd>{entry.source ?? words.none}</dd>
        <dt>{words.audit.what}</dt>
        <dd>
          <What entry={entry} />
        </dd>
        <dt>{words.audit.to_what}</dt>
        <dd>{objectName(entry, directory, words)}</dd>
        {entry.organisation && (
          <>
            <dt>{words.place}</dt>
            <dd>{organisationMark(directory, entry.organisation)}</dd>
          </>
        )}
        <dt>{words.audit.hash}</dt>
        <dd>
          <code>{entry.hash.slice(0, 16)}…</code>
        </dd>
      </dl>
      {rows.length === 0 ? (
        <p>{words.audit.noChange}</p>
      ) : (
        <table className="differences" data-testid="differences">
          <thead>
            <tr>
              <th scope="col">{words.audit.field}</th>
              <th scope="col">{words.audit.before}</th>
              <th scope="col">{words.audit.after}</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ field, before, after, changed }) => (
              <tr key={field} className={changed ? "changed" : undefined}>
                <th scope="row">{words.fields[field] ?? field}</th>
                <td>{text(field, before)}</td>
                <td>{text(field, after)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {object && (
        <Button data-testid="only" onClick={() => only(object)}>
          {words.audit.onlyThis}
        </Button>
      )}
    </Panel>
  );
}

/** A value of the record as people read it. */
function valueText(field: string, value: unknown, directory: Directory, words: HouseWords): string {
  if (value === undefined || value === null) return "–";
  if (typeof value === "boolean") return value ? words.yes : words.no;
  if (Array.isArray(value)) {
    return value.map((one) => words.rights[one as Right] ?? String(one)).join("; ");
  }
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  if (field === "organisation" || field === "parent" || field === "shared_with") {
    return organisationMark(directory, text);
  }
  if (field === "reason") return words.reasons[text] ?? text;
  if (field === "source") return words.sources[text] ?? text;
  if (field === "srtp") return words.rooms.srtps[text as keyof HouseWords["rooms"]["srtps"]] ?? text;
  if (field === "person" || field === "guest_link") return short(text);
  if (field === "role") return roleName(directory, text, words);
  if (field === "kind") return words.kinds[text as keyof HouseWords["kinds"]] ?? text;
  if (field === "effect") return text === "deny" ? words.people.deny : words.people.allow;
  return text;
}
