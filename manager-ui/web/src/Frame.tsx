import type { ReactNode } from "react";
import GlobalOutlined from "@ant-design/icons/es/icons/GlobalOutlined";
import Button from "antd/es/button";
import { useLanguage } from "./language";

/** Head and body of the pages outside a room. */
export function Frame({ children }: { children: ReactNode }) {
  const { words } = useLanguage();
  return (
    <div className="frame">
      <header>
        <a className="brand" href="/">
          <img src="/favicon.svg" alt="" width="28" height="28" />
          <strong>Consilium</strong>
          <span>{words.slogan}</span>
        </a>
        <LanguageButton />
      </header>
      <main>{children}</main>
    </div>
  );
}

export function LanguageButton() {
  const { words, toggle, language } = useLanguage();
  return (
    <Button
      data-testid="language"
      type="text"
      icon={<GlobalOutlined />}
      lang={language === "zh" ? "en" : "zh-CN"}
      aria-label={words.languageLabel}
      onClick={toggle}
    >
      {words.language}
    </Button>
  );
}
