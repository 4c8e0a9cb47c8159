import { useHouseWords } from "../hooks";
import { Choice } from "../parts";
import { organisationOptions, useDirectory } from "./directory";

interface Props {
  label?: string;
  testId: string;
  value: string;
  change: (value: string) => void;
}

/** An organisation. One that is out of sight is kept, and shown to be there. */
export function PlaceChoice({ label, testId, value, change }: Props) {
  const words = useHouseWords();
  const options = organisationOptions(useDirectory());
  if (!options.some((option) => option.value === value)) {
    options.unshift({ value, label: words.organisations.hidden });
  }
  return (
    <Choice
      label={label ?? words.place}
      testId={testId}
      value={value}
      change={change}
      options={options}
    />
  );
}
