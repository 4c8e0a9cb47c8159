import type { ReactNode } from "react";
import AudioMutedOutlined from "@ant-design/icons/es/icons/AudioMutedOutlined";
import AudioOutlined from "@ant-design/icons/es/icons/AudioOutlined";
import MessageOutlined from "@ant-design/icons/es/icons/MessageOutlined";
import SettingOutlined from "@ant-design/icons/es/icons/SettingOutlined";
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
  /** What an operator has switched off for us. */
  silenced: Muted;
  devices: Devices;
  /** Switches it on or off; tries to find one where it is missing. */
  press: (kind: Kind) => void;
  /** The browser has the format in which pictures come and go. */
  pictures: boolean;
  chat: { open: boolean; unread: number; toggle: () => void };
  settings: () => void;
  leave: () => void;
  help: () => void;
}

const ICONS = {
  audio: { on: <AudioOutlined />, off: <AudioMutedOutlined /> },
  video: { on: <VideoCameraOutlined />, off: <VideoCameraAddOutlined /> },
};

/** The one bar of the room. */
export function Bar({ muted, silenced, devices, press, pictures, chat, settings, leave, help }: Props) {
  const { words } = useLanguage();
  return (
    <footer className="bar">
      {KINDS.filter((kind) => pictures || kind === "audio").map((kind) => (
        <DeviceControl
          key={kind}
          kind={kind}
          muted={muted}
          silenced={silenced}
          devices={devices}
          press={press}
        />
      ))}
      <Control
        id="chat"
        icon={<MessageOutlined />}
        label={words.chat}
        shortcut="c"
        pressed={chat.open}
        mark={chat.unread}
        press={chat.toggle}
      />
      <Control id="settings" icon={<SettingOutlined />} label={words.settings} shortcut="d" press={settings} />
      <Control id="help" icon={<QuestionOutlined />} label={words.help} shortcut="?" press={help} />
      <Control id="leave" icon={<LogoutOutlined />} label={words.leave} danger press={leave} />
    </footer>
  );
}

type DeviceControlProps = Pick<Props, "muted" | "silenced" | "devices" | "press"> & { kind: Kind };

function DeviceControl({ kind, muted, silenced, devices, press }: DeviceControlProps) {
  const { words } = useLanguage();
  const isMissing = !devices[kind].track;
  const off = isMissing || muted[kind];
  let label = kind === "audio" ? words.muteMic : words.cameraOff;
  if (off) label = kind === "audio" ? words.unmuteMic : words.cameraOn;
  if (silenced[kind]) label = words.byOperator;
  let why = isMissing ? `${missing(kind, devices[kind], words)} ${words.pressToTry}` : undefined;
  if (silenced[kind]) why ??= kind === "audio" ? words.audioSilenced : words.videoSilenced;
  return (
    <Control
      id={kind === "audio" ? "mic" : "camera"}
      icon={ICONS[kind][off || silenced[kind] ? "off" : "on"]}
      label={isMissing ? words.devices[kind].none : label}
      title={why}
      shortcut={kind === "audio" ? "m" : "v"}
      off={off || silenced[kind]}
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
  /** Whether what it opens is open. */
  pressed?: boolean;
  /** So many are new. */
  mark?: number;
  press: () => void;
}

function Control(props: ControlProps) {
  const { id, icon, label, title, shortcut, off, danger, pressed, mark = 0, press } = props;
  const { words } = useLanguage();
  return (
    <Button
      data-testid={id}
      className={off ? "control off" : "control"}
      type={danger ? "primary" : "default"}
      danger={danger}
      aria-keyshortcuts={shortcut}
      aria-pressed={pressed}
      title={title ?? (shortcut ? `${label} (${shortcut})` : label)}
      onClick={press}
    >
      {icon}
      <span>{label}</span>
      {mark > 0 && (
        <span className="mark" data-testid={`${id}-mark`} aria-label={words.chatUnread(String(mark))}>
          {mark > 99 ? "99+" : mark}
        </span>
      )}
    </Button>
  );
}
