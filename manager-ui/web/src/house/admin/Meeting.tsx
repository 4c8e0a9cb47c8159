import { useRef, useState } from "react";
import Button from "antd/es/button";
import { api, ask, type Leg, type Live } from "../api";
import { useDoing, useHouseWords, useLoad } from "../hooks";
import { useLive } from "../live";
import { qualityOf, warningsOf } from "../logic";
import { Done, Field, Form, Loading, State, Sure, Trouble } from "../parts";
import { useDirectory } from "./directory";
import { View } from "./View";

/** Between two looks at the figures; who comes and goes is told at once. */
const LOOK_MS = 3000;
const NEWS = ["leg.joined", "leg.left", "leg.muted", "leg.quality"];

/** Who is in a room now, with the quality both ways, and what an operator does about it. */
export function Meeting({ number }: { number: string }) {
  const words = useHouseWords();
  const directory = useDirectory();
  const params = { path: { number } };
  const live = useLoad(
    async () => (await ask(api.GET("/api/v1/rooms/{number}", { params }))) as Live,
    `live ${number}`,
    LOOK_MS,
  );
  const { again } = live;
  useLive(NEWS, again);
  const control = directory.may("rooms.control");
  const legs = live.value?.legs ?? [];
  // Nobody has dialled it yet: that is no trouble.
  const failure = live.failure?.status === 404 ? undefined : live.failure;
  // Who is put out takes the buttons along.
  const heading = useRef<HTMLHeadingElement>(null);
  const left = () => {
    heading.current?.focus();
    again();
  };
  return (
    <>
      <h3 ref={heading} tabIndex={-1}>
        {words.meeting.title}
      </h3>
      <Trouble failure={failure} />
      {!live.value && !live.failure && <Loading />}
      {legs.length === 0 && !failure && (live.value || live.failure) && <p>{words.meeting.empty}</p>}
      <ul className="grants figures" data-testid="legs">
        {legs.map((leg) => (
          <OneLeg
            key={leg.leg}
            number={number}
            leg={leg}
            control={control}
            changed={again}
            left={left}
          />
        ))}
      </ul>
      {control && <Ring number={number} />}
    </>
  );
}

interface LegProps {
  number: string;
  leg: Leg;
  control: boolean;
  changed: () => void;
  /** It was put out. */
  left: () => void;
}

function OneLeg({ number, leg, control, changed, left }: LegProps) {
  const words = useHouseWords();
  const doing = useDoing();
  const params = { path: { number, leg: leg.leg } };
  const quality = qualityOf(leg);
  const isBad = quality === "poor" || quality === "failed";
  const { silence: mute, unsilence, silenceOf, unsilenceOf } = words.meeting;
  const silence = async () => {
    const body = { audio_silenced: !leg.audio_silenced };
    const patch = () => ask(api.PATCH("/api/v1/rooms/{number}/legs/{leg}", { params, body }));
    if (await doing.act(patch)) changed();
  };
  const remove = async () => {
    const put = () => ask(api.DELETE("/api/v1/rooms/{number}/legs/{leg}", { params }));
    if (await doing.act(put)) left();
  };
  const flow = (label: string, { loss_percent, jitter_ms, bitrate_bps, mos, frozen_ms }: Leg["received"]) => {
    const rate = `${Math.round(bitrate_bps / 1000)}`;
    const parts = [words.meeting.flow(label, rate, loss_percent.toFixed(1), jitter_ms.toFixed(0))];
    parts.push(mos === null ? words.meeting.notRated : words.meeting.mos(mos.toFixed(1)));
    if (frozen_ms > 0) parts.push(words.meeting.frozen((frozen_ms / 1000).toFixed(1)));
    return parts.join(" · ");
  };
  return (
    <li>
      <span>
        <strong>{leg.name}</strong>{" "}
        <State kind={quality === "good" ? "good" : isBad ? "bad" : "off"}>
          {words.meeting.qualities[quality]}
        </State>
        <small>
          {words.meeting.kinds[leg.kind] ?? leg.kind}
          {leg.round_trip_ms != null && ` · ${words.meeting.roundTrip(String(leg.round_trip_ms))}`}
        </small>
        <small>{flow(words.meeting.from, leg.received)}</small>
        <small>{flow(words.meeting.to, leg.sent)}</small>
        {warningsOf(leg).map((warning) => (
          <State key={warning} kind="bad">
            {words.meeting.warnings[warning]}
          </State>
        ))}
        {leg.audio_silenced && <State kind="bad">{words.meeting.silenced}</State>}
      </span>
      {control && (
        <>
          <Button
            size="small"
            data-testid="silence"
            aria-label={leg.audio_silenced ? unsilenceOf(leg.name) : silenceOf(leg.name)}
            onClick={() => void silence()}
          >
            {leg.audio_silenced ? unsilence : mute}
          </Button>
          <Sure
            size="small"
            label={words.meeting.putOut}
            name={words.meeting.putOutOf(leg.name)}
            question={words.meeting.ask(leg.name)}
            act={() => void remove()}
            busy={doing.busy}
            testId="put-out"
          />
          <View number={number} leg={leg} changed={changed} />
          {leg.kind === "sip" && <Send number={number} leg={leg} changed={changed} />}
        </>
      )}
      <Trouble failure={doing.failure} />
    </li>
  );
}

/** Has a terminal go on elsewhere. */
function Send({ number, leg, changed }: { number: string; leg: Leg; changed: () => void }) {
  const words = useHouseWords();
  const [open, setOpen] = useState(false);
  const [target, setTarget] = useState("");
  const [told, setTold] = useState("");
  const doing = useDoing();
  const { transfer, transferOf, transferTo, transferHint, transferred } = words.meeting;
  const send = async () => {
    if (!target.trim()) return;
    setTold("");
    const params = { path: { number, leg: leg.leg } };
    await doing.act(async () => {
      const body = { target: target.trim() };
      const answer = await ask(
        api.POST("/api/v1/rooms/{number}/legs/{leg}/transfer", { params, body }),
      );
      setTold(transferred[answer.outcome] ?? answer.outcome);
      changed();
    });
  };
  if (!open) {
    return (
      <Button
        size="small"
        data-testid="transfer"
        aria-label={transferOf(leg.name)}
        onClick={() => setOpen(true)}
      >
        {transfer}
      </Button>
    );
  }
  return (
    <Form className="landing give" submit={() => void send()}>
      <Field
        label={transferTo(leg.name)}
        hint={transferHint}
        testId="transfer-target"
        autoFocus
        value={target}
        change={setTarget}
      />
      <Trouble failure={doing.failure} />
      <div className="acts">
        <Button
          htmlType="submit"
          data-testid="send"
          loading={doing.busy}
          disabled={!target.trim()}
        >
          {transfer}
        </Button>
        <Button onClick={() => setOpen(false)}>{words.cancel}</Button>
        <Done text={told} />
      </div>
    </Form>
  );
}

function Ring({ number }: { number: string }) {
  const words = useHouseWords();
  const [target, setTarget] = useState("");
  const [told, setTold] = useState("");
  const doing = useDoing();
  const ring = async () => {
    if (!target.trim()) return;
    setTold("");
    const params = { path: { number } };
    await doing.act(async () => {
      const body = { target: target.trim() };
      const { outcome } = await ask(api.POST("/api/v1/rooms/{number}/calls", { params, body }));
      setTold(words.meeting.outcomes[outcome] ?? outcome);
    });
  };
  return (
    <Form className="landing give" submit={() => void ring()}>
      <Field
        label={words.meeting.ringWhom}
        hint={words.meeting.ringHint}
        testId="ring-target"
        value={target}
        change={setTarget}
      />
      <Trouble failure={doing.failure} />
      <div className="acts">
        <Button htmlType="submit" data-testid="ring" loading={doing.busy} disabled={!target.trim()}>
          {words.meeting.ring}
        </Button>
        <Done text={told} />
      </div>
    </Form>
  );
}
