import { useEffect, useState } from "react";
import Button from "antd/es/button";
import { api, ask, type Account } from "../api";
import { useChosen, useDelayed, useDoing, useEdits, useHouseWords, usePages } from "../hooks";
import { newsOf, useLive } from "../live";
import { isName, isUser } from "../logic";
import { Done, Field, Form, Loading, State, Sure, Trouble } from "../parts";
import { AccountShares } from "./AccountShares";
import type { SectionProps } from "./Admin";
import { organisationName, placeToBegin, useDirectory } from "./directory";
import { Panel } from "./Panel";
import { PlaceChoice } from "./PlaceChoice";
import { Named, Source } from "./Source";
import { Table } from "./Table";

/** Accounts with which SIP terminals register. */
export function Accounts({ me, place, move }: SectionProps) {
  const words = useHouseWords();
  const directory = useDirectory();
  const [filter, setFilter] = useState("");
  // A password that the server made is told once, and must outlive the form that asked for it.
  const [told, setTold] = useState<{ id: string; password: string } | null>(null);
  // And no longer than somebody looks at it.
  useEffect(() => setTold((last) => (last?.id === place.chosen ? last : null)), [place.chosen]);
  const q = useDelayed(filter.trim());
  const pages = usePages(
    (after) => ask(api.GET("/api/v1/accounts", { params: { query: { after, q, limit: 50 } } })),
    `accounts ${q}`,
  );
  const one = useChosen("account", place.chosen, accountOf);
  useLive(newsOf("account"), () => {
    pages.again();
    one.again();
  });
  const shown = one.value ?? pages.items?.find((row) => row.id === place.chosen);
  const close = () => move({ chosen: null });
  const manage = directory.may("accounts.manage");
  return (
    <>
      <div className="middle">
        <div className="tools">
          <Field label={words.accounts.filter} testId="filter" value={filter} change={setFilter} />
          {manage && (
            <Button type="primary" data-testid="new" onClick={() => move({ chosen: "new" })}>
              {words.accounts.fresh}
            </Button>
          )}
        </div>
        <Trouble failure={pages.failure} />
        {!pages.items ? (
          !pages.failure && <Loading />
        ) : (
          <Table
            caption={words.sections.accounts}
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
        <Panel title={words.accounts.fresh} chosen="new" close={close}>
          <New
            at={placeToBegin(directory, place.at ?? me.organisation)}
            made={(id, password) => {
              pages.again();
              move({ chosen: id });
              setTold(password ? { id, password } : null);
            }}
          />
        </Panel>
      )}
      {place.chosen && place.chosen !== "new" && !shown && (
        <Panel title={words.sections.accounts} chosen={place.chosen} close={close}>
          <Loading failure={one.failure} />
        </Panel>
      )}
      {shown && (
        <Panel key={shown.id} title={shown.name || shown.user} chosen={shown.id} close={close}>
          <Source row={shown} />
          <dl className="facts">
            <dt>{words.accounts.user}</dt>
            <dd>{shown.user}</dd>
          </dl>
          {told?.id === shown.id && (
            <div role="status">
              <p>{words.accounts.keep}</p>
              <code className="told" data-testid="account-password">
                {told.password}
              </code>
            </div>
          )}
          {manage && !shown.of_file && (
            <Change
              row={shown}
              changed={(row) => {
                one.put(row);
                pages.again();
              }}
              told={(password) => setTold({ id: shown.id, password })}
              removed={() => {
                pages.again();
                close();
              }}
            />
          )}
        </Panel>
      )}
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
      <Button type="primary" htmlType="submit" data-testid="save" loading={doing.busy}>
        {words.save}
      </Button>
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
      <div className="acts">
        <Button type="primary" htmlType="submit" data-testid="save" loading={doing.busy}>
          {words.save}
        </Button>
        <Done text={doing.done} />
      </div>
      <div className="acts end">
        <Button data-testid="renew" onClick={() => void renew()}>
          {words.accounts.renew}
        </Button>
        <Sure
          label={words.remove}
          question={words.accounts.ask(row.user)}
          act={() => void remove()}
          busy={doing.busy}
          testId="remove"
        />
      </div>
      <small>{words.accounts.renewHint}</small>
      <AccountShares id={row.id} home={row.organisation} />
    </Form>
  );
}
