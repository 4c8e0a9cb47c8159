import { Component, lazy, Suspense, useCallback, useEffect, useState, type ReactNode } from "react";
import Button from "antd/es/button";
import ConfigProvider from "antd/es/config-provider";
import theme from "antd/es/theme";
import enUS from "antd/es/locale/en_US";
import zhCN from "antd/es/locale/zh_CN";
import { useLanguage } from "./language";

// Who enters a room does not wait for the pages around it, nor the other way round.
const Visit = lazy(() => import("./pages/Visit"));
const House = lazy(() => import("./house/House"));

const nonce = document.querySelector<HTMLMetaElement>("meta[property=csp-nonce]")?.nonce;

/** Number of the room in the address, or null on all other pages. */
function roomOf(path: string): string | null {
  const match = /^\/room\/([^/]+)\/?$/.exec(path);
  if (!match?.[1]) return null;
  try {
    return decodeURIComponent(match[1]);
  } catch {
    return null;
  }
}

const here = () => ({ path: location.pathname, search: location.search });

export function App() {
  const { language, words } = useLanguage();
  const [at, setAt] = useState(here);
  useEffect(() => {
    const moved = () => setAt(here());
    window.addEventListener("popstate", moved);
    return () => window.removeEventListener("popstate", moved);
  }, []);
  const go = useCallback((to: string, replace = false) => {
    history[replace ? "replaceState" : "pushState"](null, "", to);
    setAt(here());
  }, []);
  const room = roomOf(at.path);
  useEffect(() => {
    if (room !== null) document.title = `${words.roomTitle(room)} · Consilium`;
  }, [room, words]);
  return (
    <ConfigProvider
      locale={language === "zh" ? zhCN : enUS}
      csp={nonce ? { nonce } : undefined}
      theme={{
        algorithm: theme.defaultAlgorithm,
        token: {
          colorPrimary: "#0f766e",
          // Dark enough for small text on white (WCAG 2.1, 1.4.3).
          colorError: "#b91c1c",
          borderRadius: 8,
          controlHeightLG: 44,
          fontFamily: "inherit",
        },
      }}
      button={{ autoInsertSpace: false }}
    >
      <Whole>
        <Suspense>
          {room === null ? (
            <House path={at.path} search={at.search} go={go} />
          ) : (
            <Visit key={room} room={room} home={() => go("/")} />
          )}
        </Suspense>
      </Whole>
    </ConfigProvider>
  );
}

/** A part of the page that does not load was mostly replaced by an upgrade of the server. */
class Whole extends Component<{ children: ReactNode }, { failed: boolean }> {
  override state = { failed: false };

  static getDerivedStateFromError() {
    return { failed: true };
  }

  override render() {
    return this.state.failed ? <Reload /> : this.props.children;
  }
}

function Reload() {
  const { words } = useLanguage();
  return (
    <div className="frame" role="alert">
      <main>
        <div className="card landing">
          <p>{words.pageFailed}</p>
          <Button type="primary" onClick={() => location.reload()}>
            {words.reload}
          </Button>
        </div>
      </main>
    </div>
  );
}
