import Switch from "antd/es/switch";
import type { Device } from "../capture";
import { useLanguage } from "../language";

/** Whether the microphone's sound goes as it is: for what is not speech. */
export function OriginalSwitch({ device, use }: { device: Device; use: (original: boolean) => void }) {
  const { words } = useLanguage();
  return (
    <div className="switch-line">
      <div>
        <label htmlFor="original-sound">{words.original}</label>
        <small id="original-hint">{device.original ? words.originalEcho : words.originalHint}</small>
      </div>
      <Switch
        id="original-sound"
        data-testid="original-sound"
        aria-describedby="original-hint"
        checked={device.original}
        loading={device.pending}
        disabled={!device.track}
        onChange={use}
      />
    </div>
  );
}
