import { useEffect, useState, type FormEvent } from "react";
import Button from "antd/es/button";
import { api, ask, Failure } from "./api";
import { useDoing, useHouseWords, useSession } from "./hooks";
import { Field, PasswordField, Trouble } from "./parts";

/** What a provider's way back told of, where nobody was proved. */
function told(): Failure | undefined {
  const why = new URLSearchParams(globalThis.location?.search).get("problem");
  if (why === "oidc_away") return new Failure(503, why);
  return why === "oidc_refused" ? new Failure(403, why) : undefined;
}

/** Login and password. `arrived` is called once the session is there. */
export function Login({ arrived }: { arrived: () => void }) {
  const words = useHouseWords();
  const { refresh } = useSession();
  const [login, setLogin] = useState("");
  const [password, setPassword] = useState("");
  // Asked for once the server says that it wants one.
  const [code, setCode] = useState<string | null>(null);
  const [tried, setTried] = useState(false);
  const doing = useDoing();
  const [provider, setProvider] = useState(false);
  useEffect(() => {
    // Whoever cannot be told of other ways logs in by password.
    ask(api.GET("/api/v1/login-methods")).then(
      (ways) => setProvider(ways.oidc),
      () => setProvider(false),
    );
  }, []);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setTried(true);
    if (!login.trim() || !password) return;
    const body = { login, password, code: code?.trim() || undefined };
    const done = await doing.act(async () => {
      try {
        await ask(api.POST("/api/v1/session", { body }));
      } catch (error) {
        const why = error instanceof Failure ? error.code : undefined;
        if (why === "second_factor_wanted" || why === "wrong_code") setCode("");
        else setPassword("");
        throw error;
      }
      await refresh();
    });
    if (done) arrived();
  };
  return (
    <form className="card landing" onSubmit={submit} noValidate>
      <h1>{words.logInTitle}</h1>
      <Trouble failure={doing.failure ?? (tried ? undefined : told())} />
      {code !== null && (
        <Field
          label={words.code}
          hint={words.codeHint}
          testId="code"
          autoComplete="one-time-code"
          autoFocus
          value={code}
          change={setCode}
        />
      )}
      <Field
        label={words.login}
        testId="login"
        autoComplete="username"
        autoFocus
        value={login}
        change={setLogin}
        wrong={tried && !login.trim() ? words.required : ""}
      />
      <PasswordField
        label={words.password}
        testId="password"
        autoComplete="current-password"
        value={password}
        change={setPassword}
        wrong={tried && !password && !doing.failure ? words.required : ""}
      />
      <Button
        data-testid="log-in"
        type="primary"
        size="large"
        htmlType="submit"
        block
        loading={doing.busy}
      >
        {words.logIn}
      </Button>
      {provider && (
        <Button data-testid="by-provider" size="large" href="/login/oidc" block>
          {words.byProvider}
        </Button>
      )}
    </form>
  );
}
