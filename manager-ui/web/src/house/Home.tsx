import { useEffect, useState } from "react";
import Button from "antd/es/button";
import { EnterRoom } from "../pages/Landing";
import { api, ask, health, type Failure, type Health, type Me } from "./api";
import { useHouseWords, useLoad, usePages } from "./hooks";
import { landingOf, sectionsOf } from "./logic";
import { Link, Loading, State, Trouble, type Go } from "./parts";

interface Props {
  me: Me | null;
  /** Why it is not known who it is. Rooms can be entered all the same. */
  failure: Failure | undefined;
  go: Go;
}

/** The first page of whoever is logged in, or of nobody. */
export function Home({ me, failure, go }: Props) {
  const words = useHouseWords();
  const shown = landingOf(me?.rights ?? null);
  return (
    <div className={me ? "stack welcomed" : "stack"}>
      <Trouble failure={failure} />
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
  const pages = usePages(
    (after) => ask(api.GET("/api/v1/rooms", { params: { query: { after, limit: 50 } } })),
    "own rooms",
  );
  // The configuration file's stands for one that is not in force.
  const rooms = pages.items?.filter((room) => room.in_force);
  if (rooms?.length === 0) return null;
  return (
    <section className="card">
      <h2>{words.sections.rooms}</h2>
      {!rooms && <Loading failure={pages.failure} />}
      <div className="doors" data-testid="own-rooms">
        {rooms?.map(({ id, number, name }) => (
          <Link key={id} to={`/room/${encodeURIComponent(number)}`} go={go}>
            {number} {name}
          </Link>
        ))}
      </div>
      {pages.more && (
        <Button data-testid="more-rooms" onClick={pages.more} loading={pages.busy}>
          {words.more}
        </Button>
      )}
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

/** Between two counts. */
const COUNT_MS = 30000;

function FailedLogins({ go }: { go: Go }) {
  const words = useHouseWords();
  const loaded = useLoad(() => ask(api.GET("/api/v1/audit/counts")), "failed", COUNT_MS);
  const { failed_logins = 0, since_ms = 0 } = loaded.value ?? {};
  return (
    <Count
      label={words.home.failedLogins}
      count={loaded.value && failed_logins}
      failure={loaded.failure}
      see={{
        to: `/admin/audit?action=login_failed&from=${since_ms}`,
        label: words.home.seeFailed,
      }}
      go={go}
    />
  );
}

function LockedPeople({ go }: { go: Go }) {
  const words = useHouseWords();
  const loaded = useLoad(() => ask(api.GET("/api/v1/people/counts")), "locked", COUNT_MS);
  return (
    <Count
      label={words.home.lockedPeople}
      count={loaded.value?.locked}
      failure={loaded.failure}
      see={{ to: "/admin/people", label: words.home.seeLocked }}
      go={go}
    />
  );
}

function Count(props: {
  label: string;
  count: number | undefined;
  failure: Failure | undefined;
  see: { to: string; label: string };
  go: Go;
}) {
  const { count, failure } = props;
  return (
    <li>
      <span>{props.label}</span>
      {count === undefined && !failure && <Loading />}
      {count !== undefined && <State kind={count > 0 ? "bad" : "good"}>{count}</State>}
      {count !== undefined && count > 0 && (
        <Link to={props.see.to} go={props.go}>
          {props.see.label}
        </Link>
      )}
      <Trouble failure={failure} />
    </li>
  );
}
