import { createContext, useContext, useEffect, useMemo, useState, type ReactNode } from "react";
import { firstLanguage, words, type Language, type Words } from "./words";

interface Choice {
  language: Language;
  words: Words;
  toggle: () => void;
}

const KEY = "consilium.language";
const Context = createContext<Choice>({ language: "en", words: words.en, toggle: () => {} });

/** The language of the page and its words. */
export const useLanguage = () => useContext(Context);

export function LanguageProvider({ children }: { children: ReactNode }) {
  const [language, setLanguage] = useState<Language>(() =>
    firstLanguage(localStorage.getItem(KEY), navigator.languages),
  );
  useEffect(() => {
    document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  }, [language]);
  const choice = useMemo<Choice>(() => {
    const toggle = () => {
      const other = language === "zh" ? "en" : "zh";
      localStorage.setItem(KEY, other);
      setLanguage(other);
    };
    return { language, words: words[language], toggle };
  }, [language]);
  return <Context.Provider value={choice}>{children}</Context.Provider>;
}
