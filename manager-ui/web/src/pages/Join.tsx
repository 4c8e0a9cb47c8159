import { useRef, useState, type FormEvent, type RefObject } from "react";
import AudioMutedOutlined from "@ant-design/icons/es/icons/AudioMutedOutlined";
import AudioOutlined from "@ant-design/icons/es/icons/AudioOutlined";
import VideoCameraAddOutlined from "@ant-design/icons/es/icons/VideoCameraAddOutlined";
import VideoCameraOutlined from "@ant-design/icons/es/icons/VideoCameraOutlined";
import Alert from "antd/es/alert";
import Button from "antd/es/button";
import Input, { type InputRef } from "antd/es/input";
import type { Devices, Kind } from "../capture";
import { brief, faults } from "../faults";
import { Frame } from "../Frame";
import { useLanguage } from "../language";
import { Picture } from "../Picture";
import type { Refusal } from "../protocol";
import type { Muted } from "../session";
import type { Speaker } from "../speaker";
import type { Words } from "../words";
import { DeviceSelect, Level, SpeakerSelect } from "./DeviceSelect";
import { NetworkCheck } from "./NetworkCheck";
import { OriginalSwitch } from "./OriginalSwitch";

/** What the user has entered on the join page. */
export interface Entry {
  name: string;
  muted: Muted;
  pin: string;
}

interface Props {
  room: string;
  entry: Entry;
  /** The room asked for its PIN, or said that it is wrong. */
  pinAsked: Refusal | null;
  devices: Devices;
  /** The browser is not being asked for a device. */
  ready: boolean;
  /** The browser has the format in which pictures come and go. */
  pictures: boolean;
  speaker: Speaker;
  /** Where the server is asked. */
  url: string;
  change: (change: Partial<Entry>) => void;
  choose: (kind: Kind, id: string) => void;
  useOriginal: (original: boolean) => void;
  again: () => void;
  join: () => void;
}

/** Before the room: name, devices, preview and level. */
export function Join(props: Props) {
  const { words } = useLanguage();
  const [missing, setMissing] = useState(false);
  const name = useRef<InputRef>(null);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!props.ready) return;
    if (props.entry.name.trim()) {
      props.join();
    } else {
      setMissing(true);
      name.current?.focus();
    }
  };
  return (
    <Frame>
      <form className="card join" onSubmit={submit} noValidate>
        <div className="title">
          <h1>{words.roomTitle(props.room)}</h1>
          <p>{words.joinTitle}</p>
        </div>
        <Preview {...props} />
        <div className="fields">
          <NameField {...props} missing={missing} input={name} />
          {props.pinAsked && <PinField {...props} />}
          {props.pictures && <DeviceSelect {...props} kind="video" />}
          <DeviceSelect {...props} kind="audio" />
          <Level device={props.devices.audio} />
          <OriginalSwitch device={props.devices.audio} use={props.useOriginal} />
          <Button
            data-testid="join"
            type="primary"
            size="large"
            htmlType="submit"
            block
            disabled={!props.ready}
            loading={!props.ready}
          >
            {props.ready ? words.join : words.waiting}
          </Button>
        </div>
        <div className="checks">
          <SpeakerSelect speaker={props.speaker} />
          <NetworkCheck url={props.url} sound={props.devices.audio.track} ready={props.ready} />
        </div>
      </form>
    </Frame>
  );
}

function Preview({ entry, devices, pictures, change, again }: Props) {
  const { words } = useLanguage();
  const { muted } = entry;
  const { audio, video } = devices;
  const set = (now: Partial<Muted>) => change({ muted: { ...muted, ...now } });
  return (
    <div className="preview">
      <div className="screen">
        {video.track && !muted.video && pictures ? (
          <Picture track={video.track} mirrored label={words.preview} testId="preview" />
        ) : (
          <p>{pictures ? insteadOfPicture(devices, muted, words) : words.noPictureShort}</p>
        )}
      </div>
      <div className="switches">
        <Button
          data-testid="join-mic"
          icon={muted.audio ? <AudioMutedOutlined /> : <AudioOutlined />}
          danger={muted.audio}
          disabled={!audio.track}
          onClick={() => set({ audio: !muted.audio })}
        >
          {muted.audio ? words.unmuteMic : words.muteMic}
        </Button>
        <Button
          data-testid="join-camera"
          icon={muted.video ? <VideoCameraAddOutlined /> : <VideoCameraOutlined />}
          danger={muted.video}
          disabled={!video.track || !pictures}
          onClick={() => set({ video: !muted.video })}
        >
          {muted.video ? words.cameraOn : words.cameraOff}
        </Button>
      </div>
      <div aria-live="polite">
        {!pictures && <Alert data-testid="no-picture" type="warning" showIcon title={words.noPicture} />}
        <Faults devices={devices} again={again} />
      </div>
    </div>
  );
}

function insteadOfPicture({ audio, video }: Devices, muted: Muted, words: Words): string {
  if (video.pending) return audio.pending ? words.asking : words.starting;
  return video.track && muted.video ? words.cameraIsOff : brief("video", video, words);
}

function Faults({ devices, again }: Pick<Props, "devices" | "again">) {
  const { words } = useLanguage();
  const lines = faults(devices, words);
  if (lines.length === 0) return null;
  return (
    <Alert
      data-testid="faults"
      type="warning"
      showIcon
      title={
        <>
          {lines.map((line) => (
            <div key={line}>{line}</div>
          ))}
          {/* Below, not beside: phones have no room there. */}
          <Button className="again" onClick={again}>
            {words.tryAgain}
          </Button>
        </>
      }
    />
  );
}

interface NameProps extends Props {
  missing: boolean;
  input: RefObject<InputRef | null>;
}

function NameField({ entry, change, missing, input }: NameProps) {
  const { words } = useLanguage();
  const wrong = missing && !entry.name.trim();
  return (
    <div>
      <label htmlFor="name">{words.name}</label>
      <Input
        id="name"
        ref={input}
        data-testid="name"
        size="large"
        autoComplete="name"
        autoFocus={!entry.name}
        maxLength={64}
        value={entry.name}
        status={wrong ? "error" : undefined}
        aria-invalid={wrong}
        aria-describedby="name-hint"
        onChange={(event) => change({ name: event.target.value })}
      />
      <small id="name-hint" role={wrong ? "alert" : undefined} className={wrong ? "wrong" : ""}>
        {wrong ? words.nameMissing : words.nameHint}
      </small>
    </div>
  );
}

function PinField({ entry, change, pinAsked }: Props) {
  const { words } = useLanguage();
  const wrong = pinAsked === "pin_wrong";
  return (
    <div>
      <label htmlFor="pin">{words.pin}</label>
      <Input.Password
        id="pin"
        data-testid="pin"
        size="large"
        inputMode="numeric"
        autoComplete="one-time-code"
        autoFocus
        maxLength={16}
        value={entry.pin}
        status={wrong ? "error" : undefined}
        aria-invalid={wrong}
        aria-describedby="pin-hint"
        onChange={(event) => change({ pin: event.target.value.replace(/\D/g, "") })}
      />
      <small id="pin-hint" role="alert" className={wrong ? "wrong" : ""}>
        {wrong ? words.pinWrong : words.pinHint}
      </small>
    </div>
  );
}
