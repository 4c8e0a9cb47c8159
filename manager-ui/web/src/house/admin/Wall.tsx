import { useRef, useState } from "react";
import { api, ask, PAGE, type Running, type RunningSite } from "../api";
import { useHouseWords, useMoment, usePages } from "../hooks";
import { useGathered, useLive } from "../live";
import { matching, troubled } from "../logic";
import { Field, Loading, State, Trouble } from "../parts";
import type { SectionProps } from "./Admin";
import { Bars } from "./Bars";
import { organisationName, useDirectory } from "./directory";
import { Meeting } from "./Meeting";
import { Panel } from "./Panel";
import { Still } from "./Still";
import { useWayBack } from "./Table";

/** Between two looks at the figures; who comes and goes is told at once. */
const LOOK_MS = 5000;
/** What happens within this is one look. */
const GATHER_MS = 500;
const NEWS = [
  "meeting.began",
  "meeting.ended",
  "leg.joined",
  "leg.left",
  "leg.muted",
  "leg.quality",
  "room.changed",
];

/** Every meeting that is running, each a click away from its control. */
export function Wall({ place, move }: SectionProps) {
  const words = useHouseWords();
  const directory = useDirectory();
  const [filter, setFilter] = useState("");
  const pages = usePages(
    (after) => ask(api.GET("/api/v1/meetings", { params: { query: { after, limit: PAGE } } })),
    "meetings",
    LOOK_MS,
  );
  useLive(NEWS, useGathered(pages.again, GATHER_MS));
  const all = pages.items;
  const shown = all && matching(all, filter, (id) => organisationName(directory, id));
  const list = useRef<HTMLUListElement>(null);
  useWayBack(list, place.chosen);
  const chosen = all?.find(({ number }) => number === place.chosen);
  return (
    <>
      <div className="middle">
        <div className="tools">
          <Field label={words.wall.filter} testId="filter" value={filter} change={setFilter} />
          <p className="count" role="status">
            {all && words.wall.running(`${all.length}${pages.more ? "+" : ""}`)}
          </p>
        </div>
        <Trouble failure={pages.failure} />
        {!all && !pages.failure && <Loading />}
        {all?.length === 0 && <p className="nothing">{words.wall.none}</p>}
        {all && all.length > 0 && shown?.length === 0 && <p className="nothing">{words.nothing}</p>}
        <ul className="wall" data-testid="wall" ref={list}>
          {shown?.map((meeting) => (
            <Tile
              key={meeting.number}
              meeting={meeting}
              chosen={meeting.number === place.chosen}
              choose={() => move({ chosen: meeting.number })}
            />
          ))}
        </ul>
      </div>
      {place.chosen && (
        <Panel
          key={place.chosen}
          title={[place.chosen, chosen?.name].filter(Boolean).join(" ")}
          chosen={place.chosen}
          close={() => move({ chosen: null })}
        >
          <p>
            <a href={`/room/${encodeURIComponent(place.chosen)}`}>{words.rooms.enter}</a>
          </p>
          <Meeting number={place.chosen} />
        </Panel>
      )}
    </>
  );
}

interface TileProps {
  meeting: Running;
  chosen: boolean;
  choose: () => void;
}

function Tile({ meeting, chosen, choose }: TileProps) {
  const words = useHouseWords();
  const directory = useDirectory();
  const moment = useMoment();
  const { number, name, organisation, since_ms, may_watch, sites } = meeting;
  const bad = troubled(sites);
  return (
    <li className={chosen ? "meeting chosen" : "meeting"} data-testid="meeting">
      <h2>
        <button
          type="button"
          className="row"
          data-row={number}
          aria-current={chosen ? "true" : undefined}
          onClick={choose}
        >
          {number} {name}
        </button>
      </h2>
      <p>
        <small>
          {organisationName(directory, organisation)} · {words.wall.since(moment(since_ms))}
        </small>
      </p>
      {may_watch && (
        <Still number={number} title={[number, name].filter(Boolean).join(" ")} />
      )}
      <p className="states">
        <State kind="off">{words.wall.sites(sites.length)}</State>
        {bad > 0 && <State kind="bad">{words.wall.troubled(bad)}</State>}
      </p>
      <ul>
        {sites.map((site) => (
          <Site key={site.leg} site={site} />
        ))}
      </ul>
    </li>
  );
}

function Site({ site }: { site: RunningSite }) {
  const words = useHouseWords();
  const { name, kind, waiting, audio_muted, received, sent } = site;
  return (
    <li>
      <span className="who">
        <bdi>{name}</bdi>
        <small>
          {words.meeting.kinds[kind] ?? kind}
          {audio_muted && ` · ${words.wall.muted}`}
        </small>
      </span>
      {waiting ? (
        <Bars quality="waiting" />
      ) : (
        <span className="ways">
          <small>
            {words.meeting.from} <Bars quality={received.quality} />
          </small>
          <small>
            {words.meeting.to} <Bars quality={sent.quality} />
          </small>
        </span>
      )}
    </li>
  );
}
