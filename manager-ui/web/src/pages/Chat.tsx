import { useEffect, useRef, useState, type FormEvent, type KeyboardEvent } from "react";
import CloseOutlined from "@ant-design/icons/es/icons/CloseOutlined";
import Button from "antd/es/button";
import { isComposing, linked } from "../chat";
import { useLanguage } from "../language";
import type { ChatLine, LegId } from "../protocol";

interface Props {
  lines: ChatLine[];
  own: LegId | null;
  /** How often something was not taken. */
  refused: number;
  /** `false`: there is no connection. */
  write: (text: string) => boolean;
  close: () => void;
}

const MAX_CHARS = 2_000;

/** What people in the room write to each other. */
export function Chat({ lines, own, refused, write, close }: Props) {
  const { words } = useLanguage();
  const [text, setText] = useState("");
  const [trouble, setTrouble] = useState("");
  const field = useRef<HTMLTextAreaElement>(null);
  const end = useRef<HTMLDivElement>(null);
  const sent = useRef("");
  useEffect(() => {
    field.current?.focus();
  }, []);
  useEffect(() => {
    end.current?.scrollIntoView({ block: "end" });
  }, [lines]);
  const knownRefused = useRef(refused);
  useEffect(() => {
    if (refused === knownRefused.current) return;
    knownRefused.current = refused;
    setTrouble(words.chatRefused);
    // What was not taken is not lost.
    setText((now) => now || sent.current);
  }, [refused, words]);

  const send = (event?: FormEvent) => {
    event?.preventDefault();
    const said = text.trim();
    if (!said) return;
    if (!write(said)) return setTrouble(words.chatOffline);
    sent.current = said;
    setText("");
    setTrouble("");
  };
  const pressed = (event: KeyboardEvent) => {
    // A word that is being composed, as in Chinese, is taken by Enter and given up by Escape.
    if (isComposing(event.nativeEvent)) return;
    if (event.key === "Escape") close();
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    send();
  };
  return (
    <aside className="chat" aria-labelledby="chat-title" data-testid="chat-panel">
      <header>
        <h2 id="chat-title">{words.chatTitle}</h2>
        <Button
          type="text"
          data-testid="chat-close"
          icon={<CloseOutlined />}
          aria-label={words.chatClose}
          title={words.chatClose}
          onClick={close}
        />
      </header>
      {/* Can be scrolled by the keyboard. */}
      <div className="lines" tabIndex={0} role="log" aria-labelledby="chat-title" data-testid="chat-lines">
        {lines.length === 0 && <p className="empty">{words.chatEmpty}</p>}
        {lines.map((line) => (
          <Line key={line.id} line={line} own={line.leg === own} />
        ))}
        <div ref={end} />
      </div>
      <form onSubmit={send}>
        <textarea
          ref={field}
          data-testid="chat-field"
          aria-label={words.chatField}
          placeholder={words.chatField}
          rows={2}
          maxLength={MAX_CHARS}
          dir="auto"
          value={text}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={pressed}
        />
        <Button type="primary" htmlType="submit" data-testid="chat-send" disabled={!text.trim()}>
          {words.chatSend}
        </Button>
      </form>
      <p className="trouble" role="alert">
        {trouble}
      </p>
    </aside>
  );
}

function Line({ line, own }: { line: ChatLine; own: boolean }) {
  const { language, words } = useLanguage();
  const time = new Date(line.id).toLocaleTimeString(language === "zh" ? "zh-CN" : "en-GB", {
    hour: "2-digit",
    minute: "2-digit",
  });
  return (
    <article className={own ? "line own" : "line"}>
      <header>
        <bdi>{own ? `${line.name} (${words.you})` : line.name}</bdi> <time>{time}</time>
      </header>
      <p dir="auto">
        {linked(line.text).map((part, index) =>
          part.href ? (
            <a key={index} href={part.href} target="_blank" rel="noopener noreferrer nofollow">
              {part.text}
            </a>
          ) : (
            part.text
          ),
        )}
      </p>
    </article>
  );
}
