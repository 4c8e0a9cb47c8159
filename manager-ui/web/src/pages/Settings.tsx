import { useEffect, useRef } from "react";
import Button from "antd/es/button";
import type { Devices, Kind } from "../capture";
import { useLanguage } from "../language";
import type { Speaker } from "../speaker";
import { DeviceSelect, Level, SpeakerSelect } from "./DeviceSelect";
import { OriginalSwitch } from "./OriginalSwitch";

interface Props {
  open: boolean;
  close: () => void;
  devices: Devices;
  pictures: boolean;
  speaker: Speaker;
  choose: (kind: Kind, id: string) => void;
  useOriginal: (original: boolean) => void;
}

/** Other devices during a call. */
export function Settings({ open, close, ...props }: Props) {
  const { words } = useLanguage();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  const { devices, speaker, choose } = props;
  return (
    <dialog ref={dialog} className="keys settings" aria-labelledby="settings-title" onClose={close}>
      <h2 id="settings-title">{words.settingsTitle}</h2>
      {open && (
        <div className="fields" data-testid="settings-fields">
          {props.pictures && <DeviceSelect kind="video" devices={devices} choose={choose} />}
          <DeviceSelect kind="audio" devices={devices} choose={choose} />
          <Level device={devices.audio} />
          <OriginalSwitch device={devices.audio} use={props.useOriginal} />
          <SpeakerSelect speaker={speaker} />
        </div>
      )}
      <Button block data-testid="settings-close" onClick={close}>
        {words.keyClose}
      </Button>
    </dialog>
  );
}
