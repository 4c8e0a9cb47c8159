import { describe, expect, it } from "vitest";
import { untouched, type Device, type Devices, type Fault } from "./capture";
import { brief, faults, missing, news } from "./faults";
import { words } from "./words";

const track = { label: "Table microphone" } as MediaStreamTrack;
const works: Device = { ...untouched(undefined), track };
const broken = (fault: Fault): Device => ({ ...untouched(undefined), fault });
const EVERY: Fault[] = ["denied", "notFound", "busy", "insecure"];

describe.each([words.en, words.zh])("what is said of devices ($language)", (words) => {
  it("never promises listening only to somebody who can be heard or seen", () => {
    for (const fault of EVERY) {
      const heard = faults({ audio: works, video: broken(fault) }, words);
      expect(heard).not.toContain(words.watchOnly);
      expect(heard.at(-1)).toBe(words.devices.video.withoutIt);
      const seen = faults({ audio: broken(fault), video: works }, words);
      expect(seen).not.toContain(words.watchOnly);
      expect(seen.at(-1)).toBe(words.devices.audio.withoutIt);
    }
    expect(faults({ audio: works, video: works }, words)).toEqual([]);
  });

  it("says of each device what is wrong with it", () => {
    const { audio, video } = words.devices;
    const lines = faults({ audio: broken("denied"), video: broken("busy") }, words);
    expect(lines).toEqual([audio.denied, video.busy, words.watchOnly]);
    const insecure = faults({ audio: broken("insecure"), video: broken("insecure") }, words);
    expect(insecure).toEqual([words.insecure, words.watchOnly]);
  });

  it("tells in the room what was lost, what is looked for and what serves now", () => {
    const { audio } = words.devices;
    const told = (device: Partial<Device>) => {
      const devices: Devices = { audio: { ...untouched(undefined), ...device }, video: works };
      return news(devices, words);
    };
    expect(told({ tell: "missing", pending: true })).toBe(audio.gone);
    expect(told({ tell: "missing", fault: "notFound", pending: true })).toBe(audio.looking);
    expect(told({ tell: "missing", fault: "notFound" })).toBe(`${audio.notFound} ${audio.withoutIt}`);
    expect(told({ tell: "replaced", track })).toBe(audio.replaced("Table microphone"));
    expect(told({ fault: "notFound" }), "known since the join page").toBe("");
  });

  it("explains a button without a device, and an empty place for one", () => {
    const { video } = words.devices;
    expect(missing("video", broken("denied"), words)).toBe(`${video.denied} ${video.withoutIt}`);
    expect(brief("video", broken("notFound"), words)).toBe(video.none);
    expect(brief("video", broken("busy"), words)).toBe(video.notUsable);
    expect(brief("video", { ...untouched(undefined), pending: true }, words)).toBe("");
  });
});
