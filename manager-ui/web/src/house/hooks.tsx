import {
  createContext,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useState,
  type ReactNode,
} from "react";
import { useLanguage } from "../language";
import { api, ask, Failure, type Me } from "./api";
import { houseWords } from "./words";

/** Words of these pages, in the language of the page. */
export const useHouseWords = () => houseWords[useLanguage().language];

/** Between two attempts while the server or its database is away. */
const RETRY_MS = 2000;

const asFailure = (error: unknown) => (error instanceof Failure ? error : new Failure(0));

interface Loaded<T> {
  value: T | undefined;
  failure: Failure | undefined;
  /** Loads it again; what was there stays until then. */
  again: () => void;
}

/** Loads something, again when `key` changes, and by itself while the server is away. */
export function useLoad<T>(load: () => Promise<T>, key: string): Loaded<T> {
  const [loaded, setLoaded] = useState<{ key: string; value?: T; failure?: Failure }>({ key });
  const [turn, setTurn] = useState(0);
  const { expired } = useSession();
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    let wanted = true;
    let timer = 0;
    const attempt = async () => {
      try {
        const value = await latest.current();
        if (wanted) setLoaded({ key, value });
      } catch (error) {
        if (!wanted) return;
        const failure = asFailure(error);
        if (failure.status === 401) expired();
        setLoaded((last) => ({ key, value: last.key === key ? last.value : undefined, failure }));
        if (failure.passes) timer = window.setTimeout(attempt, RETRY_MS);
      }
    };
    void attempt();
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, [key, turn, expired]);
  const again = useCallback(() => setTurn((last) => last + 1), []);
  const current = loaded.key === key;
  return {
    value: current ? loaded.value : undefined,
    failure: current ? loaded.failure : undefined,
    again,
  };
}

interface Doing {
  busy: boolean;
  failure: Failure | undefined;
  /** What was done last, in words. */
  done: string;
  /** Does something once, however often it is pressed; true when it was done. */
  act: (what: () => Promise<unknown>, done?: string) => Promise<boolean>;
  clear: () => void;
}

/** Something that the server is asked to do. */
export function useDoing(): Doing {
  const [state, setState] = useState<{ busy: boolean; failure?: Failure; done: string }>({
    busy: false,
    done: "",
  });
  const busy = useRef(false);
  const { expired } = useSession();
  const act = useCallback(
    async (what: () => Promise<unknown>, done = "") => {
      if (busy.current) return false;
      busy.current = true;
      setState({ busy: true, done: "" });
      try {
        await what();
        setState({ busy: false, done });
        return true;
      } catch (error) {
        const failure = asFailure(error);
        if (failure.code === "not_logged_in") expired();
        setState({ busy: false, failure, done: "" });
        return false;
      } finally {
        busy.current = false;
      }
    },
    [expired],
  );
  const clear = useCallback(() => setState({ busy: false, done: "" }), []);
  return { busy: state.busy, failure: state.failure, done: state.done, act, clear };
}

/** Who is logged in: `undefined` while the server is asked, null for nobody. */
interface Session {
  me: Me | null | undefined;
  /** Why it is not known yet. */
  failure: Failure | undefined;
  /** Asks again. */
  refresh: () => Promise<void>;
  /** The server says that the session has ended. */
  expired: () => void;
}

const Context = createContext<Session>({
  me: undefined,
  failure: undefined,
  refresh: async () => {},
  expired: () => {},
});

export const useSession = () => useContext(Context);

export function SessionProvider({ children }: { children: ReactNode }) {
  const [me, setMe] = useState<Me | null>();
  const [failure, setFailure] = useState<Failure>();
  const timer = useRef(0);
  const refresh = useCallback(async () => {
    clearTimeout(timer.current);
    try {
      setMe(await ask(api.GET("/api/v1/session")));
      setFailure(undefined);
    } catch (error) {
      const failure = asFailure(error);
      if (failure.status === 401) setMe(null);
      setFailure(failure.status === 401 ? undefined : failure);
      if (failure.passes) timer.current = window.setTimeout(() => void refresh(), RETRY_MS);
    }
  }, []);
  const expired = useCallback(() => setMe(null), []);
  useEffect(() => {
    void refresh();
    // Somebody may have logged in or out in another tab.
    const looked = () => document.visibilityState === "visible" && void refresh();
    document.addEventListener("visibilitychange", looked);
    return () => {
      clearTimeout(timer.current);
      document.removeEventListener("visibilitychange", looked);
    };
  }, [refresh]);
  const session = useMemo(() => ({ me, failure, refresh, expired }), [me, failure, refresh, expired]);
  return <Context.Provider value={session}>{children}</Context.Provider>;
}

/** A moment, as the language writes it; to the second where that counts. */
export function useMoment(precise = false): (ms: number) => string {
  const { language } = useLanguage();
  return useMemo(() => {
    const locale = language === "zh" ? "zh-CN" : "en-GB";
    const format = new Intl.DateTimeFormat(locale, {
      dateStyle: "medium",
      timeStyle: precise ? "medium" : "short",
    });
    return (ms) => format.format(ms);
  }, [language, precise]);
}

/** A value that has not changed for a moment: what is typed is not asked for letter by letter. */
export function useDelayed(value: string): string {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), 250);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}

interface Page<T> {
  items: T[];
  next?: string | null;
}

interface Pages<T> {
  items: T[] | undefined;
  failure: Failure | undefined;
  /** Loads the next page, where there is one. */
  more: (() => void) | undefined;
  again: () => void;
  busy: boolean;
}

/** A list of which one page after the other is loaded. Its rows stay until others are there. */
export function usePages<T>(page: (after?: string) => Promise<Page<T>>, key: string): Pages<T> {
  const first = useLoad(() => page(), key);
  const held = useRef<Page<T>>(undefined);
  if (first.value) held.current = first.value;
  const [rest, setRest] = useState<{ after: Page<T> | undefined } & Page<T>>();
  const doing = useDoing();
  const shown = held.current;
  const mine = rest?.after === shown ? rest : undefined;
  const next = mine ? mine.next : shown?.next;
  const more = () =>
    void doing.act(async () => {
      const one = await page(next ?? undefined);
      setRest({ after: shown, items: [...(mine?.items ?? []), ...one.items], next: one.next });
    });
  return {
    items: shown && [...shown.items, ...(mine?.items ?? [])],
    failure: first.failure ?? doing.failure,
    more: next ? more : undefined,
    again: first.again,
    busy: doing.busy,
  };
}

/** Looks again and again while the page is seen. */
export function useAgain(again: () => void, everyMs: number): void {
  useEffect(() => {
    const timer = setInterval(() => {
      if (document.visibilityState === "visible") again();
    }, everyMs);
    return () => clearInterval(timer);
  }, [again, everyMs]);
}
