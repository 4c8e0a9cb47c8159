import { expect, test } from "vitest";
import { forgetGuest, guestSecret } from "./guest";

function memory() {
  const kept = new Map<string, string>();
  return {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
    removeItem: (key: string) => void kept.delete(key),
  };
}

test("a link's secret leaves the address and is kept for its room", () => {
  const kept = memory();
  const seen: string[] = [];
  const at = { hash: "#guest=a-B_9", pathname: "/room/4000", search: "" };
  const take = (room: string, hash: string) =>
    guestSecret(room, { ...at, hash }, kept, (address) => void seen.push(address));
  expect(take("4000", "#guest=a-B_9")).toEqual("a-B_9");
  expect(seen).toEqual(["/room/4000"]);
  expect(take("4000", "")).toEqual("a-B_9");
  expect(take("5000", "")).toEqual(undefined);
  expect(take("4000", "#guest=new")).toEqual("new");
  expect(take("4000", "#guest=<b>")).toEqual("new");
  forgetGuest("4000", kept);
  expect(take("4000", "")).toEqual(undefined);
});
