import { useRef, useState } from "react";
import Button from "antd/es/button";
import { api, ask, type Me, type OwnSession } from "./api";
import { useDoing, useHouseWords, useLoad, useMoment } from "./hooks";
import { agentName, weakness } from "./logic";
import { Authenticator } from "./Authenticator";
import { Done, Form, Loading, PasswordField, State, Trouble } from "./parts";
import { Tokens } from "./Tokens";

/** Who I am here, my password, and where I am logged in. */
export function Account({ me }: { me: Me }) {
  const words = useHouseWords();
  return (
    <div className="stack">
      <section className="card wide">
        <h1>{words.account.title}</h1>
        <dl className="facts">
          <dt>{words.personName}</dt>
          <dd>{me.name}</dd>
          <dt>{words.login}</dt>
          <dd>{me.login}</dd>
        </dl>
        <h2>{words.account.rights}</h2>
        {me.rights.length === 0 && <p>{words.account.noRights}</p>}
        <ul className="rights">
          {me.rights.map((right) => (
            <li key={right}>{words.rights[right]}</li>
          ))}
        </ul>
      </section>
      <OwnSessions />
      <OwnPassword />
      <Authenticator />
      <Tokens me={me} />
    </div>
  );
}

function OwnSessions() {
  const words = useHouseWords();
  const loaded = useLoad(() => ask(api.GET("/api/v1/sessions")), "sessions");
  const doing = useDoing();
  // What has ended takes its button along.
  const heading = useRef<HTMLHeadingElement>(null);
  const end = async (session: OwnSession) => {
    const params = { path: { id: session.id } };
    const ask_ = () => ask(api.DELETE("/api/v1/sessions/{id}", { params }));
    if (!(await doing.act(ask_, words.account.ended))) return;
    heading.current?.focus();
    loaded.again();
  };
  return (
    <section className="card wide">
      <h2 ref={heading} tabIndex={-1}>
        {words.account.sessions}
      </h2>
      <Trouble failure={doing.failure} />
      {!loaded.value ? (
        <Loading failure={loaded.failure} />
      ) : (
        <ul className="sessions" data-testid="sessions">
          {loaded.value.map((session) => (
            <OneSession key={session.id} session={session} end={() => void end(session)} />
          ))}
        </ul>
      )}
      <Done text={doing.done} />
    </section>
  );
}

function OneSession({ session, end }: { session: OwnSession; end: () => void }) {
  const words = useHouseWords();
  const moment = useMoment();
  const agent = agentName(session.agent) || words.account.unknownAgent;
  return (
    <li>
      <div>
        <strong>{agent}</strong> {session.own && <State kind="good">{words.account.own}</State>}
        <small>
          {words.account.address} {session.source} · {words.account.begun}{" "}
          {moment(session.created_ms)} · {words.account.seen} {moment(session.seen_ms)}
        </small>
      </div>
      {!session.own && (
        <Button data-testid="end-session" aria-label={words.account.endOf(agent)} onClick={end}>
          {words.account.end}
        </Button>
      )}
    </li>
  );
}

const EMPTY = { old: "", fresh: "", repeat: "" };

function OwnPassword() {
  const words = useHouseWords();
  const [entry, setEntry] = useState(EMPTY);
  const [tried, setTried] = useState(false);
  const doing = useDoing();
  const wrong = {
    old: entry.old ? "" : words.required,
    fresh: weakness(entry.fresh, words),
    repeat: entry.fresh === entry.repeat ? "" : words.passwords.differ,
  };
  const submit = async () => {
    setTried(true);
    if (Object.values(wrong).some(Boolean)) return;
    const body = { old: entry.old, new: entry.fresh };
    const put = () => ask(api.PUT("/api/v1/session/password", { body }));
    if (await doing.act(put, words.passwords.changed)) {
      setEntry(EMPTY);
      setTried(false);
    }
  };
  const field = (key: keyof typeof EMPTY) => ({
    testId: `password-${key}`,
    value: entry[key],
    change: (value: string) => setEntry({ ...entry, [key]: value }),
    wrong: tried ? wrong[key] : "",
  });
  const isOld = doing.failure?.code === "wrong_password";
  return (
    <section className="card wide">
      <h2>{words.passwords.change}</h2>
      <Form submit={() => void submit()}>
        {!isOld && <Trouble failure={doing.failure} />}
        <PasswordField
          {...field("old")}
          label={words.passwords.old}
          autoComplete="current-password"
          wrong={isOld ? words.passwords.wrongOld : field("old").wrong}
        />
        <PasswordField
          {...field("fresh")}
          label={words.passwords.fresh}
          hint={words.passwords.rules}
          autoComplete="new-password"
        />
        <PasswordField
          {...field("repeat")}
          label={words.passwords.repeat}
          autoComplete="new-password"
        />
        <Button data-testid="change-password" type="primary" htmlType="submit" loading={doing.busy}>
          {words.passwords.change}
        </Button>
        <Done text={doing.done} />
      </Form>
    </section>
  );
}
