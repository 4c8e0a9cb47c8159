import type { ReactNode } from "react";
import AudioMutedOutlined from "@ant-design/icons/es/icons/AudioMutedOutlined";
import AudioOutlined from "@ant-design/icons/es/icons/AudioOutlined";
import LogoutOutlined from "@ant-design/icons/es/icons/LogoutOutlined";
import QuestionOutlined from "@ant-design/icons/es/icons/QuestionOutlined";
import VideoCameraAddOutlined from "@ant-design/icons/es/icons/VideoCameraAddOutlined";
import VideoCameraOutlined from "@ant-design/icons/es/icons/VideoCameraOutlined";
import Button from "antd/es/button";
import { KINDS, type Devices, type Kind } from "../capture";
import { missing } from "../faults";
import { useLanguage } from "../language";
import type { Muted } from "../session";

interface Props {
  muted: Muted;
  devices: Devices;
  /** Switches it on or off; tries to find one where it is missing. */
  press: (kind: Kind) => void;
  leave: () => void;
  help: () => void;
}

const ICONS = {
  audio: { on: <AudioOutlined />, off: <AudioMutedOutlined /> },
  video: { on: <VideoCameraOutlined />, off: <VideoCameraAddOutlined /> },
};

/** The one bar of the room. */
export function Bar({ muted, devices, press, leave, help }: Props) {
  const { words } = useLanguage();
  return (
    <footer className="bar">
      {KINDS.map((kind) => (
        <DeviceControl key={kind} kind={kind} muted={muted} devices={devices} press={press} />
      ))}
      <Control id="help" icon={<QuestionOutlined />} label={words.help} shortcut="?" press={help} />
      <Control id="leave" icon={<LogoutOutlined />} label={words.leave} danger press={leave} />
    </footer>
  );
}

type DeviceControlProps = Pick<Props, "muted" | "devices" | "press"> & { kind: Kind };

function DeviceControl({ kind, muted, devices, press }: DeviceControlProps) {
  const { words } = useLanguage();
  const isMissing = !devices[kind].track;
  const off = isMissing || muted[kind];
  let label = kind === "audio" ? words.muteMic : words.cameraOff;
  if (off) label = kind === "audio" ? words.unmuteMic : words.cameraOn;
  const why = isMissing ? `${missing(kind, devices[kind], words)} ${words.pressToTry}` : undefined;
  return (
    <Control
      id={kind === "audio" ? "mic" : "camera"}
      icon={ICONS[kind][off ? "off" : "on"]}
      label={isMissing ? words.devices[kind].none : label}
      title={why}
      shortcut={kind === "audio" ? "m" : "v"}
      off={off}
      press={() => press(kind)}
    />
  );
}

interface ControlProps {
  id: string;
  icon: ReactNode;
  label: string;
  /** Says more than the label. */
  title?: string;
  shortcut?: string;
  off?: boolean;
  danger?: boolean;
  press: () => void;
}

function Control({ id, icon, label, title, shortcut, off, danger, press }: ControlProps) {
  return (
    <Button
      data-testid={id}
      className={off ? "control off" : "control"}
      type={danger ? "primary" : "default"}
      danger={danger}
      aria-keyshortcuts={shortcut}
      title={title ?? (shortcut ? `${label} (${shortcut})` : label)}
      onClick={press}
    >
      {icon}
      <span>{label}</span>
    </Button>
  );
}
