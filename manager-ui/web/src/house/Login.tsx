import { useEffect, useState } from "react";
import Button from "antd/es/button";
import { api, ask, Failure } from "./api";
import { useDoing, useHouseWords, useSession } from "./hooks";
import { safeReturn } from "./logic";
import { Field, Form, PasswordField, Trouble, type Go } from "./parts";

/** What a provider's way back told of, where nobody was proved. */
function told(): Failure | undefined {
  const why = new URLSearchParams(globalThis.location?.search).get("problem");
  if (why === "provider_away") return new Failure(503, why);
  return why === "provider_refused" ? new Failure(403, why) : undefined;
}

/** Where to go once the provider has sent the browser back, which is always to `/`. */
const FROM = "consilium.from";

/** Goes where somebody wanted to before the provider was asked who it is. */
export function returnAfterProvider(go: Go): void {
  const from = sessionStorage.getItem(FROM);
  sessionStorage.removeItem(FROM);
  if (from) go(safeReturn(from), true);
}

/** Login and password. `from` is where to go after it, where the provider is asked. */
export function Login({ from }: { from: string }) {
  const words = useHouseWords();
  const { refresh } = useSession();
  const [login, setLogin] = useState("");
  const [password, setPassword] = useState("");
  // Asked for once the server says that it wants one.
  const [code, setCode] = useState<string | null>(null);
  const [tried, setTried] = useState(false);
  const doing = useDoing();
  const [ways, setWays] = useState<readonly ("oidc" | "saml")[]>([]);
  useEffect(() => {
    // Whoever cannot be told of other ways logs in by password.
    ask(api.GET("/api/v1/login-methods")).then(
      (told) => setWays((["oidc", "saml"] as const).filter((way) => told[way])),
      () => setWays([]),
    );
  }, []);
  const submit = async () => {
    setTried(true);
    if (!login.trim() || !password) return;
    const body = { login, password, code: code?.trim() || undefined };
    await doing.act(async () => {
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
  };
  const keep = () => sessionStorage.setItem(FROM, from);
  return (
    <Form className="card landing" submit={() => void submit()}>
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
      {ways.map((way) => (
        <Button key={way} data-testid={`by-${way}`} size="large" href={`/login/${way}`} block onClick={keep}>
          {ways.length > 1 ? words.byProviderOf(way.toUpperCase()) : words.byProvider}
        </Button>
      ))}
    </Form>
  );
}
