import { useRef } from "react";
import { api, ask } from "../api";
import { useDoing, useHouseWords, useLoad } from "../hooks";
import { newsOf, useLive } from "../live";
import { firstPages } from "../logic";
import { Done, State, Sure, Trouble } from "../parts";
import { organisationName, useDirectory } from "./directory";

/** So much is shown. */
const PAGES = 20;
/** Nobody is told of the end of what they see no more. */
const LOOK_MS = 20_000;

/** What others share with an organisation. It is ended there, too. */
export function Received({ organisation }: { organisation: string }) {
  const words = useHouseWords();
  const directory = useDirectory();
  const path = { id: organisation };
  const loadAccounts = async () => {
    const page = (after?: string) => {
      const params = { path, query: { after } };
      return ask(api.GET("/api/v1/organisations/{id}/account-shares", { params }));
    };
    return directory.may("accounts.manage") ? (await firstPages(page, PAGES)).items : [];
  };
  const loadRooms = async () => {
    const page = (after?: string) => {
      const params = { path, query: { after } };
      return ask(api.GET("/api/v1/organisations/{id}/room-shares", { params }));
    };
    return directory.may("rooms.manage") ? (await firstPages(page, PAGES)).items : [];
  };
  const accounts = useLoad(loadAccounts, `received accounts ${organisation}`, LOOK_MS);
  const rooms = useLoad(loadRooms, `received rooms ${organisation}`, LOOK_MS);
  useLive(newsOf("account"), accounts.again);
  useLive(newsOf("room"), rooms.again);
  const doing = useDoing();
  const heading = useRef<HTMLHeadingElement>(null);
  const end = (remove: () => Promise<unknown>, again: () => void) =>
    void doing.act(remove, words.received.ended).then((done) => {
      // What is ended takes its button along.
      if (done) heading.current?.focus();
      // Its home may have ended it meanwhile.
      again();
    });
  const endAccount = (id: string) => {
    const params = { path: { id, organisation } };
    end(
      () => ask(api.DELETE("/api/v1/accounts/{id}/shares/{organisation}", { params })),
      accounts.again,
    );
  };
  const endRoom = (number: string) => {
    const params = { path: { number, organisation } };
    end(
      () => ask(api.DELETE("/api/v1/rooms/{number}/shares/{organisation}", { params })),
      rooms.again,
    );
  };
  // Where one may not ask there is nothing to be said.
  const failed = [accounts.failure, rooms.failure].find(
    (failure) => failure && failure.status !== 403 && failure.status !== 404,
  );
  const none = !accounts.value?.length && !rooms.value?.length;
  if (none && !doing.done) return <Trouble failure={failed} />;
  return (
    <>
      <h3 ref={heading} tabIndex={-1}>
        {words.received.title}
      </h3>
      <p>{words.received.why}</p>
      <ul className="grants" data-testid="received">
        {accounts.value?.map((one) => (
          <Row
            key={one.account}
            kind={words.received.account}
            what={one.name ? `${one.name} (${one.user})` : one.user}
            home={organisationName(directory, one.home)}
            busy={doing.busy}
            end={() => endAccount(one.account)}
          />
        ))}
        {rooms.value?.map((one) => (
          <Row
            key={`room ${one.room}`}
            kind={words.received.room}
            what={one.name ? `${one.name} (${one.room})` : one.room}
            home={organisationName(directory, one.home)}
            busy={doing.busy}
            end={() => endRoom(one.room)}
          />
        ))}
      </ul>
      <Trouble failure={doing.failure ?? failed} />
      <Done text={doing.done} />
    </>
  );
}

interface RowProps {
  kind: string;
  what: string;
  home: string;
  busy: boolean;
  end: () => void;
}

function Row({ kind, what, home, busy, end }: RowProps) {
  const words = useHouseWords();
  return (
    <li>
      <span>
        <State kind="good">{kind}</State> <strong>{what}</strong> {words.received.from(home)}
      </span>
      <Sure
        size="small"
        label={words.received.end}
        name={words.received.endOf(what)}
        question={words.received.ask(what)}
        act={end}
        busy={busy}
        testId="end-received"
      />
    </li>
  );
}
