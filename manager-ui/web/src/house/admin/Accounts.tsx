import { useState } from "react";
import Button from "antd/es/button";
import { api, ask, type Account } from "../api";
import { useDoing, useEdits, useHouseWords } from "../hooks";
import { isName, isUser } from "../logic";
import { Field, Form, Remove, Save, SaveRow, State, Trouble } from "../parts";
import { AccountShares } from "./AccountShares";
import type { SectionProps } from "./Admin";
import { isForeign, organisationName, placeToBegin, useDirectory } from "./directory";
import { Chosen, Listing, ToldOnce, useListed, useToldOnce } from "./Listing";
import { PlaceChoice } from "./PlaceChoice";
import { Named, Source } from "./Source";

/** Accounts with which SIP terminals register. */
export function Accounts({ me, place, move }: SectionProps) {
  const words = useHouseWords();
  const directory = useDirectory();
  const told = useToldOnce(place.chosen);
  const list = useListed(
    "account",
    { place, move },
    (query) => ask(api.GET("/api/v1/accounts", { params: { query } })),
    accountOf,
  );
  const manage = directory.may("accounts.manage");
  return (
    <>
      <Listing
        title={words.sections.accounts}
        filter={{ label: words.accounts.filter, ...list.filter }}
        fresh={manage && words.accounts.fresh}
        place={place}
        move={move}
        columns={[
          { title: words.accounts.user, cell: (row) => row.user },
          { title: words.name, cell: (row) => <Named row={row} /> },
          { title: words.state, cell: (row) => <AccountState row={row} /> },
          {
            title: words.place,
            cell: (row) => organisationName(directory, row.organisation),
            wide: true,
          },
        ]}
        {...list.table}
      />
      <Chosen
        title={words.sections.accounts}
        fresh={{
          title: words.accounts.fresh,
          form: (
            <New
              at={placeToBegin(directory, place.at ?? me.organisation)}
              made={(id, password) => {
                list.made(id);
                told.tell(id, password);
              }}
            />
          ),
        }}
        place={place}
        move={move}
        shown={list.shown}
        failure={list.failure}
        titleOf={(row) => row.name || row.user}
      >
        {(row) => (
          <>
            <Source row={row} />
            <dl className="facts">
              <dt>{words.accounts.user}</dt>
              <dd>{row.user}</dd>
            </dl>
            <ToldOnce why={words.accounts.keep} secret={told.of(row.id)} testId="account-password" />
            {manage && !row.of_file && !isForeign(directory, row.organisation) && (
              <Change
                row={row}
                changed={list.changed}
                told={(password) => told.tell(row.id, password)}
                removed={list.removed}
              />
            )}
          </>
        )}
      </Chosen>
    </>
  );
}

const accountOf = (id: string) =>
  ask(api.GET("/api/v1/accounts/{id}", { params: { path: { id } } }));

function AccountState({ row }: { row: Account }) {
  const words = useHouseWords();
  return (
    <State kind={row.has_password ? "good" : "bad"}>
      {row.has_password ? words.accounts.usable : words.accounts.noPassword}
    </State>
  );
}

interface NewProps {
  at: string;
  /** With the password that the server made. */
  made: (id: string, password?: string | null) => void;
}

function New({ at, made }: NewProps) {
  const words = useHouseWords();
  const { entry, set, clear } = useEdits({ user: "", name: "", organisation: at });
  const [tried, setTried] = useState(false);
  const doing = useDoing();
  const submit = async () => {
    setTried(true);
    if (!isUser(entry.user) || !isName(entry.name)) return;
    await doing.act(async () => {
      const account = await ask(api.POST("/api/v1/accounts", { body: entry }));
      clear();
      made(account.id, account.password);
    });
  };
  return (
    <Form submit={() => void submit()}>
      <p className="hint">{words.accounts.why}</p>
      <Trouble failure={doing.failure} />
      <Field
        label={words.accounts.user}
        testId="account-user"
        hint={words.accounts.userHint}
        value={entry.user}
        change={(user) => set({ user })}
        wrong={tried && !isUser(entry.user) ? words.accounts.userHint : ""}
      />
      <Field
        label={words.name}
        testId="account-name"
        value={entry.name}
        change={(name) => set({ name })}
        wrong={tried && !isName(entry.name) ? words.nameWrong : ""}
      />
      <PlaceChoice
        testId="account-organisation"
        value={entry.organisation}
        change={(organisation) => set({ organisation })}
      />
      <Save busy={doing.busy} />
    </Form>
  );
}

interface ChangeProps {
  row: Account;
  changed: (row: Account) => void;
  told: (password: string) => void;
  removed: () => void;
}

function Change({ row, changed, told, removed }: ChangeProps) {
  const words = useHouseWords();
  const { name, organisation } = row;
  const { entry, set, changes, clear } = useEdits({ name, organisation });
  const doing = useDoing();
  const params = { path: { id: row.id } };
  const save = async () => {
    if (!isName(entry.name)) return;
    const none = Object.keys(changes).length === 0;
    await doing.act(async () => {
      if (none) return;
      const made = await ask(api.PATCH("/api/v1/accounts/{id}", { params, body: changes }));
      clear();
      changed(made);
    }, none ? words.unchanged : words.saved);
  };
  const renew = async () => {
    await doing.act(async () => {
      const { password, ...made } = await ask(
        api.PUT("/api/v1/accounts/{id}/password", { params, body: {} }),
      );
      if (password) told(password);
      changed(made);
    }, words.people.passwordSet);
  };
  const remove = async () => {
    if (await doing.act(() => ask(api.DELETE("/api/v1/accounts/{id}", { params })))) removed();
  };
  return (
    <Form submit={() => void save()}>
      <Trouble failure={doing.failure} />
      <Field
        label={words.name}
        testId="account-name"
        value={entry.name}
        change={(name) => set({ name })}
        wrong={isName(entry.name) ? "" : words.nameWrong}
      />
      <PlaceChoice
        testId="account-organisation"
        value={entry.organisation}
        change={(organisation) => set({ organisation })}
      />
      <SaveRow doing={doing} />
      <div className="acts end">
        <Button data-testid="renew" onClick={() => void renew()}>
          {words.accounts.renew}
        </Button>
        <Remove question={words.accounts.ask(row.user)} act={remove} busy={doing.busy} />
      </div>
      <small>{words.accounts.renewHint}</small>
      <AccountShares id={row.id} home={row.organisation} />
    </Form>
  );
}
