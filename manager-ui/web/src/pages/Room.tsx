import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import WarningFilled from "@ant-design/icons/es/icons/WarningFilled";
import Alert from "antd/es/alert";
import Button from "antd/es/button";
import ConfigProvider from "antd/es/config-provider";
import theme from "antd/es/theme";
import type { Devices, Kind } from "../capture";
import { news } from "../faults";
import { LanguageButton } from "../Frame";
import { grid } from "../grid";
import { useAnnouncements, useKeys, useSize, useWakeLock } from "../hooks";
import { useLanguage } from "../language";
import type { Site, SlotSize } from "../protocol";
import type { Words } from "../words";
import { useSink, type Speaker } from "../speaker";
import { ownSite, type Session, type Snapshot } from "../session";
import { Bar } from "./Bar";
import { Chat } from "./Chat";
import { named } from "./doors";
import { Settings } from "./Settings";
import { Tile } from "./Tile";

interface Props {
  room: string;
  name: string;
  devices: Devices;
  state: Snapshot;
  session: Session;
  /** Tries to get a device that is missing. */
  recover: (kind: Kind) => void;
  /** The browser has the format in which pictures come and go. */
  pictures: boolean;
  speaker: Speaker;
  choose: (kind: Kind, id: string) => void;
  useOriginal: (original: boolean) => void;
}

const GAP = 8;

/** The consult room: everybody's picture, and one bar. */
export function Room(props: Props) {
  const { room, name, devices, state, session, recover, pictures, speaker } = props;
  const { words } = useLanguage();
  const [help, setHelp] = useState(false);
  const [settings, setSettings] = useState(false);
  const chat = useChat(state);
  const own = ownSite(state, name);
  const press = (kind: Kind) => {
    const { tracks, muted } = session.snapshot;
    if (tracks[kind]) session.mute({ [kind]: !muted[kind] });
    else recover(kind);
  };
  useKeys({
    m: () => press("audio"),
    v: () => pictures && press("video"),
    c: chat.toggle,
    d: () => setSettings((shown) => !shown),
    "?": () => setHelp((shown) => !shown),
    Escape: () => setHelp(false),
  });
  useWakeLock();
  const announcement = useAnnouncements(state);
  return (
    <ConfigProvider theme={{ algorithm: theme.darkAlgorithm }}>
      <div className="room">
        <header>
          <h1>{words.roomTitle(room)}</h1>
          <span>{state.sites.length > 0 && words.sites(state.sites.length)}</span>
          <Notice state={state} devices={devices} pictures={pictures} />
          <LanguageButton />
        </header>
        <Sound track={state.peer?.sound ?? null} speaker={speaker} />
        <div className="floor">
          <Stage name={name} state={state} session={session} />
          {chat.open && (
            <Chat
              lines={state.chat}
              own={state.leg}
              refused={state.chatRefused}
              write={(text) => session.write(text)}
              close={chat.toggle}
            />
          )}
        </div>
        <Bar
          muted={state.muted}
          silenced={{ audio: own.audio_silenced, video: own.video_silenced }}
          devices={devices}
          pictures={pictures}
          press={press}
          chat={chat}
          settings={() => setSettings(true)}
          leave={() => session.leave()}
          help={() => setHelp(true)}
        />
        <div className="hidden" aria-live="polite">
          {announcement}
        </div>
        <div className="hidden" aria-live="polite" data-testid="chat-news">
          {chat.news && words.chatFrom(chat.news)}
        </div>
        <Settings {...props} open={settings} close={() => setSettings(false)} />
        <Help open={help} close={() => setHelp(false)} />
      </div>
    </ConfigProvider>
  );
}

/** Whether the chat is open, and what in it nobody has seen. */
function useChat(state: Snapshot) {
  const [open, setOpen] = useState(false);
  const [read, setRead] = useState(0);
  const last = state.chat.at(-1);
  useEffect(() => {
    if (open && last) setRead(last.id);
  }, [open, last]);
  const toggle = useCallback(() => {
    setOpen((shown) => !shown);
    // Where the keyboard was before, if the panel takes it along.
    if (open) document.querySelector<HTMLElement>('[data-testid="chat"]')?.focus();
  }, [open]);
  const unread = state.chat.filter((line) => line.id > read && line.leg !== state.leg).length;
  const news = !open && unread > 0 && last?.leg !== state.leg ? last?.name : undefined;
  return { open, toggle, unread: open ? 0 : unread, news };
}

/** What is the matter, in the head of the room: the pictures neither move nor are covered. */
function Notice({ state, devices, pictures }: Pick<Props, "state" | "devices" | "pictures">) {
  const { words } = useLanguage();
  const { phase, refusal } = state;
  const own = ownSite(state, "");
  const isSilenced = phase === "in" && (own.audio_silenced || own.video_silenced);
  const stuck = phase === "in" && state.peer?.connected === false;
  let text = "";
  if (phase === "joining") text = refusal ? words.refusals[refusal] : words.joining;
  if (phase === "reconnecting") text = refusal ? words.refusals[refusal] : words.reconnecting;
  if (stuck) text = words.mediaReconnecting;
  if (stuck && state.blocked) text = words.blocked(named(state.blocked));
  text ||= isSilenced ? silencedNews(own, words) : "";
  text ||= news(devices, words);
  const blind = !text && !pictures;
  if (blind) text = words.noPictureShort;
  const isMissed = devices.audio.tell === "missing" || devices.video.tell === "missing";
  const trouble = blind || isSilenced || phase === "reconnecting" || stuck || (phase === "in" && isMissed);
  if (!text && state.sites.length === 1) text = words.alone;
  return (
    <div className={trouble ? "notice trouble" : "notice"} role="status">
      {trouble && <WarningFilled aria-hidden="true" />}
      {text}
    </div>
  );
}

/** What an operator does to us: nothing that we can switch changes it. */
function silencedNews({ audio_silenced, video_silenced }: Site, words: Words): string {
  if (audio_silenced && video_silenced) return words.bothSilenced;
  if (audio_silenced) return words.audioSilenced;
  return video_silenced ? words.videoSilenced : "";
}

function Stage({ name, state, session }: Pick<Props, "name" | "state" | "session">) {
  const stage = useRef<HTMLElement>(null);
  const { width, height } = useSize(stage);
  const sites = useMemo(() => seen(state, name), [state, name]);
  const { columns, width: tileWidth, height: tileHeight } = grid(sites.length, width, height, GAP);

  useEffect(() => {
    const device = Math.min(Math.round(tileHeight * window.devicePixelRatio), 65_535);
    const sizes: SlotSize[] = state.slots.map((slot) => ({ mid: slot.mid, height: device }));
    // Dragging a window's edge is one change of size, not fifty.
    const timer = setTimeout(() => session.show(sizes), 300);
    return () => clearTimeout(timer);
  }, [tileHeight, state.slots, session]);

  const picture = useCallback(
    (site: Site) => {
      const slot = state.slots.find((slot) => slot.leg === site.leg);
      return slot && state.peer ? state.peer.picture(slot.mid) : null;
    },
    [state.slots, state.peer],
  );
  return (
    <main ref={stage}>
      <ul
        className="grid"
        style={{ gridTemplateColumns: `repeat(${columns}, ${tileWidth}px)`, gridAutoRows: tileHeight }}
      >
        {sites.map((site) => (
          <Tile
            key={site.leg}
            site={site}
            own={site.leg === (state.leg ?? -1)}
            speaks={site.leg === state.speaker}
            track={site.leg === (state.leg ?? -1) ? state.tracks.video : picture(site)}
          />
        ))}
      </ul>
    </main>
  );
}

/** Everybody, oneself last; before the first roster only oneself. */
function seen(state: Snapshot, name: string): Site[] {
  const own = ownSite(state, name);
  return [...state.sites.filter((site) => site.leg !== own.leg), own];
}

function Sound({ track, speaker }: { track: MediaStreamTrack | null; speaker: Speaker }) {
  const { words } = useLanguage();
  const audio = useRef<HTMLAudioElement>(null);
  const [blocked, setBlocked] = useState(false);
  useSink(audio, speaker.used);
  const play = useCallback(() => {
    const element = audio.current;
    element?.play().then(
      () => setBlocked(false),
      (error: unknown) => {
        setBlocked(error instanceof DOMException && error.name === "NotAllowedError");
      },
    );
  }, []);
  useEffect(() => {
    if (!audio.current) return;
    audio.current.srcObject = track ? new MediaStream([track]) : null;
    if (track) play();
  }, [track, play]);
  return (
    <>
      <audio ref={audio} data-testid="sound" autoPlay />
      {blocked && (
        <Alert
          type="warning"
          showIcon
          title={words.soundBlocked}
          action={<Button onClick={play}>{words.playSound}</Button>}
        />
      )}
    </>
  );
}

function Help({ open, close }: { open: boolean; close: () => void }) {
  const { words } = useLanguage();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  const keys = [
    ["M", words.keyMic],
    ["V", words.keyCamera],
    ["C", words.keyChat],
    ["D", words.keySettings],
    ["?", words.keyHelp],
    ["Esc", words.keyClose],
  ];
  return (
    <dialog ref={dialog} className="keys" aria-labelledby="keys-title" onClose={close}>
      <h2 id="keys-title">{words.keysTitle}</h2>
      <dl>
        {keys.map(([key, meaning]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
      <Button block onClick={close}>
        {words.keyClose}
      </Button>
    </dialog>
  );
}
