import { describe, expect, it } from "vitest";
import { judge, type Measured } from "./network";

const fine: Measured = {
  path: "udp",
  roundTripMs: 20,
  lossUp: 0,
  lossDown: 0,
  upBps: 1_400_000,
  downBps: 1_300_000,
  pictures: true,
  doors: [],
};

describe("the verdict on the network", () => {
  it.each([
    [{}, "good", "fine"],
    [{ path: "relay" }, "good", "relay"],
    [{ path: "tcp" }, "freezes", "tcp"],
    [{ roundTripMs: 450 }, "freezes", "far"],
    [{ downBps: 400_000 }, "freezes", "narrow"],
    [{ lossUp: 0.05 }, "freezes", "lossySome"],
    [{ upBps: 90_000 }, "soundOnly", "slow"],
    [{ lossDown: 0.2 }, "soundOnly", "lossy"],
    [{ pictures: false, upBps: null, downBps: null }, "soundOnly", "noPicture"],
    [{ path: null }, "closed", "blocked"],
  ] as [Partial<Measured>, string, string][])("of %j is %s, because %s", (change, verdict, reason) => {
    expect(judge({ ...fine, ...change })).toEqual({ verdict, reason });
  });

  it("does not call unknown figures bad", () => {
    const unknown = { roundTripMs: null, lossUp: null, lossDown: null, upBps: null, downBps: null };
    expect(judge({ ...fine, ...unknown }).verdict).toBe("good");
  });

  it("says that the server is away", () => {
    expect(judge("no-server")).toEqual({ verdict: "closed", reason: "noServer" });
  });
});
