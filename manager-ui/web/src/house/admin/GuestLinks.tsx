import { useRef, useState } from "react";
import Button from "antd/es/button";
import { api, ask, type GuestLink } from "../api";
import { useDoing, useHouseWords, useLoad, useMoment } from "../hooks";
import { isName } from "../logic";
import { Choice, Done, Field, Form, Loading, State, Trouble } from "../parts";

const DAY_MS = 24 * 60 * 60 * 1000;
/** Between two looks. */
const LOOK_MS = 5000;
const DAYS = ["1", "7", "30", "365"];

/** Links by which guests enter a room. */
export function GuestLinks({ number }: { number: string }) {
  const words = useHouseWords();
  const params = { path: { number } };
  const loaded = useLoad(
    () => ask(api.GET("/api/v1/rooms/{number}/guest-links", { params })),
    `links ${number}`,
    LOOK_MS,
  );
  const [making, setMaking] = useState(false);
  const [told, setTold] = useState<string | null>(null);
  const doing = useDoing();
  // What is taken back takes its button along.
  const heading = useRef<HTMLHeadingElement>(null);
  const revoke = async ({ id }: GuestLink) => {
    const path = { number, link: id };
    const remove = () =>
      ask(api.DELETE("/api/v1/rooms/{number}/guest-links/{link}", { params: { path } }));
    if (await doing.act(remove, words.guestLinks.revokedNow)) {
      setTold(null);
      heading.current?.focus();
      loaded.again();
    }
  };
  const made = (path: string) => {
    setTold(location.origin + path);
    setMaking(false);
    loaded.again();
  };
  return (
    <>
      <h3 ref={heading} tabIndex={-1}>
        {words.guestLinks.title}
      </h3>
      <p>{words.guestLinks.why}</p>
      {!loaded.value && <Loading failure={loaded.failure} />}
      {loaded.value?.length === 0 && <p>{words.guestLinks.none}</p>}
      <ul className="grants" data-testid="guest-links">
        {loaded.value?.map((link) => (
          <One key={link.id} link={link} revoke={() => void revoke(link)} />
        ))}
      </ul>
      <Trouble failure={doing.failure} />
      <Done text={doing.done} />
      {told && <Told link={told} />}
      {making ? (
        <Make number={number} made={made} />
      ) : (
        <Button data-testid="new-guest-link" onClick={() => setMaking(true)}>
          {words.guestLinks.fresh}
        </Button>
      )}
    </>
  );
}

function Told({ link }: { link: string }) {
  const words = useHouseWords();
  const [copied, setCopied] = useState(false);
  const copy = () => void navigator.clipboard.writeText(link).then(() => setCopied(true));
  return (
    <div role="status">
      <p>{words.guestLinks.keep}</p>
      <code className="told" data-testid="guest-link">
        {link}
      </code>
      <div className="acts">
        <Button data-testid="copy-guest-link" onClick={copy}>
          {words.guestLinks.copy}
        </Button>
        <Done text={copied ? words.guestLinks.copied : ""} />
      </div>
    </div>
  );
}

function One({ link, revoke }: { link: GuestLink; revoke: () => void }) {
  const words = useHouseWords();
  const moment = useMoment();
  const name = link.name ?? words.guestLinks.anybody;
  const usedUp = link.max_uses != null && link.uses >= link.max_uses;
  const over = link.expires_ms <= Date.now();
  const state = () => {
    if (link.revoked_ms) return words.guestLinks.revoked;
    if (over) return words.guestLinks.over;
    return usedUp ? words.guestLinks.usedUp : words.guestLinks.valid;
  };
  const good = !link.revoked_ms && !over && !usedUp;
  return (
    <li>
      <span>
        <strong>{name}</strong> <State kind={good ? "good" : "off"}>{state()}</State>
        <small>{words.guestLinks.until(moment(link.expires_ms))}</small>
        <small>{words.guestLinks.used(String(link.uses), String(link.max_uses ?? ""))}</small>
      </span>
      {!link.revoked_ms && (
        <Button
          size="small"
          danger
          data-testid="revoke-guest-link"
          aria-label={words.guestLinks.revokeOf(name)}
          onClick={revoke}
        >
          {words.guestLinks.revoke}
        </Button>
      )}
    </li>
  );
}

function Make({ number, made }: { number: string; made: (path: string) => void }) {
  const words = useHouseWords();
  const [name, setName] = useState("");
  const [days, setDays] = useState("7");
  const [uses, setUses] = useState("1");
  const [tried, setTried] = useState(false);
  const doing = useDoing();
  const wrong = name.trim() && !isName(name) ? words.nameWrong : "";
  const submit = async () => {
    setTried(true);
    if (wrong) return;
    const body = {
      expires_ms: Date.now() + Number(days) * DAY_MS,
      ...(name.trim() && { name: name.trim() }),
      ...(uses && { max_uses: Number(uses) }),
    };
    const params = { path: { number } };
    await doing.act(async () =>
      made((await ask(api.POST("/api/v1/rooms/{number}/guest-links", { params, body }))).path),
    );
  };
  return (
    <Form className="landing give" submit={() => void submit()}>
      <Trouble failure={doing.failure} />
      <Field
        label={words.guestLinks.name}
        hint={words.guestLinks.nameHint}
        testId="guest-name"
        autoFocus
        value={name}
        change={setName}
        wrong={tried ? wrong : ""}
      />
      <Choice
        label={words.guestLinks.good}
        testId="guest-days"
        value={days}
        change={setDays}
        options={DAYS.map((value) => ({ value, label: words.guestLinks.goods[value] ?? value }))}
      />
      <Choice
        label={words.guestLinks.uses}
        testId="guest-uses"
        value={uses}
        change={setUses}
        options={[
          { value: "1", label: words.guestLinks.once },
          { value: "", label: words.guestLinks.any },
        ]}
      />
      <Button type="primary" htmlType="submit" data-testid="make-guest-link" loading={doing.busy}>
        {words.guestLinks.make}
      </Button>
    </Form>
  );
}
