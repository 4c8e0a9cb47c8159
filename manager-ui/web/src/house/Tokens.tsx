import { useRef, useState } from "react";
import Button from "antd/es/button";
import { api, ask, Failure, type Me, type Right, type Token } from "./api";
import { useDoing, useHouseWords, useLoad, useMoment } from "./hooks";
import { isName } from "./logic";
import { Choice, Done, Field, Form, Loading, PasswordField, State, Trouble } from "./parts";
import { RightsList } from "./RightsList";

/** Tokens with which programs ask in one's name (RFC 6750). */
export function Tokens({ me }: { me: Me }) {
  const words = useHouseWords();
  const loaded = useLoad(() => ask(api.GET("/api/v1/session/tokens")), "tokens");
  const [making, setMaking] = useState(false);
  const [told, setTold] = useState<{ id: string; token: string } | null>(null);
  const doing = useDoing();
  // What was revoked takes its button along.
  const heading = useRef<HTMLHeadingElement>(null);
  const revoke = async ({ id }: Token) => {
    const params = { path: { id } };
    const remove = () => ask(api.DELETE("/api/v1/session/tokens/{id}", { params }));
    if (!(await doing.act(remove, words.tokens.revokedNow))) return;
    setTold((last) => (last?.id === id ? null : last));
    heading.current?.focus();
    loaded.again();
  };
  const made = (token: { id: string; token: string }) => {
    setTold(token);
    setMaking(false);
    loaded.again();
  };
  return (
    <section className="card wide">
      <h2 ref={heading} tabIndex={-1}>
        {words.tokens.title}
      </h2>
      <p>{words.tokens.why}</p>
      {!loaded.value && <Loading failure={loaded.failure} />}
      <ul className="sessions" data-testid="tokens">
        {loaded.value?.map((token) => (
          <One key={token.id} token={token} revoke={() => void revoke(token)} />
        ))}
      </ul>
      <Trouble failure={doing.failure} />
      <Done text={doing.done} />
      {told && (
        <div role="status">
          <p>{words.tokens.keep}</p>
          <code className="told" data-testid="token">
            {told.token}
          </code>
        </div>
      )}
      {making ? (
        <Make me={me} made={made} />
      ) : (
        <Button data-testid="new-token" disabled={me.rights.length === 0} onClick={() => setMaking(true)}>
          {words.tokens.fresh}
        </Button>
      )}
    </section>
  );
}

function One({ token, revoke }: { token: Token; revoke: () => void }) {
  const words = useHouseWords();
  const moment = useMoment();
  const good = !token.revoked_ms && token.expires_ms > Date.now();
  const state = () => {
    if (token.revoked_ms) return words.tokens.revoked;
    return good ? words.tokens.good : words.tokens.over;
  };
  const seen = token.seen_ms ? `${words.account.seen} ${moment(token.seen_ms)}` : words.tokens.unused;
  return (
    <li>
      <div>
        <strong>{token.name}</strong> <State kind={good ? "good" : "off"}>{state()}</State>
        <small>
          {words.tokens.until(moment(token.expires_ms))} · {seen}
        </small>
        <small>{token.rights.map((right) => words.rights[right]).join("; ")}</small>
      </div>
      {good && (
        <Button data-testid="revoke-token" aria-label={words.tokens.revokeOf(token.name)} onClick={revoke}>
          {words.tokens.revoke}
        </Button>
      )}
    </li>
  );
}

const DAY_MS = 24 * 60 * 60 * 1000;
const DAYS = ["30", "90", "365"];

function Make({ me, made }: { me: Me; made: (token: { id: string; token: string }) => void }) {
  const words = useHouseWords();
  const [name, setName] = useState("");
  const [days, setDays] = useState("90");
  const [rights, setRights] = useState<readonly Right[]>([]);
  const [password, setPassword] = useState("");
  // Asked for once the server says that it wants one.
  const [code, setCode] = useState<string | null>(null);
  const hasPassword = me.source === "local" || me.source === "ldap";
  const [tried, setTried] = useState(false);
  const doing = useDoing();
  const submit = async () => {
    setTried(true);
    if (!isName(name) || rights.length === 0 || (hasPassword && !password)) return;
    const expires_ms = Date.now() + Number(days) * DAY_MS;
    const proof = hasPassword ? { password, code: code?.trim() || undefined } : {};
    const body = { name, rights: [...rights], expires_ms, ...proof };
    await doing.act(async () => {
      try {
        made(await ask(api.POST("/api/v1/session/tokens", { body })));
      } catch (error) {
        const why = error instanceof Failure ? error.code : undefined;
        if (why === "second_factor_wanted" || why === "wrong_code") setCode("");
        throw error;
      }
    });
  };
  return (
    <Form submit={() => void submit()}>
      <Trouble failure={doing.failure} />
      <Field
        label={words.tokens.name}
        testId="token-name"
        autoFocus
        value={name}
        change={setName}
        wrong={tried && !isName(name) ? words.nameWrong : ""}
      />
      <Choice
        label={words.tokens.validity}
        testId="token-days"
        value={days}
        change={setDays}
        options={DAYS.map((value) => ({ value, label: words.tokens.days(value) }))}
      />
      <RightsList
        legend={words.tokens.rights}
        rights={rights}
        change={setRights}
        own={me.rights}
        fixed={false}
        onlyOwn
      />
      {tried && rights.length === 0 && <small className="wrong" role="alert">{words.rolesPage.noRights}</small>}
      {hasPassword ? (
        <PasswordField
          label={words.passwords.own}
          testId="token-password"
          autoComplete="current-password"
          value={password}
          change={setPassword}
          wrong={tried && !password ? words.required : ""}
        />
      ) : (
        <p>
          {words.tokens.byProvider}{" "}
          <a href={`/login/${me.source}?anew`} data-testid="prove-anew">
            {words.tokens.proveAnew}
          </a>
        </p>
      )}
      {code !== null && (
        <Field
          label={words.code}
          hint={words.codeHint}
          testId="token-code"
          autoComplete="one-time-code"
          value={code}
          change={setCode}
        />
      )}
      <Button type="primary" htmlType="submit" data-testid="make-token" loading={doing.busy}>
        {words.tokens.make}
      </Button>
    </Form>
  );
}
