import { useCallback, useEffect, useRef, useState } from "react";
import Button from "antd/es/button";
import Result from "antd/es/result";
import { Capture, untouched, type Devices, type Kind } from "../capture";
import { Frame } from "../Frame";
import { forgetGuest, guestSecret } from "../guest";
import { useLanguage } from "../language";
import { hasPictures, type Tracks } from "../peer";
import type { Refusal } from "../protocol";
import { resumeKey, Session, type Snapshot } from "../session";
import { useSpeaker } from "../speaker";
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
const ORIGINALS = "consilium.original";
/** This does not change while the page is open. */
const PICTURES = hasPictures();

/** From the join page through the room to the end of the visit. */
export default function Visit({ room, home }: { room: string; home: () => void }) {
  const [entry, setEntry] = useState(remembered);
  const [devices, setDevices] = useState(rememberedDevices);
  const [state, setState] = useState<Snapshot | null>(null);
  const session = useRef<Session | null>(null);

  const capture = useRef<Capture | null>(null);
  useEffect(() => {
    const originals = rememberedOriginals();
    const heed = (next: Devices) => {
      if (capture.current !== made) return;
      setDevices(next);
      session.current?.use(tracksOf(next));
      if (!next.audio.pending) session.current?.useOriginal(next.audio.original);
    };
    const made = new Capture(rememberedDevices(), heed, originals);
    capture.current = made;
    made.open();
    return () => {
      capture.current = null;
      // Another page of this site takes the place, as by Back: others do not go on seeing who is gone. A
      // reload or another site's page does not come by here, and its way back is the token.
      session.current?.leave();
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
  const choose = useCallback((kind: Kind, id: string) => {
    capture.current?.choose(kind, id);
    localStorage.setItem(kind === "video" ? CAMERA : MICROPHONE, id);
  }, []);
  const useOriginal = useCallback((original: boolean) => {
    capture.current?.useOriginal(original);
    const ids = capture.current?.originalIds ?? [];
    localStorage.setItem(ORIGINALS, JSON.stringify(ids));
  }, []);
  const speaker = useSpeaker(devices);

  const ready = !devices.audio.pending && !devices.video.pending;
  const join = useCallback(() => {
    if (!ready) return;
    remember(entry, devices);
    const { muted, pin } = entry;
    const known = { room, name: entry.name.trim(), pin: pin || undefined, guest: guest.current };
    const { original } = devices.audio;
    const visit = { ...known, tracks: tracksOf(devices), muted, original };
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
        pictures={PICTURES}
        speaker={speaker}
        choose={choose}
        useOriginal={useOriginal}
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
      pictures={PICTURES}
      speaker={speaker}
      url={socketUrl()}
      choose={choose}
      useOriginal={useOriginal}
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
          title={<h1>{refusal ? words.refusals[refusal] : words.left}</h1>}
          extra={[
            <Button key="again" data-testid="rejoin" type="primary" onClick={props.again} autoFocus>
              {words.rejoin}
            </Button>,
            // Whoever has an account here may be let in by it.
            refusal === "not_allowed" && (
              <Button key="log-in" data-testid="log-in-first" href={loginHref(location.pathname)}>
                {words.logIn}
              </Button>
            ),
            <Button key="home" onClick={props.home}>
              {words.home}
            </Button>,
          ]}
        />
      </div>
    </Frame>
  );
}

/** The login, which leads back here. */
const loginHref = (from: string) => `/login?from=${encodeURIComponent(from)}`;

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

/** A picture that cannot be sent is none, so that others are told so. */
const tracksOf = ({ audio, video }: Devices): Tracks => ({
  audio: audio.track,
  video: PICTURES ? video.track : null,
});

/** Ids of microphones whose sound goes as it is. */
function rememberedOriginals(): Set<string> {
  try {
    const ids: unknown = JSON.parse(localStorage.getItem(ORIGINALS) ?? "[]");
    return new Set(Array.isArray(ids) ? ids.filter((id) => typeof id === "string") : []);
  } catch {
    // Somebody else's value: none.
    return new Set();
  }
}

const socketUrl = () => `${location.protocol === "http:" ? "ws" : "wss"}://${location.host}/ws`;
