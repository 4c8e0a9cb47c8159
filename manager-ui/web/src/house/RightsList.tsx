import type { Right } from "./api";
import { useHouseWords } from "./hooks";

interface Props {
  legend: string;
  rights: readonly Right[];
  change: (rights: readonly Right[]) => void;
  /** Rights of whoever chooses: nobody hands on what they do not hold. */
  own: readonly Right[];
  fixed: boolean;
  /** Others are not even offered: what is chosen for acts in one's own name. */
  onlyOwn?: boolean;
}

/** Rights in words, to read or to choose from. */
export function RightsList({ legend, rights, change, own, fixed, onlyOwn }: Props) {
  const words = useHouseWords();
  const all = Object.keys(words.rights) as Right[];
  if (fixed) {
    return (
      <ul className="rights">
        {all
          .filter((right) => rights.includes(right))
          .map((right) => (
            <li key={right}>{words.rights[right]}</li>
          ))}
      </ul>
    );
  }
  const flip = (right: Right) =>
    change(rights.includes(right) ? rights.filter((one) => one !== right) : [...rights, right]);
  return (
    <fieldset className="checks">
      <legend>{legend}</legend>
      {all.filter((right) => !onlyOwn || own.includes(right)).map((right) => (
        <label key={right}>
          <input
            type="checkbox"
            data-testid={`right-${right}`}
            checked={rights.includes(right)}
            disabled={!own.includes(right)}
            onChange={() => flip(right)}
          />
          <span>
            {words.rights[right]}
            {!own.includes(right) && <small> ({words.rolesPage.notOwn})</small>}
          </span>
        </label>
      ))}
    </fieldset>
  );
}
