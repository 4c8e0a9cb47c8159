import { useHouseWords } from "../hooks";
import { State } from "../parts";
import { isForeign, useDirectory } from "./directory";

interface Row {
  organisation: string;
  name: string;
  of_file: boolean;
  in_force: boolean;
}

/** The name of a room or account, and where it comes from if not from here. */
export function Named({ row }: { row: Row }) {
  const { file, notInForce } = useHouseWords().source;
  if (row.of_file) return <State kind="off">{file}</State>;
  return (
    <>
      {row.name} {!row.in_force && <State kind="bad">{notInForce}</State>}
    </>
  );
}

/** Where it is changed, or why it does not count. */
export function Source({ row }: { row: Row }) {
  const { why, whyNot, foreign } = useHouseWords().source;
  const directory = useDirectory();
  if (row.of_file) return <p data-testid="of-file">{why}</p>;
  if (isForeign(directory, row.organisation)) return <p data-testid="foreign">{foreign}</p>;
  return row.in_force ? null : <p data-testid="not-in-force">{whyNot}</p>;
}
