import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

class Stream extends EventTarget {
  static readonly CLOSED = 2;
  static opened: Stream[] = [];
  readyState = 0;
  constructor(readonly url: string) {
    super();
    Stream.opened.push(this);
  }
  close() {
    this.readyState = Stream.CLOSED;
  }
  say(type: string) {
    this.dispatchEvent(new Event(type));
  }
}

const page = Object.assign(new EventTarget(), { visibilityState: "visible" });

describe("live events", () => {
  beforeEach(() => {
    vi.resetModules();
    vi.useFakeTimers();
    Stream.opened = [];
    page.visibilityState = "visible";
    vi.stubGlobal("EventSource", Stream);
    vi.stubGlobal("document", page);
    vi.stubGlobal("window", globalThis);
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it("come by one stream, to whom they concern", async () => {
    const { listen } = await import("./live");
    const [rooms, people] = [vi.fn(), vi.fn()];
    const stop = listen(["room.created"], rooms);
    const stopToo = listen(["person.created", "room.created"], people);
    expect(Stream.opened).toHaveLength(1);
    const [stream] = Stream.opened;
    stream?.say("room.created");
    stream?.say("person.created");
    expect([rooms.mock.calls.length, people.mock.calls.length]).toEqual([1, 2]);
    stream?.say("gap");
    expect([rooms.mock.calls.length, people.mock.calls.length]).toEqual([2, 3]);
    stop();
    stopToo();
    expect(stream?.readyState).toBe(Stream.CLOSED);
  });

  it("are listened to while somebody looks, and looked for where they are refused", async () => {
    const { listen } = await import("./live");
    const heard = vi.fn();
    const stop = listen(["room.created"], heard);
    page.visibilityState = "hidden";
    page.dispatchEvent(new Event("visibilitychange"));
    expect(Stream.opened[0]?.readyState).toBe(Stream.CLOSED);
    page.visibilityState = "visible";
    page.dispatchEvent(new Event("visibilitychange"));
    expect(Stream.opened).toHaveLength(2);
    // Too many streams, for one: a browser does not come back by itself then.
    const second = Stream.opened[1] as Stream;
    second.close();
    second.say("error");
    vi.advanceTimersByTime(20000);
    expect(heard).toHaveBeenCalledTimes(4);
    vi.advanceTimersByTime(20000);
    expect(Stream.opened).toHaveLength(3);
    Stream.opened[2]?.say("open");
    const calls = heard.mock.calls.length;
    vi.advanceTimersByTime(60000);
    expect(heard).toHaveBeenCalledTimes(calls);
    stop();
  });
});
