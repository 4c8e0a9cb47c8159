import AudioMutedOutlined from "@ant-design/icons/es/icons/AudioMutedOutlined";
import DesktopOutlined from "@ant-design/icons/es/icons/DesktopOutlined";
import SoundFilled from "@ant-design/icons/es/icons/SoundFilled";
import { useLanguage } from "../language";
import { Picture } from "../Picture";
import type { Site } from "../protocol";

interface Props {
  site: Site;
  own: boolean;
  speaks: boolean;
  track: MediaStreamTrack | null;
}

/** One site: its picture or its initial, its name, and whether it speaks or is muted. */
export function Tile({ site, own, speaks, track }: Props) {
  const { words } = useLanguage();
  const name = own ? `${site.name} (${words.you})` : site.name;
  const muted = site.audio_silenced ? words.silencedMark : words.micMuted;
  return (
    <li className={speaks ? "tile speaks" : "tile"} data-testid="tile" data-leg={site.leg}>
      <div className="initial" aria-hidden="true">
        {[...site.name.trim()][0]?.toUpperCase() ?? "?"}
      </div>
      {/* Lies over the initial, and lets it be seen until the first frame. */}
      {track && !site.video_muted && (
        <Picture track={track} mirrored={own} label={name} testId="tile-video" />
      )}
      <div className="label">
        {site.kind === "sip" && <DesktopOutlined title={words.terminal} aria-label={words.terminal} />}
        {site.audio_muted && <AudioMutedOutlined className="muted" title={muted} aria-label={muted} />}
        {speaks && !site.audio_muted && (
          <SoundFilled className="speaking" title={words.speaking} aria-label={words.speaking} />
        )}
        {(site.audio_silenced || site.video_silenced) && (
          <em className="silenced" data-testid="silenced-mark">
            {site.audio_silenced ? words.silencedMark : words.hiddenMark}
          </em>
        )}
        {site.original_sound && <em data-testid="original-mark">{words.originalMark}</em>}
        <bdi>{name}</bdi>
      </div>
    </li>
  );
}
