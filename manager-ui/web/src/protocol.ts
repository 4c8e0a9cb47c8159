// What the page and the controller say to each other over the WebSocket, as JSON. The truth is the
// crate mcu-api, module `manager`.

export type LegId = number;

export interface Site {
  leg: LegId;
  name: string;
  kind: "sip" | "browser";
  audio_muted: boolean;
  video_muted: boolean;
  /** An operator has it not be heard, or not be seen, whatever it wants itself. */
  audio_silenced: boolean;
  video_silenced: boolean;
  /** Its sound comes as it is, without suppression of noise or gain control. */
  original_sound: boolean;
  /** How much later its sound leaves the server than its picture, in ms; null while not known. */
  sound_lag_ms: number | null;
}

/** Which site a slot (one of our receiving video lines) shows. */
export interface Slot {
  mid: string;
  leg: LegId;
}

export type Refusal =
  | "no_such_room"
  | "not_allowed"
  | "room_full"
  | "bad_offer"
  | "bad_request"
  | "no_media"
  | "removed"
  | "pin_wanted"
  | "pin_wrong"
  | "pin_refused"
  | "quarantined"
  | "link_wrong"
  | "link_expired"
  | "link_revoked"
  | "link_used_up"
  | "link_refused"
  | "session_ended"
  | "right_taken";

export interface SlotSize {
  mid: string;
  /** Device pixels; 0 when it is not visible. */
  height: number;
}

export type BrowserMessage =
  | {
      type: "join";
      room: string;
      name: string;
      /** An offer; none when the peer connection goes on, as `answer_ufrag` says. */
      sdp?: string;
      answer_ufrag?: string;
      resume?: string;
      audio_muted: boolean;
      video_muted: boolean;
      /** Of the room, after it was asked for. */
      pin?: string;
      /** What stands in the link by which a guest comes. */
      guest?: string;
      /** The page takes changes of the roster. */
      roster_changes: true;
    }
  | { type: "offer"; sdp: string }
  | { type: "mute"; audio: boolean; video: boolean }
  | { type: "sizes"; slots: SlotSize[] }
  | { type: "sound"; original: boolean }
  | { type: "chat"; text: string }
  /** First message: see whether media gets through, before a room is entered. */
  | { type: "probe"; sdp: string }
  | { type: "leave" };

/** One thing that was written in the room. */
export interface ChatLine {
  /** Milliseconds since 1970; no two of a room have the same. */
  id: number;
  leg: LegId;
  name: string;
  text: string;
}

export type ServerMessage =
  /** The answer is null when the peer connection goes on. */
  | { type: "joined"; leg: LegId; sdp: string | null; resume: string }
  /** Relays for the connection of the next answer. */
  | { type: "relays"; urls: string[]; username: string; credential: string }
  | { type: "answer"; sdp: string }
  | { type: "refused"; code: Refusal }
  | { type: "roster"; sites: Site[]; slots: Slot[]; speaker: LegId | null; max_height?: number | null }
  /** Sites that are new, behind all others, or other than they were; and those that are gone. */
  | {
      type: "roster_change";
      sites: Site[];
      gone: LegId[];
      slots: Slot[];
      speaker: LegId | null;
      max_height: number | null;
    }
  /** A new line, or those since the page first came. */
  | { type: "chat"; lines: ChatLine[] }
  | { type: "chat_refused" }
  | { type: "renew" };
