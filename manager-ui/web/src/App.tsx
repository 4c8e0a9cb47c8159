import { useEffect, useState } from "react";
import ConfigProvider from "antd/es/config-provider";
import theme from "antd/es/theme";
import enUS from "antd/es/locale/en_US";
import zhCN from "antd/es/locale/zh_CN";
import { useLanguage } from "./language";
import { Landing } from "./pages/Landing";
import { Visit } from "./pages/Visit";

const nonce = document.querySelector<HTMLMetaElement>("meta[property=csp-nonce]")?.nonce;

/** Number of the room in the address, or null on the first page. */
function roomOf(path: string): string | null {
  const match = /^\/room\/([^/]+)\/?$/.exec(path);
  if (!match?.[1]) return null;
  try {
    return decodeURIComponent(match[1]);
  } catch {
    return null;
  }
}

export function App() {
  const { language, words } = useLanguage();
  const [path, setPath] = useState(location.pathname);
  useEffect(() => {
    const moved = () => setPath(location.pathname);
    window.addEventListener("popstate", moved);
    return () => window.removeEventListener("popstate", moved);
  }, []);
  const go = (to: string) => {
    history.pushState(null, "", to);
    setPath(to);
  };
  const room = roomOf(path);
  useEffect(() => {
    document.title = room === null ? "Consilium" : `${words.roomTitle(room)} · Consilium`;
  }, [room, words]);
  return (
    <ConfigProvider
      locale={language === "zh" ? zhCN : enUS}
      csp={nonce ? { nonce } : undefined}
      theme={{
        algorithm: theme.defaultAlgorithm,
        token: { colorPrimary: "#0f766e", borderRadius: 8, controlHeightLG: 44, fontFamily: "inherit" },
      }}
      button={{ autoInsertSpace: false }}
    >
      {room === null ? (
        <Landing go={go} />
      ) : (
        <Visit key={room} room={room} home={() => go("/")} />
      )}
    </ConfigProvider>
  );
}
