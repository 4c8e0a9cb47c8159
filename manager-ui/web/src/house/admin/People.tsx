import { useState } from "react";
import Button from "antd/es/button";
import { api, ask, type Person } from "../api";
import { useDelayed, useDoing, useEdits, useHouseWords, useLoad, useMoment, usePages } from "../hooks";
import { newsOf, useLive } from "../live";
import { isLogin, isName, weakness } from "../logic";
import {
  Done,
  Field,
  Form,
  Loading,
  PasswordField,
  Remove,
  Save,
  SaveRow,
  State,
  Trouble,
} from "../parts";
import type { SectionProps } from "./Admin";
import { organisationName, placeToBegin, useDirectory } from "./directory";
import { Grants } from "./Grants";
import { Listing } from "./Listing";
import { Panel } from "./Panel";
import { PlaceChoice } from "./PlaceChoice";

/** People of an organisation and of all below it. */
export function People({ me, place, move }: SectionProps) {
  const words = useHouseWords();
  const directory = useDirectory();
  const moment = useMoment();
  const [filter, setFilter] = useState("");
  const q = useDelayed(filter.trim());
  const pages = usePages(
    (after) => {
      const query = { after, q, organisation: place.at ?? undefined, limit: 50 };
      return ask(api.GET("/api/v1/people", { params: { query } }));
    },
    `people ${place.at} ${q}`,
  );
  useLive(newsOf("person"), pages.again);
  const last = (row: Person) =>
    row.last_login_ms ? moment(row.last_login_ms) : words.people.never;
  return (
    <>
      <Listing
        title={words.sections.people}
        filter={{ label: words.filterPeople, value: filter, change: setFilter }}
        fresh={directory.may("people.manage") && words.people.fresh}
        place={place}
        move={move}
        columns={[
          { title: words.personName, cell: (row) => row.name },
          { title: words.login, cell: (row) => row.login },
          { title: words.state, cell: (row) => <PersonState row={row} /> },
          {
            title: words.place,
            cell: (row) => organisationName(directory, row.organisation),
            wide: true,
          },
          { title: words.people.lastLogin, cell: last, wide: true },
        ]}
        rows={pages.items}
        failure={pages.failure}
        more={pages.more}
        busy={pages.busy}
      />
      {place.chosen === "new" ? (
        <New at={placeToBegin(directory, place.at ?? me.organisation)} move={move} made={pages.again} />
      ) : (
        place.chosen && (
          <One
            key={place.chosen}
            id={place.chosen}
            isMe={place.chosen === me.person}
            move={move}
            changed={pages.again}
          />
        )
      )}
    </>
  );
}

function PersonState({ row }: { row: Person }) {
  const words = useHouseWords();
  const moment = useMoment();
  if (row.disabled) return <State kind="off">{words.people.disabled}</State>;
  if (row.locked_until_ms > Date.now()) {
    return <State kind="bad">{words.people.locked(moment(row.locked_until_ms))}</State>;
  }
  return <State kind="good">{words.people.active}</State>;
}

interface NewProps {
  at: string;
  move: SectionProps["move"];
  made: () => void;
}

function New({ at, move, made }: NewProps) {
  const words = useHouseWords();
  const blank = { login: "", name: "", password: "", organisation: at };
  const { entry, set, clear } = useEdits(blank);
  const [tried, setTried] = useState(false);
  const doing = useDoing();
  const wrong = {
    login: isLogin(entry.login) ? "" : words.loginWrong,
    name: isName(entry.name) ? "" : words.nameWrong,
    password: entry.password ? weakness(entry.password, words) : "",
  };
  const submit = async () => {
    setTried(true);
    if (Object.values(wrong).some(Boolean)) return;
    const body = { ...entry, password: entry.password || undefined };
    await doing.act(async () => {
      const person = await ask(api.POST("/api/v1/people", { body }));
      clear();
      made();
      move({ chosen: person.id });
    });
  };
  return (
    <Panel title={words.people.fresh} chosen="new" close={() => move({ chosen: null })}>
      <Form submit={() => void submit()}>
        <Trouble failure={doing.failure} />
        <Field
          label={words.personName}
          testId="person-name"
          value={entry.name}
          change={(name) => set({ name })}
          wrong={tried ? wrong.name : ""}
        />
        <Field
          label={words.login}
          testId="person-login"
          hint={words.loginHint}
          value={entry.login}
          change={(login) => set({ login })}
          wrong={tried ? wrong.login : ""}
        />
        <PlaceChoice
          testId="person-organisation"
          value={entry.organisation}
          change={(organisation) => set({ organisation })}
        />
        <PasswordField
          label={words.people.firstPassword}
          testId="person-password"
          hint={words.people.firstPasswordHint}
          autoComplete="new-password"
          value={entry.password}
          change={(password) => set({ password })}
          wrong={tried ? wrong.password : ""}
        />
        <Save busy={doing.busy} />
      </Form>
    </Panel>
  );
}

interface OneProps {
  id: string;
  isMe: boolean;
  move: SectionProps["move"];
  changed: () => void;
}

function One({ id, isMe, move, changed }: OneProps) {
  const words = useHouseWords();
  const directory = useDirectory();
  const params = { path: { id } };
  const loaded = useLoad(() => ask(api.GET("/api/v1/people/{id}", { params })), `person ${id}`);
  const row = loaded.value;
  const close = () => move({ chosen: null });
  if (!row) {
    return (
      <Panel title={words.sections.people} chosen={id} close={close}>
        <Loading failure={loaded.failure} />
      </Panel>
    );
  }
  const again = () => {
    loaded.again();
    changed();
  };
  const manage = directory.may("people.manage");
  return (
    <Panel title={row.name} chosen={id} close={close}>
      <p>
        <PersonState row={row} />
      </p>
      {isMe && <p className="hint">{words.people.oneself}</p>}
      {manage ? (
        <Details
          row={row}
          changed={(row) => {
            loaded.put(row);
            changed();
          }}
        />
      ) : (
        <dl className="facts">
          <dt>{words.login}</dt>
          <dd>{row.login}</dd>
          <dt>{words.place}</dt>
          <dd>{organisationName(directory, row.organisation)}</dd>
        </dl>
      )}
      <Grants person={row} manage={manage && !isMe} />
      {manage && !isMe && (
        <Reach
          row={row}
          changed={again}
          removed={() => {
            changed();
            close();
          }}
        />
      )}
    </Panel>
  );
}

function Details({ row, changed }: { row: Person; changed: (row: Person) => void }) {
  const words = useHouseWords();
  const { name, login, organisation } = row;
  const { entry, set, changes, clear } = useEdits({ name, login, organisation });
  const doing = useDoing();
  const save = async () => {
    if (!isName(entry.name) || !isLogin(entry.login)) return;
    const params = { path: { id: row.id } };
    const none = Object.keys(changes).length === 0;
    await doing.act(async () => {
      if (none) return;
      const made = await ask(api.PATCH("/api/v1/people/{id}", { params, body: changes }));
      clear();
      changed(made);
    }, none ? words.unchanged : words.saved);
  };
  return (
    <Form submit={() => void save()}>
      <Trouble failure={doing.failure} />
      <Field
        label={words.personName}
        testId="person-name"
        value={entry.name}
        change={(name) => set({ name })}
        wrong={isName(entry.name) ? "" : words.nameWrong}
      />
      <Field
        label={words.login}
        testId="person-login"
        value={entry.login}
        change={(login) => set({ login })}
        wrong={isLogin(entry.login) ? "" : words.loginWrong}
      />
      <PlaceChoice
          testId="person-organisation"
          value={entry.organisation}
          change={(organisation) => set({ organisation })}
        />
      <SaveRow doing={doing} />
    </Form>
  );
}

/** What keeps somebody out or lets them in: password, disabling, removing. */
function Reach(props: { row: Person; changed: () => void; removed: () => void }) {
  const words = useHouseWords();
  const { row } = props;
  const [password, setPassword] = useState("");
  const [tried, setTried] = useState(false);
  const doing = useDoing();
  const params = { path: { id: row.id } };
  const setNew = async () => {
    setTried(true);
    if (weakness(password, words)) return;
    const body = { password };
    const put = () => ask(api.PUT("/api/v1/people/{id}/password", { params, body }));
    if (await doing.act(put, words.people.passwordSet)) {
      setPassword("");
      setTried(false);
      props.changed();
    }
  };
  const disable = async () => {
    const body = { disabled: !row.disabled };
    const patch = () => ask(api.PATCH("/api/v1/people/{id}", { params, body }));
    if (await doing.act(patch, words.saved)) props.changed();
  };
  const removeAuthenticator = async () => {
    const remove = () => ask(api.DELETE("/api/v1/people/{id}/authenticator", { params }));
    if (await doing.act(remove, words.authenticator.removedFor)) props.changed();
  };
  const remove = async () => {
    if (await doing.act(() => ask(api.DELETE("/api/v1/people/{id}", { params })))) props.removed();
  };
  return (
    <>
      <h3>{words.people.setPassword}</h3>
      <Form submit={() => void setNew()}>
        <PasswordField
          label={words.passwords.fresh}
          testId="person-password"
          hint={words.people.setPasswordHint}
          autoComplete="new-password"
          value={password}
          change={setPassword}
          wrong={tried ? weakness(password, words) : ""}
        />
        <div className="acts">
          <Button htmlType="submit" data-testid="set-password" loading={doing.busy}>
            {words.people.setPassword}
          </Button>
        </div>
      </Form>
      <Trouble failure={doing.failure} />
      <Done text={doing.done} />
      <div className="acts end">
        {row.second_factor && (
          <Button
            data-testid="remove-authenticator"
            title={words.authenticator.removeForHint}
            onClick={() => void removeAuthenticator()}
          >
            {words.authenticator.removeFor}
          </Button>
        )}
        <Button data-testid="disable" title={words.people.disableHint} onClick={() => void disable()}>
          {row.disabled ? words.people.enable : words.people.disable}
        </Button>
        <Remove question={words.people.ask(row.name)} act={remove} busy={doing.busy} />
      </div>
      <p className="hint">{words.people.disableHint}</p>
    </>
  );
}
