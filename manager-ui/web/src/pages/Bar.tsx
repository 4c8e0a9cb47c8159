import type { ReactNode } from "react";
import AudioMutedOutlined from "@ant-design/icons/es/icons/AudioMutedOutlined";
import AudioOutlined from "@ant-design/icons/es/icons/AudioOutlined";
import LogoutOutlined from "@ant-design/icons/es/icons/LogoutOutlined";
import QuestionOutlined from "@ant-design/icons/es/icons/QuestionOutlined";
import VideoCameraAddOutlined from "@ant-design/icons/es/icons/VideoCameraAddOutlined";
import VideoCameraOutlined from "@ant-design/icons/es/icons/VideoCameraOutlined";
import Button from "antd/es/button";
import { useLanguage } from "../language";
import type { Tracks } from "../peer";
import type { Muted } from "../session";

interface Props {
  muted: Muted;
  tracks: Tracks | null;
  mute: (change: Partial<Muted>) => void;
  leave: () => void;
  help: () => void;
}

/** The one bar of the room. */
export function Bar({ muted, tracks, mute, leave, help }: Props) {
  const { words } = useLanguage();
  return (
    <footer className="bar">
      <Control
        id="mic"
        icon={muted.audio ? <AudioMutedOutlined /> : <AudioOutlined />}
        label={muted.audio ? words.unmuteMic : words.muteMic}
        shortcut="m"
        off={muted.audio}
        disabled={!tracks?.audio}
        press={() => mute({ audio: !muted.audio })}
      />
      <Control
        id="camera"
        icon={muted.video ? <VideoCameraAddOutlined /> : <VideoCameraOutlined />}
        label={muted.video ? words.cameraOn : words.cameraOff}
        shortcut="v"
        off={muted.video}
        disabled={!tracks?.video}
        press={() => mute({ video: !muted.video })}
      />
      <Control id="help" icon={<QuestionOutlined />} label={words.help} shortcut="?" press={help} />
      <Control id="leave" icon={<LogoutOutlined />} label={words.leave} danger press={leave} />
    </footer>
  );
}

interface ControlProps {
  id: string;
  icon: ReactNode;
  label: string;
  shortcut?: string;
  off?: boolean;
  danger?: boolean;
  disabled?: boolean;
  press: () => void;
}

function Control({ id, icon, label, shortcut, off, danger, disabled, press }: ControlProps) {
  return (
    <Button
      data-testid={id}
      className={off ? "control off" : "control"}
      type={danger ? "primary" : "default"}
      danger={danger}
      disabled={disabled}
      aria-keyshortcuts={shortcut}
      aria-pressed={off}
      title={shortcut ? `${label} (${shortcut})` : label}
      onClick={press}
    >
      {icon}
      <span>{label}</span>
    </Button>
  );
}
