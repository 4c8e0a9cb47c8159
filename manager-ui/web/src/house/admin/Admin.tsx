import { useEffect, useMemo, useRef } from "react";
import { useLanguage } from "../../language";
import { api, ask, organisations, type Failure, type Me } from "../api";
import { useHouseWords, useLoad } from "../hooks";
import { newsOf, useLive } from "../live";
import { addressOf, placeOf, sectionsOf, treeOf, withRow, type Place, type Section } from "../logic";
import { Link, Loading, Trouble, type Go } from "../parts";
import { Accounts } from "./Accounts";
import { Audit } from "./Audit";
import { DirectoryContext, NOBODY, type Directory } from "./directory";
import { Organisations } from "./Organisations";
import { People } from "./People";
import { Roles } from "./Roles";
import { Rooms } from "./Rooms";
import { System } from "./System";
import { Tree } from "./Tree";
import { Trunks } from "./Trunks";
import { Wall } from "./Wall";
import { Webhooks } from "./Webhooks";

/** What a section of the administration is given. */
export interface SectionProps {
  me: Me;
  place: Place;
  /** Goes elsewhere in the administration. */
  move: (to: Partial<Place>) => void;
  search: string;
}

const PAGES: Record<Section, (props: SectionProps) => React.JSX.Element> = {
  meetings: Wall,
  rooms: Rooms,
  accounts: Accounts,
  trunks: Trunks,
  organisations: Organisations,
  people: People,
  roles: Roles,
  webhooks: Webhooks,
  audit: Audit,
  system: System,
};

interface Props {
  me: Me;
  path: string;
  search: string;
  go: Go;
}

/** The administration: what the person's rights show, and nothing else. */
export default function Admin({ me, path, search, go }: Props) {
  const words = useHouseWords();
  const sections = sectionsOf(me.rights);
  const asked = placeOf(path, search);
  const section = sections.find((one) => one === asked.section) ?? sections[0];
  const { directory, failure } = useNames(me);
  const tabs = useCurrentInView(`${section} ${sections.length}`);
  if (!section) return <p className="card">{words.nothingHere}</p>;
  const place = { ...asked, section };
  const move = (to: Partial<Place>) => go(addressOf({ ...place, ...to }));
  const Page = PAGES[section];
  const hasTree = section === "organisations" || section === "people";
  return (
    <DirectoryContext.Provider value={directory ?? NOBODY}>
      <h1 className="hidden">{words.administration}</h1>
      <nav className="tabs" aria-label={words.administration} ref={tabs}>
        {sections.map((one) => (
          <Link
            key={one}
            to={addressOf({ section: one, chosen: null, at: place.at })}
            go={go}
            current={one === section}
            testId={`tab-${one}`}
          >
            {words.sections[one]}
          </Link>
        ))}
      </nav>
      {directory && <Trouble failure={failure} />}
      {!directory ? (
        <Loading failure={failure} />
      ) : (
      <div className={`admin ${hasTree ? "with-tree" : ""} ${place.chosen ? "has-chosen" : ""}`}>
        {hasTree && directory.tree.length > 0 && (
          <Tree at={place.at} choose={(at) => move({ at, chosen: null })} />
        )}
        <Page key={section} me={me} place={place} move={move} search={search} />
      </div>
      )}
    </DirectoryContext.Provider>
  );
}

/** Has the current one of these tabs be in view, which on a phone scroll, also after they were turned. */
function useCurrentInView(key: string) {
  const { language } = useLanguage();
  const tabs = useRef<HTMLElement>(null);
  useEffect(() => {
    const shown = tabs.current;
    if (!shown) return;
    // The row alone scrolls, and at once: nothing moves before the eyes of who wants no motion.
    const show = () => {
      const current = shown.querySelector('[aria-current="page"]');
      if (!current) return;
      const [row, tab] = [shown.getBoundingClientRect(), current.getBoundingClientRect()];
      shown.scrollLeft += tab.left - row.left - (row.width - tab.width) / 2;
    };
    const observer = new ResizeObserver(show);
    observer.observe(shown);
    return () => observer.disconnect();
  }, [key, language]);
  return tabs;
}

interface Names {
  /** None until all of it is there: without names and places nothing is shown or chosen rightly. */
  directory: Directory | undefined;
  failure: Failure | undefined;
}

function useNames(me: Me): Names {
  const { language } = useLanguage();
  const { hidden } = useHouseWords().organisations;
  const may = (right: Me["rights"][number]) => me.rights.includes(right);
  const rows = useLoad(
    async () => (may("organisations.view") ? organisations() : []),
    `organisations ${may("organisations.view")}`,
  );
  const roles = useLoad(
    async () => (may("roles.view") ? ask(api.GET("/api/v1/roles")) : []),
    `roles ${may("roles.view")}`,
  );
  useLive(newsOf("organisation"), rows.again);
  useLive(newsOf("role"), roles.again);
  const list = rows.value;
  const tree = useMemo(() => treeOf(list ?? [], language), [list, language]);
  const failure = rows.failure ?? roles.failure;
  if (!list || !roles.value) return { directory: undefined, failure };
  const known = roles.value;
  const directory: Directory = {
    organisations: list,
    hidden,
    tree,
    roles: known,
    again: rows.again,
    put(row) {
      rows.put(withRow(list, row));
      // Those below it moved with it.
      rows.again();
    },
    rolesAgain: roles.again,
    putRole: (row) => roles.put(withRow(known, row)),
    may,
  };
  return { directory, failure };
}
