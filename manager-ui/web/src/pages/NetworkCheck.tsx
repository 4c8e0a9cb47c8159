import { useCallback, useEffect, useRef, useState } from "react";
import Button from "antd/es/button";
import { useLanguage } from "../language";
import { check, judge, type Measured, type Outcome, type Reason } from "../network";
import type { Words } from "../words";
import { named } from "./doors";

/** Who comes to press "join" at once is not kept waiting by a check. */
const BEGIN_MS = 1_500;

interface Props {
  url: string;
  /** The microphone: its place is taken by silence. */
  sound: MediaStreamTrack | null;
  /** The browser has been asked for its devices. */
  ready: boolean;
}

/** Whether picture and sound get through, in plain words, with what was measured below. */
export function NetworkCheck({ url, sound, ready }: Props) {
  const { words } = useLanguage();
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  const [state, setState] = useState<"waits" | "runs" | "done">("waits");
  const running = useRef<AbortController | null>(null);
  const latest = useRef(sound);
  latest.current = sound;

  const run = useCallback(() => {
    running.current?.abort();
    const own = new AbortController();
    running.current = own;
    setState("runs");
    check(url, latest.current, own.signal).then(
      (measured) => {
        if (running.current !== own) return;
        setOutcome(measured);
        setState("done");
      },
      (error: unknown) => {
        if (running.current !== own) return;
        console.warn("network not checked", error);
        setOutcome("no-server");
        setState("done");
      },
    );
  }, [url]);

  useEffect(() => {
    if (!ready) return;
    const timer = setTimeout(run, BEGIN_MS);
    return () => clearTimeout(timer);
  }, [ready, run]);
  useEffect(
    () => () => {
      const own = running.current;
      running.current = null;
      own?.abort();
    },
    [],
  );

  return (
    <section className="network" aria-labelledby="network-title" data-testid="network" data-state={state}>
      <div className="network-line">
        <strong id="network-title">{words.network}</strong>
        <span role="status">
          {state === "waits" && words.networkWaits}
          {state === "runs" && words.networkRuns}
          {state === "done" && outcome && <Verdict outcome={outcome} words={words} />}
        </span>
        <Button size="small" data-testid="network-again" disabled={state === "runs"} onClick={run}>
          {words.networkAgain}
        </Button>
      </div>
      {state === "done" && outcome && <Figures outcome={outcome} words={words} />}
    </section>
  );
}

function Verdict({ outcome, words }: { outcome: Outcome; words: Words }) {
  if (outcome === "busy") return words.networkBusy;
  const { verdict } = judge(outcome);
  return (
    <span className={`verdict ${verdict}`} data-testid="verdict" data-verdict={verdict}>
      {words.verdicts[verdict]}
    </span>
  );
}

function Figures({ outcome, words }: { outcome: Outcome; words: Words }) {
  if (outcome === "busy") return null;
  const { reason } = judge(outcome);
  return (
    <small>
      {reasonText(reason, outcome, words)}
      {outcome !== "no-server" && outcome.path && <span className="figures">{figureText(outcome, words)}</span>}
    </small>
  );
}

function reasonText(reason: Reason, outcome: Exclude<Outcome, "busy">, words: Words): string {
  if (reason !== "blocked") return words.reasons[reason];
  return words.reasons.blocked(outcome === "no-server" ? "" : named(outcome.doors));
}

function figureText(measured: Measured, words: Words): string {
  const { figures } = words;
  const percent = (share: number | null) => (share === null ? "–" : (share * 100).toFixed(1));
  const kbit = (bps: number | null) => (bps === null ? "–" : Math.round(bps / 1000).toString());
  const said = [figures.path((measured.path ?? "").toUpperCase())];
  if (measured.roundTripMs !== null) {
    const ms = measured.roundTripMs;
    said.push(figures.roundTrip(ms < 1 ? "< 1" : ms.toFixed(0)));
  }
  said.push(figures.loss(percent(measured.lossUp), percent(measured.lossDown)));
  if (measured.pictures) said.push(figures.rate(kbit(measured.upBps), kbit(measured.downBps)));
  return said.join(" · ");
}
