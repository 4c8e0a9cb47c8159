import { useEffect, useRef, type ReactNode } from "react";
import Button from "antd/es/button";
import { LanguageButton } from "../Frame";
import { useLanguage } from "../language";
import { api, ask } from "./api";
import { mayLeave, useDoing, useHouseWords, useSession } from "./hooks";
import { administers } from "./logic";
import { Link, Trouble, type Go } from "./parts";

/** Head and body of the pages of those who log in. `wide` where work is done in tables. */
export function HouseFrame(props: { go: Go; path: string; wide?: boolean; children: ReactNode }) {
  const { words } = useLanguage();
  const { me } = useSession();
  // What was pressed to come here may be gone, and the focus with it.
  const main = useRef<HTMLElement>(null);
  const here = `${props.path.split("/")[1]} ${me?.person}`;
  const before = useRef<string>(undefined);
  useEffect(() => {
    if (me === undefined) return;
    const moved = before.current !== undefined && before.current !== here;
    before.current = here;
    if (moved && document.activeElement === document.body) main.current?.focus();
  }, [here, me]);
  return (
    <div className={props.wide ? "frame house wide" : "frame house"}>
      <header>
        <Link to="/" go={props.go}>
          <span className="brand">
            <img src="/favicon.svg" alt="" width="28" height="28" />
            <strong>Consilium</strong>
            <span>{words.slogan}</span>
          </span>
        </Link>
        <Menu go={props.go} path={props.path} />
        <LanguageButton />
      </header>
      <main ref={main} tabIndex={-1}>
        {props.children}
      </main>
    </div>
  );
}

function Menu({ go, path }: { go: Go; path: string }) {
  const words = useHouseWords();
  const { me, left } = useSession();
  const out = useDoing();
  if (!me) return <span className="grow" />;
  const logOut = async () => {
    if (!mayLeave(words.unsaved)) return;
    if (await out.act(() => ask(api.DELETE("/api/v1/session")))) {
      left();
      go("/");
    }
  };
  return (
    <nav className="menu" aria-label={words.navigation}>
      {administers(me.rights) && (
        <Link to="/admin" go={go} current={path.startsWith("/admin")} testId="to-admin">
          {words.administration}
        </Link>
      )}
      <Link to="/account" go={go} current={path === "/account"} testId="to-account">
        {me.name}
      </Link>
      <Button type="text" data-testid="log-out" loading={out.busy} onClick={() => void logOut()}>
        {words.logOut}
      </Button>
      <Trouble failure={out.failure} />
    </nav>
  );
}
