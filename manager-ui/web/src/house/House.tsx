import "./house.css";
import "./wall.css";
import { lazy, Suspense, useCallback, useEffect } from "react";
import { Account } from "./Account";
import { Home } from "./Home";
import { HouseFrame } from "./HouseFrame";
import { mayLeave, SessionProvider, useHouseWords, useSession } from "./hooks";
import { Login, returnAfterProvider } from "./Login";
import { safeReturn } from "./logic";
import { Loading, type Go } from "./parts";
import { Setup } from "./Setup";

const Admin = lazy(() => import("./admin/Admin"));

/** Every page but the room. */
export default function House(props: { path: string; search: string; go: Go }) {
  const words = useHouseWords();
  const leave = props.go;
  const go = useCallback<Go>(
    (to, replace) => {
      if (mayLeave(words.unsaved)) leave(to, replace);
    },
    [leave, words],
  );
  return (
    <SessionProvider>
      <HouseFrame go={go} path={props.path} wide={props.path.startsWith("/admin")}>
        <Page {...props} go={go} />
      </HouseFrame>
    </SessionProvider>
  );
}

function Page({ path, search, go }: { path: string; search: string; go: Go }) {
  const words = useHouseWords();
  const { me, lapsed, failure } = useSession();
  const page = path.split("/")[1] ?? "";
  useEffect(() => {
    const titles: Record<string, string> = {
      login: words.logInTitle,
      setup: words.setup.title,
      account: words.account.title,
      admin: words.administration,
    };
    document.title = titles[page] ? `${titles[page]} · Consilium` : "Consilium";
  }, [page, words]);
  const from = new URLSearchParams(search).get("from");
  // Who is logged in already has no business at the login.
  useEffect(() => {
    if (page === "login" && me) go(safeReturn(from), true);
    if (page === "" && me) returnAfterProvider(go);
  }, [page, me, from, go]);
  if (page === "setup") return <Setup go={go} />;
  const isHome = page !== "login" && page !== "account" && page !== "admin";
  // Rooms can be entered whether or not it is known who somebody is.
  if (me === undefined && !(isHome && failure)) return <Waiting failure={failure} />;
  if (page === "login") return <Login from={safeReturn(from)} />;
  // Each person has pages of their own: nothing that one saw or typed is there for the next.
  const who = me ?? lapsed;
  if (page === "account" || page === "admin") {
    // Where they wanted to go stays in the address, and is there once they are logged in.
    return (
      <>
        {!me && <Login from={path + search} />}
        {who && (
          <div className="kept" hidden={!me} key={who.person}>
            {page === "account" ? (
              <Account me={who} />
            ) : (
              <Suspense fallback={<Loading />}>
                <Admin me={who} path={path} search={search} go={go} />
              </Suspense>
            )}
          </div>
        )}
      </>
    );
  }
  return <Home key={me?.person} me={me ?? null} failure={failure} go={go} />;
}

function Waiting({ failure }: { failure: ReturnType<typeof useSession>["failure"] }) {
  return (
    <div className="waiting">
      <Loading failure={failure} />
    </div>
  );
}
