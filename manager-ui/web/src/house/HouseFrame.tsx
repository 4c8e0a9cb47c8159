import type { ReactNode } from "react";
import Button from "antd/es/button";
import { LanguageButton } from "../Frame";
import { useLanguage } from "../language";
import { api, ask } from "./api";
import { useDoing, useHouseWords, useSession } from "./hooks";
import { administers } from "./logic";
import { Link, Trouble, type Go } from "./parts";

/** Head and body of the pages of those who log in. `wide` where work is done in tables. */
export function HouseFrame(props: { go: Go; path: string; wide?: boolean; children: ReactNode }) {
  const { words } = useLanguage();
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
      <main>{props.children}</main>
    </div>
  );
}

function Menu({ go, path }: { go: Go; path: string }) {
  const words = useHouseWords();
  const { me, left } = useSession();
  const out = useDoing();
  if (!me) return <span className="grow" />;
  const logOut = async () => {
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
