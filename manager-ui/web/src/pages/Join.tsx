import { useRef, useState, type FormEvent, type RefObject } from "react";
import AudioMutedOutlined from "@ant-design/icons/es/icons/AudioMutedOutlined";
import AudioOutlined from "@ant-design/icons/es/icons/AudioOutlined";
import VideoCameraAddOutlined from "@ant-design/icons/es/icons/VideoCameraAddOutlined";
import VideoCameraOutlined from "@ant-design/icons/es/icons/VideoCameraOutlined";
import Alert from "antd/es/alert";
import Button from "antd/es/button";
import Input, { type InputRef } from "antd/es/input";
import Select from "antd/es/select";
import { useDevices, useLevel, type Chosen, type Problem } from "../devices";
import { Frame } from "../Frame";
import { useLanguage } from "../language";
import { Picture } from "../Picture";
import type { Tracks } from "../peer";
import type { Muted } from "../session";

/** What the user has entered on the join page. */
export interface Entry extends Chosen {
  name: string;
  muted: Muted;
}

interface Props {
  room: string;
  entry: Entry;
  /** Null while the browser asks. */
  tracks: Tracks | null;
  problem: Problem | null;
  change: (change: Partial<Entry>) => void;
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
          <DeviceSelect {...props} kind="videoinput" />
          <DeviceSelect {...props} kind="audioinput" />
          <Level track={props.tracks?.audio ?? null} />
          <Button
            data-testid="join"
            type="primary"
            size="large"
            htmlType="submit"
            block
            disabled={!props.tracks}
          >
            {words.join}
          </Button>
        </div>
      </form>
    </Frame>
  );
}

function Preview({ entry, tracks, problem, change, again }: Props) {
  const { words } = useLanguage();
  const { muted } = entry;
  const set = (now: Partial<Muted>) => change({ muted: { ...muted, ...now } });
  return (
    <div className="preview">
      <div className="screen">
        {tracks?.video && !muted.video ? (
          <Picture track={tracks.video} mirrored label={words.preview} testId="preview" />
        ) : (
          <p>{tracks ? (muted.video ? words.cameraIsOff : words.noCamera) : words.asking}</p>
        )}
      </div>
      <div className="switches">
        <Button
          data-testid="join-mic"
          icon={muted.audio ? <AudioMutedOutlined /> : <AudioOutlined />}
          danger={muted.audio}
          aria-pressed={muted.audio}
          disabled={!tracks?.audio}
          onClick={() => set({ audio: !muted.audio })}
        >
          {muted.audio ? words.unmuteMic : words.muteMic}
        </Button>
        <Button
          data-testid="join-camera"
          icon={muted.video ? <VideoCameraAddOutlined /> : <VideoCameraOutlined />}
          danger={muted.video}
          aria-pressed={muted.video}
          disabled={!tracks?.video}
          onClick={() => set({ video: !muted.video })}
        >
          {muted.video ? words.cameraOn : words.cameraOff}
        </Button>
      </div>
      <div aria-live="polite">
        {problem && (
          <Alert
            type="warning"
            showIcon
            title={words[problem]}
            action={<Button onClick={again}>{words.tryAgain}</Button>}
          />
        )}
      </div>
    </div>
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

function DeviceSelect(props: Props & { kind: "videoinput" | "audioinput" }) {
  const { words } = useLanguage();
  const { tracks, change, kind } = props;
  const devices = useDevices(kind, tracks);
  const isCamera = kind === "videoinput";
  const track = isCamera ? tracks?.video : tracks?.audio;
  const name = isCamera ? words.camera : words.microphone;
  const id = isCamera ? "camera-choice" : "microphone-choice";
  const options = devices.map((device, index) => ({
    value: device.deviceId,
    label: device.label || `${name} ${index + 1}`,
  }));
  const chosen = track?.getSettings().deviceId;
  return (
    <div>
      <label htmlFor={id}>{name}</label>
      <Select
        id={id}
        data-testid={id}
        size="large"
        value={options.some((option) => option.value === chosen) ? chosen : undefined}
        options={options}
        disabled={options.length === 0}
        placeholder={track?.label || (isCamera ? words.noCamera : words.noMicrophone)}
        onChange={(value: string) => change(isCamera ? { camera: value } : { microphone: value })}
      />
    </div>
  );
}

function Level({ track }: { track: MediaStreamTrack | null }) {
  const { words } = useLanguage();
  const bar = useRef<HTMLDivElement>(null);
  useLevel(track, (level) => {
    if (bar.current) bar.current.style.transform = `scaleX(${level.toFixed(3)})`;
  });
  return (
    <div>
      <div className="level" role="img" aria-label={words.level} data-testid="level">
        <div ref={bar} />
      </div>
      <small>{track ? words.levelHint : words.noMicrophone}</small>
    </div>
  );
}
