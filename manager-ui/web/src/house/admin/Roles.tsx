import { useEffect, useState } from "react";
import { api, ask, type Right, type Role } from "../api";
import { useDoing, useEdits, useHouseWords } from "../hooks";
import { isName } from "../logic";
import { Field, Form, Remove, SaveRow, Trouble } from "../parts";
import { RightsList } from "../RightsList";
import type { SectionProps } from "./Admin";
import { organisationName, placeToBegin, roleName, useDirectory } from "./directory";
import { Listing } from "./Listing";
import { Panel } from "./Panel";
import { PlaceChoice } from "./PlaceChoice";

/** Roles that every server has, and organisations' own. */
export function Roles({ me, place, move }: SectionProps) {
  const words = useHouseWords();
  const directory = useDirectory();
  const [filter, setFilter] = useState("");
  const wanted = filter.trim().toLowerCase();
  const name = (row: Role) => roleName(directory, row.id, words);
  const rows = directory.roles.filter((row) => name(row).toLowerCase().includes(wanted));
  const whose = (row: Role) =>
    row.organisation ? organisationName(directory, row.organisation) : words.rolesPage.builtIn;
  const shown = directory.roles.find((row) => row.id === place.chosen);
  // What is chosen is read when it is: the list may be old.
  const { rolesAgain } = directory;
  useEffect(() => {
    if (place.chosen && place.chosen !== "new") rolesAgain();
  }, [place.chosen, rolesAgain]);
  return (
    <>
      <Listing
        title={words.sections.roles}
        filter={{ label: words.filter, value: filter, change: setFilter }}
        fresh={directory.may("roles.manage") && words.rolesPage.fresh}
        place={place}
        move={move}
        columns={[
          { title: words.name, cell: name },
          { title: words.rolesPage.whose, cell: whose },
          { title: words.rolesPage.count, cell: (row) => row.rights.length, wide: true },
        ]}
        rows={rows}
      />
      {place.chosen === "new" && (
        <Edit row={null} at={placeToBegin(directory, place.at ?? me.organisation)} own={me.rights} move={move} />
      )}
      {shown && (
        <Edit
          key={shown.id}
          row={shown}
          at={shown.organisation ?? me.organisation}
          own={me.rights}
          move={move}
        />
      )}
    </>
  );
}

interface EditProps {
  /** None for a new one. */
  row: Role | null;
  at: string;
  /** Rights of whoever looks: nobody hands on what they do not hold. */
  own: readonly Right[];
  move: SectionProps["move"];
}

function Edit({ row, at, own, move }: EditProps) {
  const words = useHouseWords();
  const directory = useDirectory();
  const isBuiltIn = row !== null && !row.organisation;
  const fixed = isBuiltIn || !directory.may("roles.manage");
  const { entry, set, changes, clear } = useEdits({
    name: row?.name ?? "",
    rights: row?.rights ?? [],
  });
  const { name, rights } = entry;
  const [organisation, setOrganisation] = useState(at);
  const [tried, setTried] = useState(false);
  const doing = useDoing();
  const title = row ? roleName(directory, row.id, words) : words.rolesPage.fresh;
  const save = async () => {
    setTried(true);
    if (!isName(name) || rights.length === 0) return;
    const none = row !== null && Object.keys(changes).length === 0;
    await doing.act(async () => {
      if (none) return;
      const params = { path: { id: row?.id ?? "" } };
      const made = row
        ? await ask(api.PATCH("/api/v1/roles/{id}", { params, body: changes }))
        : await ask(api.POST("/api/v1/roles", { body: { ...entry, organisation } }));
      clear();
      directory.putRole(made);
      if (!row) move({ chosen: made.id });
    }, none ? words.unchanged : words.saved);
  };
  const remove = async () => {
    if (!row) return;
    const params = { path: { id: row.id } };
    if (await doing.act(() => ask(api.DELETE("/api/v1/roles/{id}", { params })))) {
      directory.rolesAgain();
      move({ chosen: null });
    }
  };
  return (
    <Panel title={title} chosen={row?.id ?? "new"} close={() => move({ chosen: null })}>
      <Form submit={() => void save()}>
        {isBuiltIn && <p>{words.rolesPage.readOnly}</p>}
        <Trouble failure={doing.failure} />
        {!fixed && (
          <Field
            label={words.name}
            testId="role-name"
            value={name}
            change={(name) => set({ name })}
            wrong={tried && !isName(name) ? words.nameWrong : ""}
          />
        )}
        {!row && (
          <PlaceChoice
            label={words.rolesPage.whose}
            testId="role-organisation"
            value={organisation}
            change={setOrganisation}
          />
        )}
        <RightsList
          legend={words.rolesPage.rights}
          rights={rights}
          change={(rights) => set({ rights: [...rights] })}
          own={own}
          fixed={fixed}
        />
        {tried && rights.length === 0 && <small className="wrong" role="alert">{words.rolesPage.noRights}</small>}
        {!fixed && (
          <SaveRow doing={doing}>
            {row && (
              <Remove question={words.rolesPage.ask(row.name)} act={remove} busy={doing.busy} />
            )}
          </SaveRow>
        )}
      </Form>
    </Panel>
  );
}
