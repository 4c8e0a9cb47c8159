import { lazy, Suspense, useRef, useState } from "react";
import Button from "antd/es/button";
import { api, ask } from "./api";
import { useDoing, useHouseWords, useLoad } from "./hooks";
import { Done, Field, Form, Loading, PasswordField, State, Trouble } from "./parts";

// It is large, and drawn once in years.
const QRCode = lazy(() => import("antd/es/qr-code"));

interface Told {
  secret: string;
  uri: string;
}

/** One's own second factor: the codes of a program on one's telephone (RFC 6238). */
export function Authenticator() {
  const words = useHouseWords();
  const loaded = useLoad(() => ask(api.GET("/api/v1/session/authenticator")), "authenticator");
  const [told, setTold] = useState<Told | null>(null);
  const [codes, setCodes] = useState<string[] | null>(null);
  const state = loaded.value;
  // The form that had the focus gives way to another.
  const heading = useRef<HTMLHeadingElement>(null);
  const confirmed = (fresh: string[]) => {
    setTold(null);
    setCodes(fresh);
    heading.current?.focus();
    loaded.again();
  };
  const removed = () => {
    setCodes(null);
    heading.current?.focus();
    loaded.again();
  };
  return (
    <section className="card wide">
      <h2 ref={heading} tabIndex={-1}>
        {words.authenticator.title}
      </h2>
      {!state && <Loading failure={loaded.failure} />}
      {state && (
        <p>
          <State kind={state.confirmed ? "good" : "off"}>
            {state.confirmed ? words.authenticator.on : words.authenticator.off}
          </State>{" "}
          {state.confirmed && words.authenticator.left(String(state.recovery_codes))}
        </p>
      )}
      {codes && <RecoveryCodes codes={codes} />}
      {state?.confirmed && <Remove removed={removed} />}
      {state && !state.confirmed && !told && <Begin begun={setTold} />}
      {state && !state.confirmed && told && <Confirm told={told} confirmed={confirmed} />}
    </section>
  );
}

function Begin({ begun }: { begun: (told: Told) => void }) {
  const words = useHouseWords();
  const [password, setPassword] = useState("");
  const doing = useDoing();
  const submit = async () => {
    if (!password) return;
    await doing.act(async () => {
      begun(await ask(api.POST("/api/v1/session/authenticator", { body: { password } })));
    });
  };
  return (
    <Form submit={() => void submit()}>
      <p>{words.authenticator.why}</p>
      <Trouble failure={doing.failure} />
      <PasswordField
        label={words.passwords.own}
        testId="authenticator-password"
        autoComplete="current-password"
        value={password}
        change={setPassword}
      />
      <Button htmlType="submit" data-testid="authenticator-begin" loading={doing.busy}>
        {words.authenticator.begin}
      </Button>
    </Form>
  );
}

function Confirm(props: { told: Told; confirmed: (codes: string[]) => void }) {
  const words = useHouseWords();
  const [code, setCode] = useState("");
  const doing = useDoing();
  const submit = async () => {
    await doing.act(async () => {
      const body = { code: code.trim() };
      const answer = await ask(api.PUT("/api/v1/session/authenticator", { body }));
      props.confirmed(answer.recovery_codes);
    });
  };
  return (
    <Form submit={() => void submit()}>
      <p>{words.authenticator.scan}</p>
      <Suspense fallback={<Loading />}>
        <QRCode
          type="svg"
          value={props.told.uri}
          size={180}
          bordered={false}
          aria-label={words.authenticator.picture}
        />
      </Suspense>
      <p>
        {words.authenticator.secret}{" "}
        <code data-testid="authenticator-secret">{props.told.secret}</code>
      </p>
      <Trouble failure={doing.failure} />
      <Field
        label={words.code}
        testId="authenticator-code"
        autoComplete="one-time-code"
        autoFocus
        value={code}
        change={setCode}
      />
      <Button
        type="primary"
        htmlType="submit"
        data-testid="authenticator-confirm"
        loading={doing.busy}
      >
        {words.authenticator.confirm}
      </Button>
    </Form>
  );
}

/** They are told once. */
function RecoveryCodes({ codes }: { codes: string[] }) {
  const words = useHouseWords();
  return (
    <div role="status">
      <p>{words.authenticator.keep}</p>
      <ul className="codes" data-testid="recovery-codes">
        {codes.map((code) => (
          <li key={code}>
            <code>{code}</code>
          </li>
        ))}
      </ul>
    </div>
  );
}

function Remove({ removed }: { removed: () => void }) {
  const words = useHouseWords();
  const [code, setCode] = useState("");
  const doing = useDoing();
  const submit = async () => {
    const body = { code: code.trim() };
    const post = () => ask(api.POST("/api/v1/session/authenticator/removal", { body }));
    if (await doing.act(post, words.removed)) removed();
  };
  return (
    <Form submit={() => void submit()}>
      <Trouble failure={doing.failure} />
      <Field
        label={words.code}
        hint={words.codeHint}
        testId="authenticator-last-code"
        autoComplete="one-time-code"
        value={code}
        change={setCode}
      />
      <div className="acts">
        <Button danger htmlType="submit" data-testid="authenticator-remove" loading={doing.busy}>
          {words.authenticator.remove}
        </Button>
        <Done text={doing.done} />
      </div>
    </Form>
  );
}
