import { useEffect, useRef, type ReactNode, type RefObject } from "react";
import Button from "antd/es/button";
import { useHouseWords } from "../hooks";

export interface Column<T> {
  title: string;
  cell: (row: T) => ReactNode;
  /** Left out where the page is narrow. */
  wide?: boolean;
}

interface Props<T> {
  caption: string;
  columns: Column<T>[];
  rows: readonly T[];
  idOf: (row: T) => string;
  chosen: string | null;
  choose: (id: string) => void;
  /** There are more rows: loads them. */
  more?: () => void;
  busy?: boolean;
}

/** Whoever closes what was chosen comes back to where it was. */
export function useWayBack(list: RefObject<HTMLElement | null>, chosen: string | null) {
  const last = useRef(chosen);
  useEffect(() => {
    const before = last.current;
    last.current = chosen;
    if (before && !chosen) {
      list.current?.querySelector<HTMLElement>(`[data-row="${CSS.escape(before)}"]`)?.focus();
    }
  }, [list, chosen]);
}

/** Rows of which one can be chosen. The first column's button is what the keyboard reaches. */
export function Table<T>(props: Props<T>) {
  const words = useHouseWords();
  const { columns, rows, idOf, chosen, choose } = props;
  const body = useRef<HTMLTableSectionElement>(null);
  useWayBack(body, chosen);
  // A row that is gone takes the focus along: it goes to the table then.
  const table = useRef<HTMLTableElement>(null);
  const focused = useRef<string | undefined>(undefined);
  useEffect(() => {
    const id = focused.current;
    const lost = id !== undefined && document.activeElement === document.body;
    if (!lost || body.current?.querySelector(`[data-row="${CSS.escape(id)}"]`)) return;
    focused.current = undefined;
    table.current?.focus();
  }, [rows]);
  return (
    <>
      <table data-testid="table" ref={table} tabIndex={-1}>
        <caption className="hidden">{props.caption}</caption>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.title} scope="col" className={column.wide ? "wide-only" : undefined}>
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody
          ref={body}
          onFocus={({ target }) => {
            focused.current = target.dataset.row;
          }}
        >
          {rows.map((row) => {
            const id = idOf(row);
            return (
              <tr
                key={id}
                className={id === chosen ? "chosen" : undefined}
                onClick={() => choose(id)}
              >
                {columns.map((column, index) => (
                  <td key={column.title} className={column.wide ? "wide-only" : undefined}>
                    {index > 0 ? (
                      column.cell(row)
                    ) : (
                      <button
                        type="button"
                        className="row"
                        data-row={id}
                        aria-current={id === chosen ? "true" : undefined}
                        onClick={(event) => {
                          event.stopPropagation();
                          choose(id);
                        }}
                      >
                        {column.cell(row)}
                      </button>
                    )}
                  </td>
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
      {rows.length === 0 && <p className="nothing">{words.nothing}</p>}
      <p className="count" role="status">
        {rows.length > 0 && words.shown(`${rows.length}${props.more ? "+" : ""}`)}
      </p>
      {props.more && (
        <Button data-testid="more" onClick={props.more} loading={props.busy}>
          {words.more}
        </Button>
      )}
    </>
  );
}
