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
import { changesOf, firstPages, retryMs, type Page } from "./logic";
import { houseWords } from "./words";

/** Words of these pages, in the language of the page. */
export const useHouseWords = () => houseWords[useLanguage().language];

const asFailure = (error: unknown) => (error instanceof Failure ? error : new Failure(0));

interface Loaded<T> {
  value: T | undefined;
  failure: Failure | undefined;
  /** Loads it again; what was there stays until then. */
  again: () => void;
  /** Has this be the value: what the server answered to a change. */
  put: (value: T) => void;
}

/**
 * Loads something, again when `key` changes, and by itself while the server is away; with `every`, which
 * is in milliseconds, also so long after each answer.
 */
export function useLoad<T>(load: () => Promise<T>, key: string, every?: number): Loaded<T> {
  const [loaded, setLoaded] = useState<{ key: string; value?: T; failure?: Failure }>({ key });
  const [turn, setTurn] = useState(0);
  // What was asked before the newest value was put does not replace it.
  const puts = useRef(0);
  const { expired, lapsed } = useSession();
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    if (lapsed) return;
    let wanted = true;
    let timer = 0;
    let failures = 0;
    const attempt = async () => {
      const before = puts.current;
      try {
        const value = await latest.current();
        if (!wanted) return;
        failures = 0;
        if (puts.current === before) setLoaded({ key, value });
        if (every) timer = window.setTimeout(look, every);
      } catch (error) {
        if (!wanted) return;
        failures += 1;
        const failure = asFailure(error);
        setLoaded((last) => ({ key, value: last.key === key ? last.value : undefined, failure }));
        if (failure.status === 401) expired();
        else if (failure.passes) timer = window.setTimeout(attempt, retryMs(failures));
        else if (every) timer = window.setTimeout(look, every);
      }
    };
    // Nobody is asked for what nobody looks at.
    const look = () => {
      if (document.visibilityState === "visible") void attempt();
      else if (every) timer = window.setTimeout(look, every);
    };
    void attempt();
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, [key, turn, every, expired, lapsed]);
  const again = useCallback(() => setTurn((last) => last + 1), []);
  const put = useCallback(
    (value: T) => {
      puts.current += 1;
      setLoaded((last) => (last.key === key ? { key, value } : last));
    },
    [key],
  );
  const current = loaded.key === key;
  return {
    value: current ? loaded.value : undefined,
    failure: current ? loaded.failure : undefined,
    again,
    put,
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
        const { status, code } = asFailure(error);
        if (code === "not_logged_in") expired();
        setState({ busy: false, failure: new Failure(status, code, true), done: "" });
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
  /** Whose session has run out: what they were at is there when they log in again, and nobody else's. */
  lapsed: Me | null;
  /** Why it is not known yet. */
  failure: Failure | undefined;
  /** Asks again. */
  refresh: () => Promise<void>;
  /** The server says that the session has ended. */
  expired: () => void;
  /** They have logged out. */
  left: () => void;
}

const Context = createContext<Session>({
  me: undefined,
  lapsed: null,
  failure: undefined,
  refresh: async () => {},
  expired: () => {},
  left: () => {},
});

export const useSession = () => useContext(Context);

/** Who was found last, and whether their session has run out since. */
interface Found {
  who: Me | null | undefined;
  over: boolean;
}

const runOut = (last: Found): Found => ({ who: last.who ?? null, over: Boolean(last.who) });

export function SessionProvider({ children }: { children: ReactNode }) {
  const [found, setFound] = useState<Found>({ who: undefined, over: false });
  const [failure, setFailure] = useState<Failure>();
  const timer = useRef(0);
  const failures = useRef(0);
  const refresh = useCallback(async () => {
    clearTimeout(timer.current);
    try {
      setFound({ who: await ask(api.GET("/api/v1/session")), over: false });
      setFailure(undefined);
      failures.current = 0;
    } catch (error) {
      const failure = asFailure(error);
      failures.current += 1;
      if (failure.status === 401) setFound(runOut);
      setFailure(failure.status === 401 ? undefined : failure);
      if (failure.passes) {
        timer.current = window.setTimeout(() => void refresh(), retryMs(failures.current));
      }
    }
  }, []);
  const expired = useCallback(() => setFound(runOut), []);
  const left = useCallback(() => setFound({ who: null, over: false }), []);
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
  const session = useMemo(() => {
    const { who, over } = found;
    return { me: over ? null : who, lapsed: (over && who) || null, failure, refresh, expired, left };
  }, [found, failure, refresh, expired, left]);
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

/** What moments are told by, as `UTC+8`. */
export function useZone(): string {
  const { language } = useLanguage();
  return useMemo(() => {
    const format = new Intl.DateTimeFormat(language === "zh" ? "zh-CN" : "en-GB", { timeZoneName: "shortOffset" });
    const zone = format.formatToParts(Date.now()).find(({ type }) => type === "timeZoneName")?.value ?? "";
    return zone.replace("GMT", "UTC");
  }, [language]);
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

interface Pages<T> {
  items: T[] | undefined;
  failure: Failure | undefined;
  /** Loads the next page, where there is one. */
  more: (() => void) | undefined;
  /** Loads all pages that are shown again. */
  again: () => void;
  busy: boolean;
}

/**
 * A list of which one page after the other is loaded. Its rows stay until others are there. With `every`
 * it is loaded again so many milliseconds after each answer.
 */
export function usePages<T>(
  page: (after?: string) => Promise<Page<T>>,
  key: string,
  every?: number,
): Pages<T> {
  const open = useRef({ key, count: 1 });
  if (open.current.key !== key) open.current = { key, count: 1 };
  const loaded = useLoad(() => firstPages(page, open.current.count), key, every);
  const held = useRef<Page<T>>(undefined);
  if (loaded.value) held.current = loaded.value;
  const doing = useDoing();
  const shown = held.current;
  const next = shown?.next;
  const more = () =>
    void doing.act(async () => {
      const one = await page(next ?? undefined);
      if (open.current.key === key) open.current.count += 1;
      loaded.put({ items: [...(shown?.items ?? []), ...one.items], next: one.next });
    });
  return {
    items: shown?.items,
    failure: loaded.failure ?? doing.failure,
    more: next ? more : undefined,
    again: loaded.again,
    busy: doing.busy,
  };
}

/** The row that is chosen, read when it is: the list that it was chosen from may be old. */
export function useChosen<T>(
  kind: string,
  chosen: string | null,
  load: (id: string) => Promise<T>,
  every?: number,
): Loaded<T | undefined> {
  const id = chosen === "new" ? null : chosen;
  return useLoad(async () => (id ? load(id) : undefined), `${kind} ${id}`, every);
}

interface Edits<T> {
  /** The row, with what somebody has set to something else. */
  entry: T;
  set: (change: Partial<T>) => void;
  /** What is to be sent. */
  changes: Partial<T>;
  /** Forgets what was set. */
  clear: () => void;
}

/** A form about a row. What nobody touches follows the row, and is not sent. */
export function useEdits<T extends object>(row: T): Edits<T> {
  const [touched, setTouched] = useState<Partial<T>>({});
  const set = (change: Partial<T>) => setTouched((last) => ({ ...last, ...change }));
  const changes = changesOf(row, touched);
  const saved = useUnsaved(Object.keys(changes).length > 0);
  const clear = () => {
    saved();
    setTouched({});
  };
  return { entry: { ...row, ...touched }, set, changes, clear };
}

/** Forms in which something stands that was not saved. */
const unsaved = new Set<object>();

const asks = (event: BeforeUnloadEvent) => event.preventDefault();

/** Has whoever leaves be asked while there is something that was not saved. Yields what ends that. */
function useUnsaved(is: boolean): () => void {
  const own = useRef({});
  const saved = useCallback(() => void unsaved.delete(own.current), []);
  useEffect(() => {
    if (!is) return;
    unsaved.add(own.current);
    window.addEventListener("beforeunload", asks);
    return () => {
      saved();
      window.removeEventListener("beforeunload", asks);
    };
  }, [is, saved]);
  return saved;
}

/** Whether the page may be left: nothing is unsaved, or whoever leaves does not mind. */
export function mayLeave(question: string): boolean {
  if (unsaved.size > 0 && !window.confirm(question)) return false;
  unsaved.clear();
  return true;
}
