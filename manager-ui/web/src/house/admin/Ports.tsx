import { useEffect, useState } from "react";
import { Input } from "antd";
import { api, ask, type System as View } from "../api";
import { useDoing, useHouseWords } from "../hooks";
import { sharesOf } from "../logic.system";
import { Form, SaveRow, State, Trouble } from "../parts";
import { useDirectory } from "./directory";

/** What the server can take, by class, and how an administrator shares that out. */
export function Ports({ now, again }: { now: View; again: () => void }) {
  const words = useHouseWords().system;
  const manage = useDirectory().may("system.manage");
  const doing = useDoing();
  const [edits, setEdits] = useState<Record<string, string>>({});
  const [tried, setTried] = useState(false);
  const [saved, setSaved] = useState(false);
  const { ports } = now.capacity;
  const entry = (name: string, share: number) => edits[name] ?? String(share);
  const entries = ports.map((one) => [one.class, entry(one.class, one.share)] as const);
  const shares = sharesOf(entries);
  const wrong = tried && shares.wrong;
  // What was saved is shown until the server goes by it.
  const isTaken = saved && ports.every((one) => entry(one.class, one.share) === String(one.share));
  useEffect(() => {
    if (!isTaken) return;
    setEdits({});
    setSaved(false);
  }, [isTaken]);
  const save = () => {
    setTried(true);
    if (shares.wrong) return;
    const body = { full_hd: 0, hd: 0, sd: 0, browser: 0, sound: 0, ...shares.shares };
    void doing.act(async () => {
      await ask(api.PUT("/api/v1/system/ports", { body }));
      setTried(false);
      setSaved(true);
      again();
    }, words.shared);
  };
  const table = (
    <table data-testid="ports">
      <caption className="hidden">{words.portClasses}</caption>
      <thead>
        <tr>
          <th scope="col">{words.class}</th>
          <th scope="col">{words.taken}</th>
          <th scope="col">{words.left}</th>
          <th scope="col">{words.kept_share}</th>
        </tr>
      </thead>
      <tbody>
        {ports.map((one) => (
          <tr key={one.class} data-testid={`ports-${one.class}`}>
            <th scope="row">{words.classes[one.class] ?? one.class}</th>
            <td>{one.used}</td>
            <td>{one.free}</td>
            <td>
              {manage ? (
                <Input
                  className="share"
                  inputMode="numeric"
                  aria-label={words.keptFor(words.classes[one.class] ?? one.class)}
                  aria-invalid={Boolean(wrong)}
                  aria-describedby="ports-told"
                  status={wrong ? "error" : undefined}
                  value={entry(one.class, one.share)}
                  onChange={(event) => {
                    setSaved(false);
                    setEdits({ ...edits, [one.class]: event.target.value });
                  }}
                />
              ) : (
                one.share
              )}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
  return (
    <section>
      <h2>{words.portClasses}</h2>
      <Strained now={now} />
      {ports.length === 0 && <p>{words.unmeasured}</p>}
      {ports.length > 0 && !manage && table}
      {ports.length > 0 && manage && (
        <Form submit={save} className="ports">
          {table}
          <SaveRow doing={doing} />
        </Form>
      )}
      <Trouble failure={doing.failure} />
      <p className={wrong ? "wrong" : "hint"} id="ports-told" role={wrong ? "alert" : undefined}>
        {wrong ? words.wrongShares : words.portsHint}
      </p>
    </section>
  );
}

/** What has given way, where the machine is short of time. */
function Strained({ now }: { now: View }) {
  const words = useHouseWords().system;
  const { max_frame_rate, lowered_to, decoded } = now.capacity;
  if (lowered_to == null && (max_frame_rate == null || max_frame_rate >= 60)) return null;
  return (
    <p data-testid="strained">
      <State kind="bad">{words.strained}</State>{" "}
      {max_frame_rate != null && max_frame_rate < 60 && words.fewerPictures(String(max_frame_rate))}{" "}
      {decoded != null && decoded < 1 && words.slowCells}{" "}
      {lowered_to != null && words.smallerPictures(String(lowered_to))}
    </p>
  );
}
