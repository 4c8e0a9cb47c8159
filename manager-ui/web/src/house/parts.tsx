import { useEffect, useId, useRef, useState, type ReactNode, type Ref } from "react";
import Alert from "antd/es/alert";
import Button from "antd/es/button";
import Input, { type InputRef } from "antd/es/input";
import type { Failure } from "./api";
import { useHouseWords } from "./hooks";
import { problemText } from "./logic";

/** Goes to another page without loading anew; with `replace` the way back leads past this one. */
export type Go = (to: string, replace?: boolean) => void;

/** A link within the page. */
export function Link(props: {
  to: string;
  go: Go;
  children: ReactNode;
  current?: boolean;
  testId?: string;
}) {
  return (
    <a
      href={props.to}
      data-testid={props.testId}
      aria-current={props.current ? "page" : undefined}
      onClick={(event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
        event.preventDefault();
        props.go(props.to);
      }}
    >
      {props.children}
    </a>
  );
}

/** A form. The first field that is filled in wrongly gets the focus, so that it is read out why. */
export function Form(props: { submit: () => void; className?: string; children: ReactNode }) {
  const form = useRef<HTMLFormElement>(null);
  const [tries, setTries] = useState(0);
  useEffect(() => {
    if (tries > 0) form.current?.querySelector<HTMLElement>("[aria-invalid='true']")?.focus();
  }, [tries]);
  return (
    <form
      ref={form}
      className={props.className ?? "landing"}
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        setTries((last) => last + 1);
        props.submit();
      }}
    >
      {props.children}
    </form>
  );
}

interface FieldProps {
  label: string;
  value: string;
  change: (value: string) => void;
  testId: string;
  hint?: string;
  /** What is wrong with it, in words. */
  wrong?: string;
  type?: string;
  autoComplete?: string;
  autoFocus?: boolean;
  disabled?: boolean;
  input?: Ref<InputRef>;
  suffix?: ReactNode;
}

/** A field with its label, and below it a hint or what is wrong. */
export function Field(props: FieldProps) {
  const id = useId();
  const told = props.wrong || props.hint;
  return (
    <div className="field">
      <label htmlFor={id}>{props.label}</label>
      <Input
        id={id}
        ref={props.input}
        data-testid={props.testId}
        type={props.type}
        autoComplete={props.autoComplete ?? "off"}
        autoFocus={props.autoFocus}
        disabled={props.disabled}
        suffix={props.suffix}
        value={props.value}
        status={props.wrong ? "error" : undefined}
        aria-invalid={Boolean(props.wrong)}
        aria-describedby={told ? `${id}-told` : undefined}
        onChange={(event) => props.change(event.target.value)}
      />
      {told && (
        <small id={`${id}-told`} className={props.wrong ? "wrong" : ""}>
          {told}
        </small>
      )}
    </div>
  );
}

/** A field for a password, which can be shown. */
export function PasswordField(props: FieldProps) {
  const words = useHouseWords();
  const [shown, setShown] = useState(false);
  const button = (
    <button
      type="button"
      className="show"
      aria-pressed={shown}
      aria-label={words.showPassword}
      onClick={() => setShown(!shown)}
    >
      {shown ? words.hide : words.show}
    </button>
  );
  return <Field {...props} type={shown ? "text" : "password"} suffix={button} />;
}

/** A choice of a few. */
export function Choice(props: {
  label: string;
  value: string;
  change: (value: string) => void;
  options: { value: string; label: string }[];
  testId: string;
  disabled?: boolean;
}) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{props.label}</label>
      <select
        id={id}
        data-testid={props.testId}
        value={props.value}
        disabled={props.disabled}
        onChange={(event) => props.change(event.target.value)}
      >
        {props.options.map(({ value, label }) => (
          <option key={value} value={value}>
            {label}
          </option>
        ))}
      </select>
    </div>
  );
}

/** A yes or no. */
export function Switch(props: {
  label: string;
  value: boolean;
  change: (value: boolean) => void;
  testId: string;
}) {
  return (
    <label className="switch">
      <input
        type="checkbox"
        data-testid={props.testId}
        checked={props.value}
        onChange={(event) => props.change(event.target.checked)}
      />
      <span>{props.label}</span>
    </label>
  );
}

/** What went wrong, in words. */
export function Trouble({ failure }: { failure: Failure | undefined }) {
  const words = useHouseWords();
  // A login that goes on with a code has not failed.
  const failed = failure?.code === "second_factor_wanted" ? "info" : "error";
  return (
    <div role="alert">
      {failure && (
        <Alert
          data-testid="trouble"
          type={failure.passes && !failure.once ? "warning" : failed}
          showIcon
          title={problemText(failure, words)}
        />
      )}
    </div>
  );
}

/** What was done, for eyes and ears. */
export function Done({ text }: { text: string }) {
  return (
    <div role="status" data-testid="done" className="done">
      {text}
    </div>
  );
}

/** While something loads, or cannot be. */
export function Loading({ failure }: { failure?: Failure }) {
  const words = useHouseWords();
  return failure ? <Trouble failure={failure} /> : <p role="status">{words.loading}</p>;
}

/** A button that asks once more before it does something for good. */
export function Sure(props: {
  label: string;
  /** What it is done to, where the label alone does not say so. */
  name?: string;
  question: string;
  act: () => void;
  busy: boolean;
  testId: string;
  size?: "small";
}) {
  const words = useHouseWords();
  const [asked, setAsked] = useState(false);
  const question = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const was = useRef(false);
  useEffect(() => {
    // The question gets the focus, not what does it: who holds Enter down has not read it.
    if (asked) question.current?.focus();
    else if (was.current) button.current?.focus();
    was.current = asked;
  }, [asked]);
  if (!asked) {
    return (
      <Button
        danger
        ref={button}
        size={props.size}
        data-testid={props.testId}
        aria-label={props.name}
        onClick={() => setAsked(true)}
      >
        {props.label}
      </Button>
    );
  }
  return (
    <div
      className="sure"
      role="group"
      aria-label={props.question}
      tabIndex={-1}
      ref={question}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.stopPropagation();
        setAsked(false);
      }}
    >
      <p>{props.question}</p>
      <Button
        danger
        type="primary"
        data-testid={`${props.testId}-sure`}
        loading={props.busy}
        onClick={props.act}
      >
        {props.label}
      </Button>
      <Button onClick={() => setAsked(false)}>{words.cancel}</Button>
    </div>
  );
}

/** Saves the form that it stands in. */
export function Save({ busy }: { busy: boolean }) {
  const words = useHouseWords();
  return (
    <Button type="primary" htmlType="submit" data-testid="save" loading={busy}>
      {words.save}
    </Button>
  );
}

/** Saves the form that it stands in, and says that it has; between them what else can be done. */
export function SaveRow(props: { doing: { busy: boolean; done: string }; children?: ReactNode }) {
  return (
    <div className="acts">
      <Save busy={props.doing.busy} />
      {props.children}
      <Done text={props.doing.done} />
    </div>
  );
}

/** Removes something for good, once it was asked whether. */
export function Remove(props: { question: string; act: () => Promise<unknown>; busy: boolean }) {
  const words = useHouseWords();
  return (
    <Sure
      label={words.remove}
      question={props.question}
      act={() => void props.act()}
      busy={props.busy}
      testId="remove"
    />
  );
}

/** A state, by word and colour. */
export function State({ kind, children }: { kind: "good" | "off" | "bad"; children: ReactNode }) {
  return <span className={`state ${kind}`}>{children}</span>;
}
