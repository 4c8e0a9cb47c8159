import { useState } from "react";
import { api, ask, type Trunk, type TrunkState } from "../api";
import { useDoing, useEdits, useHouseWords, useLoad, useMoment } from "../hooks";
import { newsOf, useLive } from "../live";
import {
  emptyTrunk,
  entryOf,
  isPrefix,
  isTrunkAddress,
  isTrunkName,
  numbersOf,
  trunkBody,
  type TrunkEntry,
} from "../logic.trunks";
import {
  Choice,
  Field,
  Form,
  PasswordField,
  Remove,
  Save,
  SaveRow,
  State,
  Switch,
  Trouble,
} from "../parts";
import type { SectionProps } from "./Admin";
import { organisationName, placeToBegin, useDirectory } from "./directory";
import { Chosen, Listing } from "./Listing";
import { PlaceChoice } from "./PlaceChoice";

/** How often it is asked how trunks do, in milliseconds. */
const LOOK_MS = 5000;

/** Other servers that calls come from and go to. */
export function Trunks({ me, place, move }: SectionProps) {
  const words = useHouseWords();
  const directory = useDirectory();
  const all = useLoad(() => ask(api.GET("/api/v1/trunks")), "trunks", LOOK_MS);
  useLive(newsOf("trunk"), all.again);
  const rows = all.value?.items;
  const manage = directory.may("trunks.manage");
  const ofFile = all.value?.of_file ?? [];
  return (
    <>
      <Listing
        title={words.sections.trunks}
        fresh={manage && words.trunks.fresh}
        place={place}
        move={move}
        columns={[
          { title: words.trunks.name, cell: (row) => row.name },
          { title: words.trunks.address, cell: (row) => row.address },
          { title: words.trunks.prefix, cell: (row) => row.prefix ?? words.none },
          { title: words.state, cell: (row) => <TrunkShown state={row.state} /> },
          {
            title: words.place,
            cell: (row) => organisationName(directory, row.organisation),
            wide: true,
          },
        ]}
        rows={rows}
        failure={all.failure}
      >
        {ofFile.length > 0 && (
          <>
            <h2>{words.trunks.ofFile}</h2>
            <dl className="facts" data-testid="of-file">
              {ofFile.map(({ name, state }) => [
                <dt key={name}>{name}</dt>,
                <dd key={`${name} state`}>
                  <TrunkShown state={state} />
                </dd>,
              ])}
            </dl>
          </>
        )}
      </Listing>
      <Chosen
        title={words.sections.trunks}
        fresh={{
          title: words.trunks.fresh,
          form: (
            <New
              at={placeToBegin(directory, place.at ?? me.organisation)}
              made={(id) => {
                all.again();
                move({ chosen: id });
              }}
            />
          ),
        }}
        place={place}
        move={move}
        shown={rows?.find((row) => row.id === place.chosen)}
        failure={all.failure}
        titleOf={(row) => row.name}
      >
        {(row) => (
          <>
            <dl className="facts">
              <dt>{words.state}</dt>
              <dd data-testid="trunk-state">
                <TrunkShown state={row.state} />
              </dd>
            </dl>
            {manage && (
              <Change
                row={row}
                changed={all.again}
                removed={() => {
                  all.again();
                  move({ chosen: null });
                }}
              />
            )}
          </>
        )}
      </Chosen>
    </>
  );
}

/** How a trunk does, by word and colour; since when, and why not. */
function TrunkShown({ state }: { state: TrunkState | null | undefined }) {
  const words = useHouseWords();
  const moment = useMoment();
  if (!state) return <State kind="off">{words.trunks.unknown}</State>;
  const { registered, since_ms, failure } = state;
  if (typeof registered !== "boolean") {
    return <State kind="off">{words.trunks.notRegistering}</State>;
  }
  return (
    <>
      <State kind={registered ? "good" : "bad"}>
        {registered ? words.trunks.registered : words.trunks.notRegistered}
      </State>{" "}
      {since_ms && <small>{words.trunks.since(moment(since_ms))}</small>}{" "}
      {!registered && failure && <small lang="en">{failure}</small>}
    </>
  );
}

function New({ at, made }: { at: string; made: (id: string) => void }) {
  const words = useHouseWords();
  const { entry, set, clear } = useEdits(emptyTrunk(at));
  const [password, setPassword] = useState("");
  const [tried, setTried] = useState(false);
  const doing = useDoing();
  const submit = async () => {
    setTried(true);
    if (!isRight(entry)) return;
    await doing.act(async () => {
      const body = { ...trunkBody(entry), ...entryNames(entry), password: password || null };
      const trunk = await ask(api.POST("/api/v1/trunks", { body }));
      clear();
      made(trunk.id);
    });
  };
  return (
    <Form submit={() => void submit()}>
      <p className="hint">{words.trunks.why}</p>
      <Trouble failure={doing.failure} />
      <Fields entry={entry} set={set} tried={tried} password={password} setPassword={setPassword} />
      <Save busy={doing.busy} />
    </Form>
  );
}

interface ChangeProps {
  row: Trunk;
  changed: () => void;
  removed: () => void;
}

function Change({ row, changed, removed }: ChangeProps) {
  const words = useHouseWords();
  const { entry, set, changes, clear } = useEdits(entryOf(row));
  const [password, setPassword] = useState("");
  const doing = useDoing();
  const params = { path: { id: row.id } };
  const save = async () => {
    if (!isRight(entry)) return;
    const none = Object.keys(changes).length === 0 && !password;
    await doing.act(async () => {
      if (none) return;
      const body = { ...trunkBody(changes), ...(password ? { password } : {}) };
      await ask(api.PATCH("/api/v1/trunks/{id}", { params, body }));
      clear();
      setPassword("");
      changed();
    }, none ? words.unchanged : words.saved);
  };
  const remove = async () => {
    if (await doing.act(() => ask(api.DELETE("/api/v1/trunks/{id}", { params })))) removed();
  };
  return (
    <Form submit={() => void save()}>
      <Trouble failure={doing.failure} />
      <Fields
        entry={entry}
        set={set}
        tried
        password={password}
        setPassword={setPassword}
        kept={row.has_password}
      />
      <SaveRow doing={doing} />
      <div className="acts end">
        <Remove question={words.trunks.ask(row.name)} act={remove} busy={doing.busy} />
      </div>
    </Form>
  );
}

const isRight = (entry: TrunkEntry) =>
  isTrunkName(entry.name) &&
  isTrunkAddress(entry.address) &&
  isPrefix(entry.prefix) &&
  isPrefix(entry.prepend) &&
  numbersOf(entry.numbers) !== null;

const entryNames = ({ name, organisation, address }: TrunkEntry) => ({ name, organisation, address });

interface FieldsProps {
  entry: TrunkEntry;
  set: (change: Partial<TrunkEntry>) => void;
  tried: boolean;
  password: string;
  setPassword: (password: string) => void;
  /** There is a password, which is not shown. */
  kept?: boolean;
}

function Fields({ entry, set, tried, password, setPassword, kept }: FieldsProps) {
  const { trunks, place } = useHouseWords();
  const wrong = (right: boolean, why: string) => (tried && !right ? why : "");
  return (
    <>
      <Field
        label={trunks.name}
        testId="trunk-name"
        hint={trunks.nameHint}
        value={entry.name}
        change={(name) => set({ name })}
        wrong={wrong(isTrunkName(entry.name), trunks.nameHint)}
      />
      <PlaceChoice
        label={place}
        testId="trunk-organisation"
        value={entry.organisation}
        change={(organisation) => set({ organisation })}
      />
      <Field
        label={trunks.address}
        testId="trunk-address"
        hint={trunks.addressHint}
        value={entry.address}
        change={(address) => set({ address: address.trim() })}
        wrong={wrong(isTrunkAddress(entry.address), trunks.addressHint)}
      />
      <Choice
        label={trunks.transport}
        testId="trunk-transport"
        value={entry.transport}
        change={(transport) => set({ transport })}
        options={["", "udp", "tcp", "tls"].map((value) => ({
          value,
          label: value ? value.toUpperCase() : trunks.byDns,
        }))}
      />
      <Field
        label={trunks.domain}
        testId="trunk-domain"
        hint={trunks.domainHint}
        value={entry.domain}
        change={(domain) => set({ domain: domain.trim() })}
      />
      <Field
        label={trunks.user}
        testId="trunk-user"
        value={entry.user}
        change={(user) => set({ user: user.trim() })}
      />
      <PasswordField
        label={trunks.password}
        testId="trunk-password"
        hint={kept ? trunks.passwordKept : undefined}
        autoComplete="new-password"
        value={password}
        change={setPassword}
      />
      <Field
        label={trunks.realm}
        testId="trunk-realm"
        hint={trunks.realmHint}
        value={entry.realm}
        change={(realm) => set({ realm })}
      />
      <Switch
        label={trunks.register}
        testId="trunk-register"
        value={entry.register}
        change={(register) => set({ register })}
      />
      <h3>{trunks.outgoing}</h3>
      <Field
        label={trunks.prefix}
        testId="trunk-prefix"
        hint={trunks.prefixHint}
        value={entry.prefix}
        change={(prefix) => set({ prefix: prefix.trim() })}
        wrong={wrong(isPrefix(entry.prefix), trunks.prefixWrong)}
      />
      <Field
        label={trunks.prepend}
        testId="trunk-prepend"
        hint={trunks.prependHint}
        value={entry.prepend}
        change={(prepend) => set({ prepend: prepend.trim() })}
        wrong={wrong(isPrefix(entry.prepend), trunks.prefixWrong)}
      />
      <h3>{trunks.incoming}</h3>
      <Field
        label={trunks.sources}
        testId="trunk-sources"
        hint={trunks.sourcesHint}
        value={entry.sources}
        change={(sources) => set({ sources })}
      />
      <Field
        label={trunks.numbers}
        testId="trunk-numbers"
        hint={trunks.numbersHint}
        value={entry.numbers}
        change={(numbers) => set({ numbers })}
        wrong={wrong(numbersOf(entry.numbers) !== null, trunks.numbersWrong)}
      />
    </>
  );
}
