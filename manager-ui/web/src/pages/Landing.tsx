import { useState, type FormEvent } from "react";
import Button from "antd/es/button";
import Input from "antd/es/input";
import { useLanguage } from "../language";
import { Frame } from "../Frame";

/** The first page: enter the number of a room. */
export function Landing({ go }: { go: (to: string) => void }) {
  const { words } = useLanguage();
  const [number, setNumber] = useState("");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (number.trim()) go(`/room/${encodeURIComponent(number.trim())}`);
  };
  return (
    <Frame>
      <form className="card landing" onSubmit={submit}>
        <h1>{words.enterRoom}</h1>
        <label htmlFor="number">{words.roomNumber}</label>
        <Input
          id="number"
          data-testid="number"
          size="large"
          inputMode="numeric"
          autoComplete="off"
          autoFocus
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
    </Frame>
  );
}
