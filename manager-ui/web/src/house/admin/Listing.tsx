import { useEffect, useState, type ReactNode } from "react";
import Button from "antd/es/button";
import type { Failure } from "../api";
import { useChosen, useDelayed, usePages } from "../hooks";
import { newsOf, useLive } from "../live";
import type { Page } from "../logic";
import { Field, Loading, Trouble } from "../parts";
import type { SectionProps } from "./Admin";
import { Panel } from "./Panel";
import { Table, type Column } from "./Table";

type At = Pick<SectionProps, "place" | "move">;

/** What is asked of a list, a page at a time. */
interface Query {
  after?: string;
  q: string;
  limit: number;
}

/** Nobody is told of what they see no more, as when a share ends: it is looked after so often. */
const LOOK_MS = 20_000;

/**
 * Rows of a kind as they are told of, narrowed by what is typed, and the one that is chosen. They are asked
 * for again after `every` milliseconds, too.
 */
export function useListed<T extends { id: string }>(
  kind: string,
  { place, move }: At,
  page: (query: Query) => Promise<Page<T>>,
  load: (id: string) => Promise<T>,
  every = LOOK_MS,
) {
  const [filter, setFilter] = useState("");
  const q = useDelayed(filter.trim());
  const pages = usePages((after) => page({ after, q, limit: 50 }), `${kind} ${q}`, every);
  const one = useChosen(kind, place.chosen, load, every);
  const again = () => {
    pages.again();
    one.again();
  };
  useLive(newsOf(kind), again);
  const { items: rows, failure, more, busy } = pages;
  // What was removed, or is shared no more, is not shown as if it were there.
  const isGone = one.failure?.status === 404 || one.failure?.status === 403;
  return {
    filter: { value: filter, change: setFilter },
    table: { rows, failure, more, busy },
    shown: isGone ? undefined : (one.value ?? rows?.find((row) => row.id === place.chosen)),
    /** Why what is chosen cannot be shown. */
    failure: one.failure,
    again,
    made(id: string) {
      pages.again();
      move({ chosen: id });
    },
    changed(row: T) {
      one.put(row);
      pages.again();
    },
    removed() {
      pages.again();
      move({ chosen: null });
    },
  };
}

interface ListingProps<T> extends At {
  title: string;
  filter?: { label: string; value: string; change: (value: string) => void };
  /** What makes another one; false for whoever may not. */
  fresh: string | false;
  columns: Column<T>[];
  /** None until they are there. */
  rows: readonly T[] | undefined;
  failure?: Failure;
  more?: () => void;
  busy?: boolean;
  /** What stands below them. */
  children?: ReactNode;
}

/** The rows of a section, below what narrows them and what makes another one. */
export function Listing<T extends { id: string }>(props: ListingProps<T>) {
  const { title, filter, fresh, place, move, columns, rows, failure, more, busy } = props;
  return (
    <div className="middle">
      <div className="tools">
        {filter && <Field {...filter} testId="filter" />}
        {fresh && (
          <Button type="primary" data-testid="new" onClick={() => move({ chosen: "new" })}>
            {fresh}
          </Button>
        )}
      </div>
      <Trouble failure={failure} />
      {!rows ? (
        !failure && <Loading />
      ) : (
        <Table
          caption={title}
          columns={columns}
          rows={rows}
          idOf={(row) => row.id}
          chosen={place.chosen}
          choose={(id) => move({ chosen: id })}
          more={more}
          busy={busy}
        />
      )}
      {props.children}
    </div>
  );
}

interface ChosenProps<T> extends At {
  /** Of the section. */
  title: string;
  /** The form of a new one, below its title. */
  fresh: { title: string; form: ReactNode };
  /** The row that is chosen, or why it is not there. */
  shown: T | undefined;
  failure: Failure | undefined;
  titleOf: (row: T) => string;
  children: (row: T) => ReactNode;
}

/** Beside the rows: a new one, or the one that is chosen. */
export function Chosen<T extends { id: string }>(props: ChosenProps<T>) {
  const { title, fresh, shown, place, move } = props;
  const close = () => move({ chosen: null });
  if (place.chosen === "new") {
    return (
      <Panel key="new" title={fresh.title} chosen="new" close={close}>
        {fresh.form}
      </Panel>
    );
  }
  if (shown) {
    return (
      <Panel key={shown.id} title={props.titleOf(shown)} chosen={shown.id} close={close}>
        {props.children(shown)}
      </Panel>
    );
  }
  if (!place.chosen) return null;
  return (
    <Panel key="none" title={title} chosen={place.chosen} close={close}>
      <Loading failure={props.failure} />
    </Panel>
  );
}

/** Something secret of a row that is told once: it outlives the form that asked for it, but not whoever looks. */
export function useToldOnce(chosen: string | null) {
  const [told, setTold] = useState<{ id: string; secret: string } | null>(null);
  useEffect(() => setTold((last) => (last?.id === chosen ? last : null)), [chosen]);
  return {
    of: (id: string) => (told?.id === id ? told.secret : undefined),
    tell: (id: string, secret: string | null | undefined) => setTold(secret ? { id, secret } : null),
  };
}

/** It, and that it is told only now. */
export function ToldOnce(props: { why: string; secret: string | undefined; testId: string }) {
  if (!props.secret) return null;
  return (
    <div role="status">
      <p>{props.why}</p>
      <code className="told" data-testid={props.testId}>
        {props.secret}
      </code>
    </div>
  );
}
