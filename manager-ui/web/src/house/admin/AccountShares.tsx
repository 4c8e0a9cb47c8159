import { useState } from "react";
import Button from "antd/es/button";
import { api, ask } from "../api";
import { useDoing, useHouseWords, useLoad } from "../hooks";
import { newsOf, useLive } from "../live";
import { Done, Switch, Trouble } from "../parts";
import { organisationMark, placeToBegin, useDirectory } from "./directory";
import { PlaceChoice } from "./PlaceChoice";

interface Shared {
  may_view: boolean;
  may_call: boolean;
}

/** With which other organisations an account is shared, and to what end. */
export function AccountShares({ id, home }: { id: string; home: string }) {
  const words = useHouseWords();
  const directory = useDirectory();
  const path = { id };
  const load = () => ask(api.GET("/api/v1/accounts/{id}/shares", { params: { path } }));
  const shares = useLoad(load, `shares ${id}`);
  useLive(newsOf("account"), shares.again);
  const [other, setOther] = useState(placeToBegin(directory, ""));
  const doing = useDoing();
  // Who sees it by a share manages it not.
  if (shares.failure?.status === 403) return null;
  const to = (organisation: string) => ({ params: { path: { id, organisation } } });
  const share = (organisation: string, body: Shared) =>
    void doing.act(async () => {
      const url = "/api/v1/accounts/{id}/shares/{organisation}";
      await ask(api.PUT(url, { ...to(organisation), body }));
      shares.again();
    }, words.saved);
  const end = (organisation: string) =>
    void doing.act(async () => {
      await ask(api.DELETE("/api/v1/accounts/{id}/shares/{organisation}", to(organisation)));
      shares.again();
    }, words.saved);
  return (
    <section className="landing" aria-label={words.accounts.shares}>
      <h3>{words.accounts.shares}</h3>
      <p className="hint">{words.accounts.sharesWhy}</p>
      <Trouble failure={shares.failure ?? doing.failure} />
      {shares.value?.map((row) => {
        const name = organisationMark(directory, row.organisation);
        return (
          <fieldset key={row.organisation} data-testid="account-share">
            <legend>{name}</legend>
            <Switch
              label={words.accounts.mayView}
              testId="may-view"
              value={row.may_view}
              change={(may_view) => share(row.organisation, { ...row, may_view })}
            />
            <Switch
              label={words.accounts.mayCall}
              testId="may-call"
              value={row.may_call}
              change={(may_call) => share(row.organisation, { ...row, may_call })}
            />
            <Button
              data-testid="unshare"
              aria-label={words.accounts.unshareOf(name)}
              onClick={() => end(row.organisation)}
            >
              {words.accounts.unshare}
            </Button>
          </fieldset>
        );
      })}
      <PlaceChoice
        label={words.accounts.shareWith}
        testId="share-with"
        value={other}
        change={setOther}
      />
      <div className="acts">
        <Button
          data-testid="share"
          disabled={other === home}
          onClick={() => share(other, { may_view: true, may_call: true })}
        >
          {words.accounts.share}
        </Button>
        <Done text={doing.done} />
      </div>
    </section>
  );
}
