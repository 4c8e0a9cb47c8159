import { useEffect, useRef, useState } from "react";
import { api, ask } from "../api";
import { useHouseWords, useLoad } from "../hooks";

/** Between two pictures: the server makes one about as often. */
const LOOK_MS = 3000;

interface Props {
  number: string;
  /** What the meeting is called. */
  title: string;
}

/** The picture of a meeting as it is now. It is asked for only while its place is on the screen. */
export function Still({ number, title }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const [isSeen, setSeen] = useState(false);
  const isOpen = usePageIsOpen();
  useEffect(() => {
    const observer = new IntersectionObserver((entries) =>
      setSeen(entries.at(-1)?.isIntersecting ?? false),
    );
    if (place.current) observer.observe(place.current);
    return () => observer.disconnect();
  }, []);
  return (
    <div className="still" data-testid="still" ref={place}>
      {isSeen && isOpen && <Newest number={number} title={title} />}
    </div>
  );
}

function Newest({ number, title }: Props) {
  const words = useHouseWords();
  const path = { number };
  const loaded = useLoad<Blob>(
    () => ask(api.GET("/api/v1/meetings/{number}/picture", { params: { path }, parseAs: "blob" })),
    `still ${number}`,
    LOOK_MS,
  );
  // What cannot be renewed is not shown as if it were now.
  const url = useObjectUrl(loaded.failure ? undefined : loaded.value);
  return url ? <img src={url} alt={words.wall.picture(title)} /> : <span>{words.wall.noPicture}</span>;
}

/** Nothing is kept on a page that nobody looks at. */
function usePageIsOpen(): boolean {
  const [isOpen, setOpen] = useState(document.visibilityState === "visible");
  useEffect(() => {
    const look = () => setOpen(document.visibilityState === "visible");
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, []);
  return isOpen;
}

/** An address of a file in memory, as long as it is shown. */
function useObjectUrl(file: Blob | undefined): string | undefined {
  const [url, setUrl] = useState<string>();
  useEffect(() => {
    if (!file) return;
    const made = URL.createObjectURL(file);
    setUrl(made);
    return () => {
      setUrl(undefined);
      URL.revokeObjectURL(made);
    };
  }, [file]);
  return url;
}
