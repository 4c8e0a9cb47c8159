import { useCallback, useEffect, useRef, useState } from "react";
import Button from "antd/es/button";
import Result from "antd/es/result";
import { capture, stop, type Problem } from "../devices";
import { Frame } from "../Frame";
import { useLanguage } from "../language";
import type { Tracks } from "../peer";
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
export function Visit({ room, home }: { room: string; home: () => void }) {
  const [entry, setEntry] = useState(remembered);
  const [tracks, setTracks] = useState<Tracks | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [attempt, setAttempt] = useState(0);
  const [state, setState] = useState<Snapshot | null>(null);
  const session = useRef<Session | null>(null);

  useEffect(() => {
    let current = true;
    void capture(entry).then((got) => {
      if (!current) return stop(got.tracks);
      setTracks((before) => {
        if (before) stop(before);
        return got.tracks;
      });
      setProblem(got.problem);
    });
    return () => {
      current = false;
    };
    // The name and the mute switches ask for no other device.
  }, [entry.camera, entry.microphone, attempt]);

  const latest = useRef(tracks);
  latest.current = tracks;
  useEffect(
    () => () => {
      session.current?.drop();
      if (latest.current) stop(latest.current);
    },
    [],
  );

  const join = useCallback(
    (tracks: Tracks) => {
      remember(entry);
      const visit = { room, name: entry.name.trim(), tracks, muted: entry.muted };
      const made = new Session(socketUrl(), visit, sessionStorage, (next) => {
        setState(next);
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
    },
    [entry, room],
  );

  // A reload comes back to where it was, without the join page.
  const returning = useRef(sessionStorage.getItem(resumeKey(room)) !== null && entry.name !== "");
  useEffect(() => {
    if (returning.current && tracks) {
      returning.current = false;
      join(tracks);
    }
  }, [tracks, join]);

  // Whoever has left is not watched any more.
  const ended = state?.phase === "ended";
  useEffect(() => {
    if (!ended) return;
    if (latest.current) stop(latest.current);
    setTracks(null);
  }, [ended]);

  if (ended) {
    const again = () => {
      setState(null);
      setAttempt(attempt + 1);
      setEntry({ ...entry, muted: state.muted });
    };
    return <Ended state={state} again={again} home={home} />;
  }
  if (state && session.current) {
    return <Room room={room} name={entry.name} tracks={tracks} state={state} session={session.current} />;
  }
  return (
    <Join
      room={room}
      entry={entry}
      tracks={tracks}
      problem={problem}
      change={(change) => setEntry({ ...entry, ...change })}
      again={() => setAttempt(attempt + 1)}
      join={() => join(tracks ?? { audio: null, video: null })}
    />
  );
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
  return {
    name: localStorage.getItem(NAME) ?? "",
    camera: localStorage.getItem(CAMERA) ?? undefined,
    microphone: localStorage.getItem(MICROPHONE) ?? undefined,
    muted,
  };
}

function remember(entry: Entry): void {
  localStorage.setItem(NAME, entry.name.trim());
  if (entry.camera) localStorage.setItem(CAMERA, entry.camera);
  if (entry.microphone) localStorage.setItem(MICROPHONE, entry.microphone);
}

const socketUrl = () => `${location.protocol === "http:" ? "ws" : "wss"}://${location.host}/ws`;
