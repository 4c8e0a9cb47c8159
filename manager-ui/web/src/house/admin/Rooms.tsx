import { useState } from "react";
import Button from "antd/es/button";
import { api, ask, Failure, type Room } from "../api";
import { useDoing, useEdits, useHouseWords } from "../hooks";
import { isName, isNumber, isPin } from "../logic";
import {
  Choice,
  Field,
  Form,
  PasswordField,
  Remove,
  SaveRow,
  State,
  Switch,
  Trouble,
} from "../parts";
import type { SectionProps } from "./Admin";
import { isForeign, organisationName, placeToBegin, useDirectory } from "./directory";
import { GuestLinks } from "./GuestLinks";
import { LayoutChoice } from "./LayoutChoice";
import { Chosen, Listing, useListed } from "./Listing";
import { Meeting } from "./Meeting";
import { PlaceChoice } from "./PlaceChoice";
import { Shares } from "./Shares";
import { Named, Source } from "./Source";
import type { components } from "../../schema";

type Srtp = "off" | "allowed" | "required";
type Layout = components["schemas"]["Layout"];

/** What may be a room's tallest picture, in lines. */
const CEILINGS = [1080, 720, 540, 360, 180];
const SITES = { least: 2, most: 1000 };

/** Rooms: make, change, remove, and what goes on in them. */
export function Rooms({ me, place, move }: SectionProps) {
  const words = useHouseWords();
  const directory = useDirectory();
  const list = useListed(
    "room",
    { place, move },
    (query) => ask(api.GET("/api/v1/rooms", { params: { query } })),
    roomOf,
  );
  const manage = directory.may("rooms.manage");
  return (
    <>
      <Listing
        title={words.sections.rooms}
        filter={{ label: words.rooms.filter, ...list.filter }}
        fresh={manage && words.rooms.fresh}
        place={place}
        move={move}
        columns={[
          { title: words.rooms.number, cell: (row) => row.number },
          { title: words.name, cell: (row) => <Named row={row} /> },
          { title: words.rooms.door, cell: (row) => <Door row={row} /> },
          {
            title: words.place,
            cell: (row) => organisationName(directory, row.organisation),
            wide: true,
          },
        ]}
        {...list.table}
      />
      <Chosen
        title={words.sections.rooms}
        fresh={{
          title: words.rooms.fresh,
          form: (
            <Edit
              row={null}
              at={placeToBegin(directory, place.at ?? me.organisation)}
              changed={({ id }) => list.made(id)}
            />
          ),
        }}
        place={place}
        move={move}
        shown={list.shown}
        failure={list.failure}
        titleOf={(row) => `${row.number} ${row.name}`}
      >
        {(shown) => (
          <>
            <p>
              <a href={`/room/${encodeURIComponent(shown.number)}`}>{words.rooms.enter}</a>
            </p>
            <Source row={shown} />
            <Meeting number={shown.number} />
            {!shown.of_file && manage && (
              <>
                {shown.guest_links && <GuestLinks number={shown.number} />}
                <Shares number={shown.number} home={shown.organisation} />
                {!isForeign(directory, shown.organisation) && (
                  <>
                    <h3>{words.rooms.settings}</h3>
                    <Edit row={shown} at={shown.organisation} changed={list.changed} />
                    <RemoveRoom row={shown} removed={list.removed} />
                  </>
                )}
              </>
            )}
          </>
        )}
      </Chosen>
    </>
  );
}

async function roomOf(id: string): Promise<Room> {
  const { items } = await ask(api.GET("/api/v1/rooms", { params: { query: { id } } }));
  if (!items[0]) throw new Failure(404);
  return items[0];
}

/** Who is let in, by word and colour. */
function Door({ row }: { row: Room }) {
  const words = useHouseWords();
  if (!row.guests && !row.guest_links) return <State kind="good">{words.rooms.members}</State>;
  const both = row.guests && row.guest_links;
  const one = row.guests ? words.rooms.guestsByPin : words.rooms.guestsByLink;
  return <State kind="off">{both ? words.rooms.guestsByBoth : one}</State>;
}

interface EditProps {
  /** None for a new one. */
  row: Room | null;
  at: string;
  changed: (row: Room) => void;
}

function Edit({ row, at, changed }: EditProps) {
  const words = useHouseWords();
  const { entry, set, changes, clear } = useEdits({
    number: row?.number ?? "",
    name: row?.name ?? "",
    organisation: at,
    guests: row?.guests ?? false,
    guest_links: row?.guest_links ?? false,
    srtp: (row?.srtp ?? "allowed") as Srtp,
    layout: (row?.layout ?? "equal") as Layout,
    captions: row?.captions ?? true,
    max_height: row?.max_height ?? null,
    max_frame_rate: row?.max_frame_rate ?? 30,
    max_legs: row?.max_legs ?? null,
  });
  // What is left empty stays as it is; a PIN is never shown.
  const [pins, setPins] = useState({ pin: "", guest_pin: "" });
  const [tried, setTried] = useState(false);
  const doing = useDoing();
  const guestPinWrong = () => {
    if (!entry.guests) return "";
    if (pins.guest_pin) return isPin(pins.guest_pin) ? "" : words.rooms.pinWrong;
    const asked = pins.pin || row?.has_pin || row?.has_guest_pin;
    return asked ? "" : words.rooms.guestPinMissing;
  };
  const wrong = {
    number: isNumber(entry.number) ? "" : words.rooms.numberWrong,
    name: isName(entry.name) ? "" : words.nameWrong,
    pin: pins.pin && !isPin(pins.pin) ? words.rooms.pinWrong : "",
    guest_pin: guestPinWrong(),
    max_legs: areSites(entry.max_legs) ? "" : words.rooms.maxLegsWrong,
  };
  const submit = async () => {
    setTried(true);
    if (Object.values(wrong).some(Boolean)) return;
    const fresh = {
      ...(pins.pin && { pin: pins.pin }),
      ...(entry.guests && pins.guest_pin && { guest_pin: pins.guest_pin }),
    };
    // A PIN of guests goes with them.
    const gone = changes.guests === false && row?.has_guest_pin && { guest_pin: null };
    const body = { ...changes, ...fresh, ...gone };
    const none = row !== null && Object.keys(body).length === 0;
    await doing.act(async () => {
      if (none) return;
      const params = { path: { number: row?.number ?? "" } };
      const made = row
        ? await ask(api.PATCH("/api/v1/rooms/{number}", { params, body }))
        : await ask(api.POST("/api/v1/rooms", { body: { ...entry, ...fresh } }));
      setPins({ pin: "", guest_pin: "" });
      clear();
      changed(made);
    }, none ? words.unchanged : words.saved);
  };
  const take = async (which: "pin" | "guest_pin") => {
    const params = { path: { number: row?.number ?? "" } };
    const body = { [which]: null };
    await doing.act(async () => {
      changed(await ask(api.PATCH("/api/v1/rooms/{number}", { params, body })));
    }, words.saved);
  };
  const pin = (which: "pin" | "guest_pin", label: string, hint: string, has: boolean) => (
    <div>
      <PasswordField
        label={label}
        testId={`room-${which}`}
        autoComplete="new-password"
        hint={has ? words.rooms.pinKept : hint}
        value={pins[which]}
        change={(value) => setPins({ ...pins, [which]: value })}
        wrong={tried ? wrong[which] : ""}
      />
      {has && (
        <Button size="small" data-testid={`take-${which}`} onClick={() => void take(which)}>
          {words.rooms.takePin}
        </Button>
      )}
    </div>
  );
  return (
    <Form submit={() => void submit()}>
      <Trouble failure={doing.failure} />
      <Field
        label={words.rooms.number}
        testId="room-number"
        hint={words.rooms.numberHint}
        value={entry.number}
        change={(number) => set({ number })}
        wrong={tried ? wrong.number : ""}
      />
      <Field
        label={words.name}
        testId="room-name"
        value={entry.name}
        change={(name) => set({ name })}
        wrong={tried ? wrong.name : ""}
      />
      <PlaceChoice
        testId="room-organisation"
        value={entry.organisation}
        change={(organisation) => set({ organisation })}
      />
      <Switch
        label={words.rooms.guestLinks}
        testId="room-guest-links"
        value={entry.guest_links}
        change={(guest_links) => set({ guest_links })}
      />
      <Switch
        label={words.rooms.guests}
        testId="room-guests"
        value={entry.guests}
        change={(guests) => set({ guests })}
      />
      {pin("pin", words.rooms.pin, words.rooms.pinHint, row?.has_pin ?? false)}
      {entry.guests &&
        pin(
          "guest_pin",
          words.rooms.guestPin,
          words.rooms.guestPinHint,
          row?.has_guest_pin ?? false,
        )}
      <Choice
        label={words.rooms.srtp}
        testId="room-srtp"
        value={entry.srtp}
        change={(srtp) => set({ srtp: srtp as Srtp })}
        options={(["required", "allowed", "off"] as const).map((value) => ({
          value,
          label: words.rooms.srtps[value],
        }))}
      />
      <LayoutChoice
        value={entry.layout}
        change={(layout) => set({ layout: layout as Layout })}
      />
      <Switch
        label={words.rooms.captions}
        testId="room-captions"
        value={entry.captions}
        change={(captions) => set({ captions })}
      />
      <Choice
        label={words.rooms.maxHeight}
        testId="room-max-height"
        value={String(entry.max_height ?? "")}
        change={(lines) => set({ max_height: lines ? Number(lines) : null })}
        options={[
          { value: "", label: words.rooms.noCeiling },
          ...CEILINGS.map((lines) => ({ value: `${lines}`, label: words.rooms.lines(`${lines}`) })),
        ]}
      />
      <Choice
        label={words.rooms.maxFrameRate}
        testId="room-max-frame-rate"
        value={`${entry.max_frame_rate}`}
        change={(rate) => set({ max_frame_rate: Number(rate) })}
        options={["30", "60"].map((value) => ({ value, label: words.rooms.frames(value) }))}
      />
      <Field
        label={words.rooms.maxLegs}
        testId="room-max-legs"
        hint={words.rooms.maxLegsHint}
        value={String(entry.max_legs ?? "")}
        change={(text) => set({ max_legs: digits(text) })}
        wrong={tried ? wrong.max_legs : ""}
      />
      <SaveRow doing={doing} />
    </Form>
  );
}

/** The number that somebody types; null where there is none. */
function digits(text: string): number | null {
  const typed = text.replace(/\D/g, "").slice(0, 4);
  return typed ? Number(typed) : null;
}

const areSites = (sites: number | null) =>
  sites === null || (sites >= SITES.least && sites <= SITES.most);

function RemoveRoom({ row, removed }: { row: Room; removed: () => void }) {
  const words = useHouseWords();
  const doing = useDoing();
  const params = { path: { number: row.number } };
  const remove = async () => {
    if (await doing.act(() => ask(api.DELETE("/api/v1/rooms/{number}", { params })))) removed();
  };
  return (
    <div className="acts end">
      <Trouble failure={doing.failure} />
      <Remove question={words.rooms.ask(row.number)} act={remove} busy={doing.busy} />
    </div>
  );
}
