import { useEffect, useRef, type ReactNode } from "react";
import Button from "antd/es/button";
import { isComposing } from "../../chat";
import { useHouseWords } from "../hooks";

/** The chosen thing. It takes the focus when it is chosen; Escape gives it back. */
export function Panel(props: {
  title: string;
  /** What is chosen; null where it stands there without having been. */
  chosen: string | null;
  close: () => void;
  children: ReactNode;
}) {
  const words = useHouseWords();
  const title = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (props.chosen) title.current?.focus();
  }, [props.chosen]);
  return (
    <section
      className={props.chosen ? "panel taken" : "panel"}
      data-testid="panel"
      aria-label={props.title}
      onKeyDown={(event) => {
        // Whoever composes a character takes that back by it, and nothing else.
        if (event.key !== "Escape" || isComposing(event.nativeEvent)) return;
        if (props.chosen) props.close();
      }}
    >
      <div className="panel-head">
        <h2 ref={title} tabIndex={-1}>
          {props.title}
        </h2>
        {props.chosen && (
          <Button type="text" data-testid="close" onClick={props.close}>
            {words.back}
          </Button>
        )}
      </div>
      {props.children}
    </section>
  );
}
