import { useEffect, useRef, type ReactNode } from "react";
import { api, ask, type System as View } from "../api";
import { useHouseWords, useLoad, useMoment } from "../hooks";
import { busyShare, sizeText, spanText } from "../logic.system";
import { Loading, State, Trouble } from "../parts";
import { Ports } from "./Ports";

/** Between two looks. */
const LOOK_MS = 3000;
const DAY_MS = 24 * 60 * 60 * 1000;
/** A certificate that ends sooner wants somebody to look after it. */
const EXPIRES_SOON_DAYS = 14;

type Process = View["processes"][number];

/** The server itself, as it is now. */
export function System() {
  const words = useHouseWords();
  const loaded = useLoad(() => ask(api.GET("/api/v1/system")), "system");
  const { again, value } = loaded;
  const shown = useRef<{ now?: View; before?: View }>({});
  if (value && value !== shown.current.now) {
    shown.current = { now: value, before: shown.current.now };
  }
  useEffect(() => {
    const timer = setInterval(() => {
      if (document.visibilityState === "visible") again();
    }, LOOK_MS);
    return () => clearInterval(timer);
  }, [again]);
  const { now, before } = shown.current;
  return (
    <div className="middle">
      <Trouble failure={loaded.failure} />
      {!now && !loaded.failure && <Loading />}
      {now && (
        <>
          <Processes now={now} before={before} />
          <Ports now={now} again={again} />
          <div className="system-cards">
            <Capacity now={now} />
            <Certificate now={now} />
            <Keeping now={now} />
            <Versions now={now} />
          </div>
          <p className="hint">{words.system.live}</p>
        </>
      )}
    </div>
  );
}

function Processes({ now, before }: { now: View; before: View | undefined }) {
  const words = useHouseWords().system;
  const { database } = now;
  return (
    <section>
      <h2>{words.processes}</h2>
      <table data-testid="processes">
        <caption className="hidden">{words.processes}</caption>
        <thead>
          <tr>
            <th scope="col">{words.process}</th>
            <th scope="col">{words.uptime}</th>
            <th scope="col" title={words.restartsHint}>
              {words.restarts}
            </th>
            <th scope="col">{words.cpu}</th>
            <th scope="col" className="wide-only">
              {words.memory}
            </th>
            <th scope="col" className="wide-only">
              {words.version}
            </th>
          </tr>
        </thead>
        <tbody>
          {now.processes.map((process) => (
            <One key={process.name} process={process} now={now} before={before} />
          ))}
          <tr data-testid="process-database">
            <th scope="row">
              {words.names.database} <PartState state={database.state} />
            </th>
            <td colSpan={5}>
              {database.latency_ms == null
                ? words.databaseAway
                : words.latency(database.latency_ms.toFixed(1))}
            </td>
          </tr>
        </tbody>
      </table>
    </section>
  );
}

function One(props: { process: Process; now: View; before: View | undefined }) {
  const words = useHouseWords().system;
  const { name, state, figures } = props.process;
  const last = props.before?.processes.find((one) => one.name === name)?.figures;
  const passed = props.before ? props.now.now_ms - props.before.now_ms : 0;
  const busy = figures && last ? busyShare(figures.cpu_ms - last.cpu_ms, passed) : undefined;
  return (
    <tr data-testid={`process-${name}`}>
      <th scope="row">
        {words.names[name] ?? name} <PartState state={state} />
      </th>
      {figures ? (
        <>
          <td>{spanText(figures.uptime_s, words)}</td>
          <td>{figures.restarts}</td>
          <td>{busy ?? "…"}</td>
          <td className="wide-only">{sizeText(figures.memory_bytes)}</td>
          <td className="wide-only">{figures.version}</td>
        </>
      ) : (
        <td colSpan={5}>{words.unknown}</td>
      )}
    </tr>
  );
}

function PartState({ state }: { state: Process["state"] }) {
  const words = useHouseWords().system;
  return <State kind={state === "ready" ? "good" : "bad"}>{words.states[state]}</State>;
}

/** A card with names and what they are. */
function Card(props: { title: string; testId: string; children: ReactNode }) {
  return (
    <section className="card" data-testid={props.testId}>
      <h2>{props.title}</h2>
      <dl className="facts">{props.children}</dl>
    </section>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}

function Capacity({ now }: { now: View }) {
  const words = useHouseWords().system;
  const { legs, max_legs, port_pairs_used, port_pairs, disk, ...other } = now.capacity;
  const of = (used: number | null | undefined, all: number | null | undefined, name: string) =>
    used == null || all == null ? (
      words.unknown
    ) : (
      <>
        {words.used(String(used), String(all))} <Meter share={used / (all || 1)} name={name} />
      </>
    );
  return (
    <Card title={words.capacity} testId="capacity">
      <Fact name={words.legs}>{of(legs, max_legs, words.legs)}</Fact>
      <Fact name={words.rooms}>{other.rooms ?? words.unknown}</Fact>
      <Fact name={words.ports}>{of(port_pairs_used, port_pairs, words.ports)}</Fact>
      <Fact name={words.registered}>{other.registered_accounts ?? words.unknown}</Fact>
      <Fact name={words.disk}>
        {disk ? (
          <>
            {words.free(sizeText(disk.free_bytes), sizeText(disk.total_bytes))}{" "}
            <Meter share={1 - disk.free_bytes / disk.total_bytes} name={words.disk} />
          </>
        ) : (
          words.unknown
        )}
      </Fact>
      <Fact name={words.processors}>{other.processors}</Fact>
    </Card>
  );
}

/** How much of something is used; what counts is said in words beside it. */
function Meter({ share, name }: { share: number; name: string }) {
  return <meter min={0} max={1} high={0.9} optimum={0} value={share} aria-label={name} />;
}

function Certificate({ now }: { now: View }) {
  const words = useHouseWords().system;
  const moment = useMoment();
  const certificate = now.certificate;
  if (!certificate) {
    return (
      <section className="card" data-testid="certificate">
        <h2>{words.certificate}</h2>
        <p>{words.noCertificate}</p>
      </section>
    );
  }
  const days = Math.floor((certificate.not_after_ms - now.now_ms) / DAY_MS);
  return (
    <Card title={words.certificate} testId="certificate">
      <Fact name={words.expires}>
        {moment(certificate.not_after_ms)}{" "}
        <State kind={days >= EXPIRES_SOON_DAYS ? "good" : "bad"}>
          {days < 0 ? words.expired : words.daysLeft(String(days))}
        </State>
      </Fact>
      <Fact name={words.subject}>{certificate.subject}</Fact>
      <Fact name={words.issuer}>
        {certificate.self_signed ? <State kind="off">{words.selfSigned}</State> : certificate.issuer}
      </Fact>
      <Fact name={words.hosts}>{certificate.names.join(", ")}</Fact>
    </Card>
  );
}

function Keeping({ now }: { now: View }) {
  const words = useHouseWords().system;
  const moment = useMoment();
  const { backups, record } = now;
  const overdue =
    backups && now.now_ms - (backups.last_ms ?? 0) > 2 * 1000 * backups.every_s;
  return (
    <Card title={words.keeping} testId="keeping">
      <Fact name={words.backup}>
        {!backups && <State kind="off">{words.noBackups}</State>}
        {backups && (backups.last_ms == null ? words.noBackup : moment(backups.last_ms))}{" "}
        {backups && backups.last_ms != null && words.kept(String(backups.kept))}{" "}
        {overdue && <State kind="bad">{words.overdue}</State>}
      </Fact>
      <Fact name={words.record}>{record.entries ?? words.unknown}</Fact>
      <Fact name={words.checkpoint}>
        {record.checkpoint
          ? words.signed(String(record.checkpoint.seq), moment(record.checkpoint.at_ms))
          : words.noCheckpoint}
      </Fact>
      {record.log_host && (
        <Fact name={words.logHost}>
          <PartState state={record.log_host.state} /> {words.sent(String(record.log_host.sent))}
        </Fact>
      )}
    </Card>
  );
}

function Versions({ now }: { now: View }) {
  const words = useHouseWords().system;
  const { program, database, tables, libavcodec } = now.versions;
  return (
    <Card title={words.versions} testId="versions">
      <Fact name={words.program}>{program}</Fact>
      <Fact name={words.database}>{database ?? words.unknown}</Fact>
      <Fact name={words.tables}>{tables ?? words.unknown}</Fact>
      <Fact name={words.libavcodec}>{libavcodec ?? words.unknown}</Fact>
    </Card>
  );
}
