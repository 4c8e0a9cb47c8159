import { useEffect, useState } from "react";
import { EnterRoom } from "../pages/Landing";
import { all, api, ask, health, PAGE, type Failure, type Health, type Me } from "./api";
import { useHouseWords, useLoad } from "./hooks";
import { landingOf, sectionsOf } from "./logic";
import { Link, Loading, State, Trouble, type Go } from "./parts";

/** The first page of whoever is logged in, or of nobody. */
export function Home({ me, go }: { me: Me | null; go: Go }) {
  const words = useHouseWords();
  const shown = landingOf(me?.rights ?? null);
  return (
    <div className={me ? "stack welcomed" : "stack"}>
      {me && <h1 className="welcome">{words.home.welcome(me.name)}</h1>}
      {me?.rights.length === 0 && <p className="card wide">{words.home.noRole}</p>}
      {shown.attention && me && <Attention me={me} go={go} />}
      {shown.enter && (
        <EnterRoom go={go} hint={me ? undefined : words.home.guest} heading={me ? 2 : 1} />
      )}
      {shown.enter && me?.rights.includes("rooms.view") && <OwnRooms go={go} />}
      {shown.lectures && (
        <section className="card">
          <h2>{words.home.lectures}</h2>
          <p>{words.home.noLectures}</p>
        </section>
      )}
      {!me && (
        <p className="beside">
          {words.home.haveAccount}{" "}
          <Link to="/login" go={go} testId="to-login">
            {words.logIn}
          </Link>
        </p>
      )}
    </div>
  );
}

/** Rooms that may be seen, a click away. */
function OwnRooms({ go }: { go: Go }) {
  const words = useHouseWords();
  const query = { limit: 50 };
  const loaded = useLoad(() => ask(api.GET("/api/v1/rooms", { params: { query } })), "own rooms");
  const rooms = loaded.value?.items;
  if (rooms?.length === 0) return null;
  return (
    <section className="card">
      <h2>{words.sections.rooms}</h2>
      {!rooms && <Loading failure={loaded.failure} />}
      <div className="doors" data-testid="own-rooms">
        {rooms?.map(({ id, number, name }) => (
          <Link key={id} to={`/room/${encodeURIComponent(number)}`} go={go}>
            {number} {name}
          </Link>
        ))}
      </div>
    </section>
  );
}

function Attention({ me, go }: { me: Me; go: Go }) {
  const words = useHouseWords();
  return (
    <section className="card wide">
      <h2>{words.home.attention}</h2>
      <ul className="attention" data-testid="attention">
        <ServerState />
        {me.rights.includes("audit.view") && <FailedLogins go={go} />}
        {me.rights.includes("people.view") && <LockedPeople go={go} />}
      </ul>
      {sectionsOf(me.rights).length > 0 && <h2>{words.home.manage}</h2>}
      <div className="doors">
        {sectionsOf(me.rights).map((section) => (
          <Link key={section} to={`/admin/${section}`} go={go} testId={`door-${section}`}>
            {words.sections[section]}
          </Link>
        ))}
      </div>
    </section>
  );
}

/** Between two looks at the server's state. */
const LOOK_MS = 5000;

function ServerState() {
  const words = useHouseWords();
  const [state, setState] = useState<Health | Failure>();
  useEffect(() => {
    const look = () => void health().then(setState, setState);
    look();
    const timer = setInterval(look, LOOK_MS);
    return () => clearInterval(timer);
  }, []);
  const text = () => {
    if (!state) return words.loading;
    if (!("control" in state)) return words.home.serverAway;
    if (state.control !== "connected") return words.home.controlAway;
    return state.media === "connected" ? words.home.ready : words.home.mediaAway;
  };
  const good = state && "control" in state && state.status === "ok";
  return (
    <li aria-live="polite">
      <span>{words.home.server}</span>
      <State kind={good ? "good" : state ? "bad" : "off"}>{text()}</State>
      {good && (
        <small>
          {words.home.version} {state.version}
        </small>
      )}
    </li>
  );
}

const DAY_MS = 24 * 60 * 60 * 1000;
const MOST = 1000;

function FailedLogins({ go }: { go: Go }) {
  const words = useHouseWords();
  const [from_ms] = useState(() => Date.now() - DAY_MS);
  const query = { action: "login_failed", from_ms, limit: MOST };
  const loaded = useLoad(() => ask(api.GET("/api/v1/audit", { params: { query } })), "failed");
  const page = loaded.value;
  const count = page && `${page.items.length}${page.next ? "+" : ""}`;
  return (
    <Count
      label={words.home.failedLogins}
      count={count}
      failure={loaded.failure}
      bad={page !== undefined && page.items.length > 0}
      see={{ to: `/admin/audit?action=login_failed`, label: words.home.seeFailed }}
      go={go}
    />
  );
}

function LockedPeople({ go }: { go: Go }) {
  const words = useHouseWords();
  const loaded = useLoad(async () => {
    const people = await all((after) =>
      ask(api.GET("/api/v1/people", { params: { query: { after, limit: PAGE } } })),
    );
    return people.filter((person) => person.locked_until_ms > Date.now()).length;
  }, "locked");
  return (
    <Count
      label={words.home.lockedPeople}
      count={loaded.value?.toString()}
      failure={loaded.failure}
      bad={Boolean(loaded.value)}
      see={{ to: "/admin/people", label: words.home.seeLocked }}
      go={go}
    />
  );
}

function Count(props: {
  label: string;
  count: string | undefined;
  failure: Failure | undefined;
  bad: boolean;
  see: { to: string; label: string };
  go: Go;
}) {
  if (!props.count) {
    return (
      <li>
        <span>{props.label}</span>
        {props.failure ? <Trouble failure={props.failure} /> : <Loading />}
      </li>
    );
  }
  return (
    <li>
      <span>{props.label}</span>
      <State kind={props.bad ? "bad" : "good"}>{props.count}</State>
      {props.bad && (
        <Link to={props.see.to} go={props.go}>
          {props.see.label}
        </Link>
      )}
    </li>
  );
}
