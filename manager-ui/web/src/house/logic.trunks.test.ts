import { expect, test } from "vitest";
import { emptyTrunk, entryOf, isPrefix, isTrunkAddress, numbersOf, trunkBody } from "./logic.trunks";

test("a trunk is written and read as it was", () => {
  const row = {
    name: "city",
    organisation: "o",
    address: "carrier.example",
    transport: "tls",
    register: true,
    user: "hospital",
    sources: ["10.0.0.1", "10.0.0.2"],
    prefix: "9",
    prepend: "",
    numbers: [{ number: "+865551234", room: "4000" }],
  };
  const entry = entryOf(row);
  expect(entry.numbers).toBe("+865551234=4000");
  expect(trunkBody(entry)).toEqual({ ...row, domain: null, realm: null, prepend: null });
  expect(emptyTrunk("o").sources).toBe("");
});

test("what is not touched is not told, and what is emptied is taken away", () => {
  const body = trunkBody({ prefix: "", sources: "10.0.0.1，10.0.0.2" });
  expect(JSON.parse(JSON.stringify(body))).toEqual({
    prefix: null,
    sources: ["10.0.0.1", "10.0.0.2"],
  });
});

test("numbers stand with their rooms", () => {
  expect(numbersOf("")).toEqual([]);
  expect(numbersOf("1=a, 2=b")).toEqual([
    { number: "1", room: "a" },
    { number: "2", room: "b" },
  ]);
  expect(numbersOf("1 a")).toBeNull();
  expect(numbersOf("1=a=b")).toBeNull();
});

test("prefixes and addresses are as the server takes them", () => {
  for (const prefix of ["", "9", "*9#", "+86"]) expect(isPrefix(prefix)).toBe(true);
  for (const prefix of ["a", "9 ", "1".repeat(17)]) expect(isPrefix(prefix)).toBe(false);
  expect(isTrunkAddress("[2001:db8::1]:5070")).toBe(true);
  expect(isTrunkAddress("sip:a b")).toBe(false);
});
