// Names of organisations and roles, which rows and entries hold by id.

import { createContext, useContext } from "react";
import type { Organisation, Right, Role } from "../api";
import { firstOffered, linesOf, type Node } from "../logic";
import type { HouseWords } from "../words";

export interface Directory {
  organisations: readonly Organisation[];
  /** In words: one that is not among them. */
  hidden: string;
  tree: readonly Node[];
  roles: readonly Role[];
  /** Loads organisations again. */
  again: () => void;
  /** Has an organisation be as the server answered. */
  put: (row: Organisation) => void;
  /** Loads roles again. */
  rolesAgain: () => void;
  /** Has a role be as the server answered. */
  putRole: (row: Role) => void;
  /** Whether the right is held somewhere; where, the server says. */
  may: (right: Right) => boolean;
}

/** Before anything is known. */
export const NOBODY: Directory = {
  organisations: [],
  hidden: "",
  tree: [],
  roles: [],
  again: () => {},
  put: () => {},
  rolesAgain: () => {},
  putRole: () => {},
  may: () => false,
};

export const DirectoryContext = createContext<Directory>(NOBODY);

export const useDirectory = () => useContext(DirectoryContext);

/** The start of an id, for what has no name here. */
export const short = (id: string) => id.slice(0, 8);

export function organisationName({ organisations, hidden }: Directory, id: string): string {
  return organisations.find((row) => row.id === id)?.name ?? hidden;
}

/** The same where several may be out of sight, and each is to be known from the others. */
export function organisationMark(directory: Directory, id: string): string {
  const name = organisationName(directory, id);
  return name === directory.hidden ? `${name} (${short(id)})` : name;
}

/** Whether something is seen by a share alone: its organisation is none that is shown. */
export function isForeign({ organisations, may }: Directory, organisation: string): boolean {
  return may("organisations.view") && !organisations.some((row) => row.id === organisation);
}

export function roleName({ roles }: Directory, id: string, words: HouseWords): string {
  return words.roles[id] ?? roles.find((row) => row.id === id)?.name ?? short(id);
}

/** Where a form begins: at the place that is wanted if it is offered, else at the first that is. */
export function placeToBegin(directory: Directory, wanted: string): string {
  return firstOffered(organisationOptions(directory), wanted);
}

/** Organisations to choose from, each below and further in than the one that it belongs to. */
export function organisationOptions({ tree }: Directory): { value: string; label: string }[] {
  return linesOf(tree, () => true).map(({ node, level }) => ({
    value: node.organisation.id,
    label: `${"\u2003".repeat(level - 1)}${node.organisation.name}`,
  }));
}
