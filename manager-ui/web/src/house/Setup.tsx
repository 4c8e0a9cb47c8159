import { useState } from "react";
import Alert from "antd/es/alert";
import Button from "antd/es/button";
import { api, ask } from "./api";
import { useDoing, useHouseWords, useSession } from "./hooks";
import { isLogin, isName, weakness } from "./logic";
import { Field, Form, PasswordField, Trouble, type Go } from "./parts";

const EMPTY = { organisation: "", login: "", name: "", password: "", repeat: "" };

/** The first administrator, by the link that the server wrote at its first start. */
export function Setup({ go }: { go: Go }) {
  const words = useHouseWords();
  const [secret] = useState(() => location.hash.slice(1));
  if (!secret) {
    return (
      <div className="card landing">
        <h1>{words.setup.title}</h1>
        <Alert type="warning" showIcon title={words.setup.noSecret} />
      </div>
    );
  }
  return <SetupForm secret={secret} go={go} />;
}

function SetupForm({ secret, go }: { secret: string; go: Go }) {
  const words = useHouseWords();
  const { refresh } = useSession();
  const [entry, setEntry] = useState(EMPTY);
  const [tried, setTried] = useState(false);
  const doing = useDoing();
  const { organisation, login, name, password, repeat } = entry;
  const wrong = {
    organisation: isName(organisation) ? "" : words.nameWrong,
    login: isLogin(login) ? "" : words.loginWrong,
    name: isName(name) ? "" : words.nameWrong,
    password: weakness(password, words),
    repeat: password === repeat ? "" : words.passwords.differ,
  };
  const submit = async () => {
    setTried(true);
    if (Object.values(wrong).some(Boolean)) return;
    const body = { secret, organisation, login, name, password };
    const done = await doing.act(async () => {
      await ask(api.POST("/api/v1/setup", { body }));
      await refresh();
    });
    // The link is used: it need not stay in the address, nor on the way back.
    if (done) go("/", true);
  };
  const field = (key: keyof typeof EMPTY) => ({
    testId: `setup-${key}`,
    value: entry[key],
    change: (value: string) => setEntry({ ...entry, [key]: value }),
    wrong: tried ? wrong[key] : "",
  });
  return (
    <Form className="card landing" submit={() => void submit()}>
      <h1>{words.setup.title}</h1>
      <p>{words.setup.text}</p>
      <Trouble failure={doing.failure} />
      <Field
        {...field("organisation")}
        label={words.setup.organisation}
        hint={words.setup.organisationHint}
        autoComplete="organization"
        autoFocus
      />
      <Field
        {...field("login")}
        label={words.setup.login}
        hint={words.loginHint}
        autoComplete="username"
      />
      <Field {...field("name")} label={words.setup.name} autoComplete="name" />
      <PasswordField
        {...field("password")}
        label={words.password}
        hint={words.passwords.rules}
        autoComplete="new-password"
      />
      <PasswordField
        {...field("repeat")}
        label={words.passwords.repeat}
        autoComplete="new-password"
      />
      <Button
        data-testid="set-up"
        type="primary"
        size="large"
        htmlType="submit"
        block
        loading={doing.busy}
      >
        {words.setup.submit}
      </Button>
    </Form>
  );
}
