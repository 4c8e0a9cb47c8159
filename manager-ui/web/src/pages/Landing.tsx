import { useState, type FormEvent } from "react";
import Button from "antd/es/button";
import Input from "antd/es/input";
import { useLanguage } from "../language";

interface Props {
  go: (to: string) => void;
  /** A line below the title. */
  hint?: string;
  heading: 1 | 2;
}

/** Enter a room by its number. */
export function EnterRoom({ go, hint, heading }: Props) {
  const { words } = useLanguage();
  const [number, setNumber] = useState("");
  const Heading = heading === 1 ? "h1" : "h2";
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (number.trim()) go(`/room/${encodeURIComponent(number.trim())}`);
  };
  return (
    <form className="card landing" onSubmit={submit}>
      <Heading>{words.enterRoom}</Heading>
      {hint && <p>{hint}</p>}
      <label htmlFor="number">{words.roomNumber}</label>
      <Input
        id="number"
        data-testid="number"
        size="large"
        inputMode="numeric"
        autoComplete="off"
        autoFocus={heading === 1}
        maxLength={32}
        placeholder={words.roomNumberHint}
        value={number}
        onChange={(event) => setNumber(event.target.value)}
      />
      <Button
        data-testid="next"
        type="primary"
        size="large"
        htmlType="submit"
        block
        disabled={!number.trim()}
      >
        {words.next}
      </Button>
    </form>
  );
}
