import { useRef, useState } from "react";
import SoundOutlined from "@ant-design/icons/es/icons/SoundOutlined";
import Button from "antd/es/button";
import Select from "antd/es/select";
import type { Device, Devices, Kind } from "../capture";
import { useDevices, useLevel } from "../devices";
import { brief } from "../faults";
import { useLanguage } from "../language";
import { playTest, type Speaker } from "../speaker";

interface Props {
  kind: Kind;
  devices: Devices;
  choose: (kind: Kind, id: string) => void;
}

/** Which camera or microphone is used. */
export function DeviceSelect({ devices, choose, kind }: Props) {
  const { words } = useLanguage();
  const device = devices[kind];
  const { track, pending } = device;
  const isCamera = kind === "video";
  const listed = useDevices(isCamera ? "videoinput" : "audioinput", devices);
  const name = isCamera ? words.camera : words.microphone;
  const id = isCamera ? "camera-choice" : "microphone-choice";
  const options = listed.map((info, index) => ({
    value: info.deviceId,
    label: info.label || `${name} ${index + 1}`,
  }));
  const chosen = pending ? device.chosen : track?.getSettings().deviceId;
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
        placeholder={track?.label || brief(kind, device, words)}
        getPopupContainer={inside}
        onChange={(value: string) => choose(kind, value)}
      />
    </div>
  );
}

/** In a dialog, what lies outside of it cannot be reached. */
const inside = (trigger: HTMLElement) => trigger.closest("dialog") ?? document.body;

/** By which loudspeaker the room is heard, and whether one hears it. */
export function SpeakerSelect({ speaker }: { speaker: Speaker }) {
  const { words } = useLanguage();
  const [playing, setPlaying] = useState(false);
  const options = [
    { value: "", label: words.speakerDefault },
    ...speaker.listed.map((info, index) => ({
      value: info.deviceId,
      label: info.label || `${words.speaker} ${index + 1}`,
    })),
  ];
  const test = () => {
    setPlaying(true);
    void playTest(speaker.used).finally(() => setPlaying(false));
  };
  const said = speaker.gone ? words.speakerGone : playing ? words.speakerTesting : "";
  return (
    <div>
      <label htmlFor="speaker-choice">{words.speaker}</label>
      <div className="with-button">
        <Select
          id="speaker-choice"
          data-testid="speaker-choice"
          size="large"
          value={speaker.used}
          options={options}
          disabled={!speaker.canChoose}
          getPopupContainer={inside}
          onChange={speaker.choose}
        />
        <Button
          data-testid="speaker-test"
          size="large"
          icon={<SoundOutlined />}
          aria-label={words.speakerTest}
          title={words.speakerTest}
          disabled={playing}
          onClick={test}
        />
      </div>
      <small role="status">{said || (speaker.canChoose ? words.speakerTest : words.speakerFixed)}</small>
    </div>
  );
}

/** How loud the microphone is. */
export function Level({ device }: { device: Device }) {
  const { words } = useLanguage();
  const bar = useRef<HTMLDivElement>(null);
  useLevel(device.track, (level) => {
    if (bar.current) bar.current.style.transform = `scaleX(${level.toFixed(3)})`;
  });
  return (
    <div>
      <div className="level" role="img" aria-label={words.level} data-testid="level">
        <div ref={bar} />
      </div>
      <small>{device.track ? words.levelHint : brief("audio", device, words)}</small>
    </div>
  );
}
