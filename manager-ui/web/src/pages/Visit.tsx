import { useCallback, useEffect, useRef, useState } from "react";
import Button from "antd/es/button";
import Result from "antd/es/result";
import { Capture, untouched, type Devices } from "../capture";
import { Frame } from "../Frame";
import { forgetGuest, guestSecret } from "../guest";
import { useLanguage } from "../language";
import type { Tracks } from "../peer";
import type { Refusal } from "../protocol";
import { resumeKey, Session, type Snapshot } from "../session";
import { Join, type Entry } from "./Join";
import { Room } from "./Room";

declare global {
  interface Window {
    /** For support: statistics of the connection that plays. */
    __consilium?: { readonly pc: RTCPeerConnection | undefined };
  }
}

const NAME = "consilium.name";
const CAMERA = "consilium.camera";
const MICROPHONE = "consilium.microphone";
const MUTED = "consilium.muted";

/** From the join page through the room to the end of the visit. */
export default function Visit({ room, home }: { room: string; home: () => void }) {
  const [entry, setEntry] = useState(remembered);
  const [devices, setDevices] = useState(rememberedDevices);
  const [state, setState] = useState<Snapshot | null>(null);
  const session = useRef<Session | null>(null);

  const capture = useRef<Capture | null>(null);
  useEffect(() => {
    const made = new Capture(rememberedDevices(), (next) => {
      if (capture.current !== made) return;
      setDevices(next);
      session.current?.use(tracksOf(next));
    });
    capture.current = made;
    made.open();
    return () => {
      capture.current = null;
      session.current?.drop();
      made.close();
    };
  }, []);

  const guest = useRef<string | undefined>(undefined);
  useEffect(() => {
    const clean = (address: string) => history.replaceState(null, "", address);
    const look = () => {
      guest.current = guestSecret(room, location, sessionStorage, clean);
    };
    look();
    window.addEventListener("hashchange", look);
    return () => window.removeEventListener("hashchange", look);
  }, [room]);

  const ready = !devices.audio.pending && !devices.video.pending;
  const join = useCallback(() => {
    if (!ready) return;
    remember(entry, devices);
    const { muted, pin } = entry;
    const known = { room, name: entry.name.trim(), pin: pin || undefined, guest: guest.current };
    const visit = { ...known, tracks: tracksOf(devices), muted };
    const made = new Session(socketUrl(), visit, sessionStorage, (next) => {
      setState(next);
      if (next.refusal?.startsWith("link_")) {
        forgetGuest(room, sessionStorage);
        guest.current = undefined;
      }
      sessionStorage.setItem(MUTED, JSON.stringify(next.muted));
    });
    session.current = made;
    window.__consilium = {
      get pc() {
        return made.snapshot.peer?.pc;
      },
    };
    setState(made.snapshot);
    made.start();
  }, [entry, room, devices, ready]);

  // A reload comes back to where it was, without the join page.
  const returning = useRef(sessionStorage.getItem(resumeKey(room)) !== null && entry.name !== "");
  useEffect(() => {
    if (returning.current && ready) {
      returning.current = false;
      join();
    }
  }, [ready, join]);

  // Whoever has left is not watched any more.
  const pinAsked = pinQuestion(state);
  const ended = state?.phase === "ended" && !pinAsked;
  useEffect(() => {
    if (ended) capture.current?.close();
  }, [ended]);

  if (ended) {
    const again = () => {
      setState(null);
      setEntry({ ...entry, muted: state.muted });
      capture.current?.open();
    };
    return <Ended state={state} again={again} home={home} />;
  }
  if (state && !pinAsked && session.current) {
    return (
      <Room
        room={room}
        name={entry.name}
        devices={devices}
        state={state}
        session={session.current}
        recover={(kind) => capture.current?.recover(kind)}
      />
    );
  }
  return (
    <Join
      room={room}
      entry={entry}
      pinAsked={pinAsked}
      devices={devices}
      ready={ready}
      change={(change) => setEntry({ ...entry, ...change })}
      choose={(kind, id) => capture.current?.choose(kind, id)}
      again={() => capture.current?.again()}
      join={join}
    />
  );
}

/** The room wants its PIN: a field on the join page, not an end. */
function pinQuestion(state: Snapshot | null): Refusal | null {
  const asks = state?.refusal === "pin_wanted" || state?.refusal === "pin_wrong";
  return state?.phase === "ended" && asks ? state.refusal : null;
}

function Ended(props: { state: Snapshot; again: () => void; home: () => void }) {
  const { words } = useLanguage();
  const { refusal } = props.state;
  return (
    <Frame>
      <div className="card" role="status">
        <Result
          status={refusal ? "warning" : "success"}
          title={refusal ? words.refusals[refusal] : words.left}
          extra={[
            <Button key="again" data-testid="rejoin" type="primary" onClick={props.again} autoFocus>
              {words.rejoin}
            </Button>,
            <Button key="home" onClick={props.home}>
              {words.home}
            </Button>,
          ]}
        />
      </div>
    </Frame>
  );
}

function remembered(): Entry {
  const muted = { audio: false, video: false };
  try {
    Object.assign(muted, JSON.parse(sessionStorage.getItem(MUTED) ?? "{}"));
  } catch {
    // Somebody else's value: start with both on.
  }
  return { name: localStorage.getItem(NAME) ?? "", muted, pin: "" };
}

/** As they are until the browser is asked for them. */
function rememberedDevices(): Devices {
  const device = (key: string) => ({
    ...untouched(localStorage.getItem(key) ?? undefined),
    pending: true,
  });
  return { audio: device(MICROPHONE), video: device(CAMERA) };
}

function remember(entry: Entry, { audio, video }: Devices): void {
  localStorage.setItem(NAME, entry.name.trim());
  if (video.chosen) localStorage.setItem(CAMERA, video.chosen);
  if (audio.chosen) localStorage.setItem(MICROPHONE, audio.chosen);
}

const tracksOf = ({ audio, video }: Devices): Tracks => ({ audio: audio.track, video: video.track });

const socketUrl = () => `${location.protocol === "http:" ? "ws" : "wss"}://${location.host}/ws`;
