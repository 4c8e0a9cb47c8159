import { useEffect, useState } from "react";
import Button from "antd/es/button";
import { api, ask, type Organisation } from "../api";
import { useDoing, useEdits, useHouseWords } from "../hooks";
import { isName } from "../logic";
import { Choice, Field, Form, Remove, Save, SaveRow, Trouble } from "../parts";
import type { SectionProps } from "./Admin";
import { organisationOptions, useDirectory } from "./directory";
import { Listing } from "./Listing";
import { Panel } from "./Panel";
import { Received } from "./Received";

type Kind = "region" | "hospital" | "department";
const KINDS: Kind[] = ["region", "hospital", "department"];

/** The tree of organisations: make, rename, move, remove. */
export function Organisations({ place, move }: SectionProps) {
  const words = useHouseWords();
  const directory = useDirectory();
  const [filter, setFilter] = useState("");
  const at = directory.organisations.find((row) => row.id === place.at);
  const wanted = filter.trim().toLowerCase();
  const rows = directory.organisations.filter(
    (row) =>
      (!at || (row.path.startsWith(at.path) && row.id !== at.id)) &&
      row.name.toLowerCase().includes(wanted),
  );
  const shown = directory.organisations.find((row) => row.id === (place.chosen ?? place.at));
  // What is chosen is read when it is: the list may be old.
  const { again } = directory;
  useEffect(() => {
    if (place.chosen && place.chosen !== "new") again();
  }, [place.chosen, again]);
  const kindOf = (row: Organisation) => words.kinds[row.kind as Kind];
  const above = (row: Organisation) =>
    !row.parent
      ? words.organisations.top
      : (directory.organisations.find((one) => one.id === row.parent)?.name ??
        words.organisations.hidden);
  return (
    <>
      <Listing
        title={words.sections.organisations}
        filter={{ label: words.filter, value: filter, change: setFilter }}
        fresh={directory.may("organisations.manage") && words.organisations.fresh}
        place={place}
        move={move}
        columns={[
          { title: words.name, cell: (row) => row.name },
          { title: words.kind, cell: (row) => <span className="word">{kindOf(row)}</span> },
          { title: words.organisations.below, cell: above, wide: true },
        ]}
        rows={rows}
      />
      {place.chosen === "new" ? (
        <New at={at ?? directory.organisations[0]} move={move} />
      ) : (
        shown && <One key={shown.id} row={shown} chosen={place.chosen} move={move} />
      )}
    </>
  );
}

const kindOptions = (words: ReturnType<typeof useHouseWords>) =>
  KINDS.map((value) => ({ value, label: words.kinds[value] }));

function New({ at, move }: { at: Organisation | undefined; move: SectionProps["move"] }) {
  const words = useHouseWords();
  const directory = useDirectory();
  const { entry, set, clear } = useEdits({
    name: "",
    kind: (at?.kind === "region" ? "hospital" : "department") as Kind,
    parent: at?.id ?? "",
  });
  const { name, kind, parent } = entry;
  const [tried, setTried] = useState(false);
  const doing = useDoing();
  const submit = async () => {
    setTried(true);
    if (!isName(name) || !parent) return;
    await doing.act(async () => {
      const made = await ask(api.POST("/api/v1/organisations", { body: entry }));
      clear();
      directory.put(made);
      move({ chosen: made.id });
    });
  };
  return (
    <Panel
      title={words.organisations.fresh}
      chosen="new"
      close={() => move({ chosen: null })}
    >
      <Form submit={() => void submit()}>
        <Trouble failure={doing.failure} />
        <Field
          label={words.name}
          testId="organisation-name"
          value={name}
          change={(name) => set({ name })}
          wrong={tried && !isName(name) ? words.nameWrong : ""}
        />
        <Choice
          label={words.kind}
          testId="organisation-kind"
          value={kind}
          change={(value) => set({ kind: value as Kind })}
          options={kindOptions(words)}
        />
        <Choice
          label={words.organisations.below}
          testId="organisation-parent"
          value={parent}
          change={(parent) => set({ parent })}
          options={organisationOptions(directory)}
        />
        <Save busy={doing.busy} />
      </Form>
    </Panel>
  );
}

interface OneProps {
  row: Organisation;
  chosen: string | null;
  move: SectionProps["move"];
}

function One({ row, chosen, move }: OneProps) {
  const words = useHouseWords();
  const directory = useDirectory();
  const manage = directory.may("organisations.manage");
  return (
    <Panel title={row.name} chosen={chosen} close={() => move({ chosen: null })}>
      {manage ? (
        <Change row={row} move={move} />
      ) : (
        <>
          <dl className="facts">
            <dt>{words.kind}</dt>
            <dd>{words.kinds[row.kind as Kind]}</dd>
          </dl>
          <p>{words.organisations.readOnly}</p>
        </>
      )}
      <Received organisation={row.id} />
      {directory.may("people.view") && (
        <Button
          data-testid="people-here"
          onClick={() => move({ section: "people", at: row.id, chosen: null })}
        >
          {words.organisations.people}
        </Button>
      )}
    </Panel>
  );
}

function Change({ row, move }: { row: Organisation; move: SectionProps["move"] }) {
  const words = useHouseWords();
  const directory = useDirectory();
  const { entry, set, changes, clear } = useEdits({
    name: row.name,
    kind: row.kind as Kind,
    parent: row.parent ?? "",
  });
  const doing = useDoing();
  const params = { path: { id: row.id } };
  const save = async () => {
    if (!isName(entry.name)) return;
    const none = Object.keys(changes).length === 0;
    await doing.act(async () => {
      if (none) return;
      const made = await ask(api.PATCH("/api/v1/organisations/{id}", { params, body: changes }));
      clear();
      directory.put(made);
    }, none ? words.unchanged : words.saved);
  };
  const remove = async () => {
    const done = await doing.act(() => ask(api.DELETE("/api/v1/organisations/{id}", { params })));
    if (!done) return;
    directory.again();
    move({ chosen: null, at: row.parent ?? null });
  };
  // Not below itself, and the one above stays to be seen where it is out of sight.
  const options = organisationOptions(directory).filter(({ value }) => {
    const path = directory.organisations.find((one) => one.id === value)?.path ?? "";
    return !path.startsWith(row.path);
  });
  if (row.parent && !options.some(({ value }) => value === row.parent)) {
    options.unshift({ value: row.parent, label: words.organisations.hidden });
  }
  return (
    <Form submit={() => void save()}>
      <Trouble failure={doing.failure} />
      <Field
        label={words.name}
        testId="organisation-name"
        value={entry.name}
        change={(name) => set({ name })}
        wrong={isName(entry.name) ? "" : words.nameWrong}
      />
      <Choice
        label={words.kind}
        testId="organisation-kind"
        value={entry.kind}
        change={(kind) => set({ kind: kind as Kind })}
        options={kindOptions(words)}
      />
      {row.parent && (
        <Choice
          label={words.organisations.below}
          testId="organisation-parent"
          value={entry.parent}
          change={(parent) => set({ parent })}
          options={options}
        />
      )}
      <SaveRow doing={doing}>
        {row.parent && (
          <Remove question={words.organisations.ask(row.name)} act={remove} busy={doing.busy} />
        )}
      </SaveRow>
    </Form>
  );
}
