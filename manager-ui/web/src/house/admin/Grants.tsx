import { useRef, useState } from "react";
import Button from "antd/es/button";
import { api, ask, type Grant, type Person } from "../api";
import { useDoing, useHouseWords, useLoad } from "../hooks";
import { Choice, Done, Form, Loading, State, Trouble } from "../parts";
import { organisationName, placeToBegin, roleName, useDirectory } from "./directory";
import { PlaceChoice } from "./PlaceChoice";

/** Roles that a person was given or denied, and where. */
export function Grants({ person, manage }: { person: Person; manage: boolean }) {
  const words = useHouseWords();
  const directory = useDirectory();
  const params = { path: { id: person.id } };
  const loaded = useLoad(
    () => ask(api.GET("/api/v1/people/{id}/grants", { params })),
    `grants ${person.id}`,
  );
  const doing = useDoing();
  // What was taken away takes its button along.
  const heading = useRef<HTMLHeadingElement>(null);
  const take = async (grant: Grant) => {
    const params = { path: { id: person.id, grant: grant.id } };
    const remove = () => ask(api.DELETE("/api/v1/people/{id}/grants/{grant}", { params }));
    if (!(await doing.act(remove, words.removed))) return;
    heading.current?.focus();
    loaded.again();
  };
  return (
    <>
      <h3 ref={heading} tabIndex={-1}>
        {words.people.grants}
      </h3>
      {!loaded.value && <Loading failure={loaded.failure} />}
      {loaded.value?.length === 0 && <p>{words.people.noGrants}</p>}
      <ul className="grants" data-testid="grants">
        {loaded.value?.map((grant) => (
          <li key={grant.id}>
            <span>
              <strong>{roleName(directory, grant.role, words)}</strong>
              <small>{organisationName(directory, grant.organisation)}</small>
            </span>
            <State kind={grant.effect === "deny" ? "bad" : "good"}>
              {grant.effect === "deny" ? words.people.deny : words.people.allow}
            </State>
            {manage && (
              <Button
                size="small"
                data-testid="take"
                aria-label={words.people.takeOf(roleName(directory, grant.role, words))}
                onClick={() => void take(grant)}
              >
                {words.people.take}
              </Button>
            )}
          </li>
        ))}
      </ul>
      <Trouble failure={doing.failure} />
      <Done text={doing.done} />
      {manage && directory.roles.length > 0 && (
        <Give person={person} given={loaded.again} />
      )}
    </>
  );
}

type Effect = "allow" | "deny";

function Give({ person, given }: { person: Person; given: () => void }) {
  const words = useHouseWords();
  const directory = useDirectory();
  const [role, setRole] = useState("");
  const [at, setAt] = useState(placeToBegin(directory, person.organisation));
  const [effect, setEffect] = useState<Effect>("allow");
  const doing = useDoing();
  const give = async () => {
    if (!role) return;
    const params = { path: { id: person.id } };
    const body = { role, organisation: at, effect };
    const post = () => ask(api.POST("/api/v1/people/{id}/grants", { params, body }));
    if (await doing.act(post, words.saved)) {
      setRole("");
      given();
    }
  };
  const roles = directory.roles.map(({ id }) => ({
    value: id,
    label: roleName(directory, id, words),
  }));
  return (
    <Form className="landing give" submit={() => void give()}>
      <h4>{words.people.grant}</h4>
      <Choice
        label={words.people.role}
        testId="grant-role"
        value={role}
        change={setRole}
        options={[{ value: "", label: words.choose }, ...roles]}
      />
      <PlaceChoice label={words.people.where} testId="grant-at" value={at} change={setAt} />
      <Choice
        label={words.people.effect}
        testId="grant-effect"
        value={effect}
        change={(value) => setEffect(value as Effect)}
        options={[
          { value: "allow", label: words.people.allow },
          { value: "deny", label: words.people.deny },
        ]}
      />
      <small>{words.people.grantHint}</small>
      <Trouble failure={doing.failure} />
      <div className="acts">
        <Button htmlType="submit" data-testid="give" disabled={!role} loading={doing.busy}>
          {effect === "allow" ? words.people.give : words.people.denyAct}
        </Button>
        <Done text={doing.done} />
      </div>
    </Form>
  );
}
