import { useEffect, useRef, useState, type KeyboardEvent } from "react";
import { useHouseWords } from "../hooks";
import { linesOf, treeKey, type Line } from "../logic";
import { Choice } from "../parts";
import { organisationOptions, useDirectory } from "./directory";

interface Props {
  at: string | null;
  choose: (id: string | null) => void;
}

/** Organisations: a tree where there is room for one, else a list to choose from. */
export function Tree(props: Props) {
  const words = useHouseWords();
  const directory = useDirectory();
  const options = [{ value: "", label: words.everywhere }, ...organisationOptions(directory)];
  return (
    <div className="tree-column">
      <Wide {...props} />
      <div className="narrow">
        <Choice
          label={words.place}
          testId="place"
          value={props.at ?? ""}
          change={(id) => props.choose(id || null)}
          options={options}
        />
      </div>
    </div>
  );
}

function Wide({ at, choose }: Props) {
  const words = useHouseWords();
  const { tree } = useDirectory();
  // Two levels are open at first: a region and its hospitals.
  const [toggled, setToggled] = useState<ReadonlySet<string>>(new Set());
  const first = new Set(tree.map((node) => node.organisation.id));
  const isOpen = (id: string) => first.has(id) !== toggled.has(id);
  const lines = linesOf(tree, isOpen);
  const [focused, setFocused] = useState<string | null>(null);
  const held = focused ?? at ?? lines[0]?.node.organisation.id ?? null;
  const list = useRef<HTMLUListElement>(null);
  const moves = useRef(false);
  useEffect(() => {
    if (!moves.current) return;
    moves.current = false;
    list.current?.querySelector<HTMLElement>("[tabindex='0']")?.focus();
  }, [focused]);
  const toggle = (id: string) => {
    const next = new Set(toggled);
    if (!next.delete(id)) next.add(id);
    setToggled(next);
  };
  const pressed = (event: KeyboardEvent, id: string) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose(id === at ? null : id);
      return;
    }
    const step = treeKey(event.key, lines, id, isOpen);
    if (!step) return;
    event.preventDefault();
    if (step.toggle) toggle(step.toggle);
    if (step.focus) {
      moves.current = true;
      setFocused(step.focus);
    }
  };
  const item = (line: Line) => {
    const { organisation, children } = line.node;
    const { id } = organisation;
    const open = isOpen(id);
    return (
      <li
        key={id}
        role="treeitem"
        data-testid="tree-item"
        aria-level={line.level}
        aria-selected={id === at}
        aria-expanded={children.length > 0 ? open : undefined}
        tabIndex={lines.some((one) => one.node.organisation.id === held) ? (id === held ? 0 : -1) : line === lines[0] ? 0 : -1}
        className={`level-${Math.min(line.level, 9)}`}
        onClick={() => {
          setFocused(id);
          choose(id === at ? null : id);
        }}
        onKeyDown={(event) => pressed(event, id)}
      >
        <span
          className="twist"
          aria-hidden="true"
          onClick={(event) => {
            event.stopPropagation();
            if (children.length > 0) toggle(id);
          }}
        >
          {children.length > 0 ? (open ? "▾" : "▸") : ""}
        </span>
        {organisation.name} <small>{words.kinds[organisation.kind as keyof typeof words.kinds]}</small>
      </li>
    );
  };
  return (
    <ul className="tree" role="tree" aria-label={words.tree} ref={list}>
      {lines.map(item)}
    </ul>
  );
}
