// What is said of devices that do not work: on the join page, on the buttons, in the room.

import { KINDS, type Device, type Devices, type Fault, type Kind } from "./capture";
import type { Words } from "./words";

/** On the join page, a line each: what does not work and what that means; empty when all does. */
export function faults(devices: Devices, words: Words): string[] {
  const lines = KINDS.flatMap((kind) => {
    const { fault } = devices[kind];
    return fault ? [faultText(kind, fault, words)] : [];
  });
  if (devices.audio.fault && devices.video.fault) lines.push(words.watchOnly);
  else if (devices.audio.fault) lines.push(words.devices.audio.withoutIt);
  else if (devices.video.fault) lines.push(words.devices.video.withoutIt);
  // What is wrong with the address is wrong for both.
  return [...new Set(lines)];
}

/** In the room: of devices that are missed, and of those that have taken their place. */
export function news(devices: Devices, words: Words): string {
  const said = KINDS.map((kind) => newsOf(kind, devices[kind], words));
  return said.filter((text) => text !== "").join(" ");
}

function newsOf(kind: Kind, device: Device, words: Words): string {
  const { track, tell } = device;
  if (tell === "replaced" && track) return words.devices[kind].replaced(track.label);
  return tell === "missing" ? missing(kind, device, words) : "";
}

/** Why there is no such device, and what that means or what is done about it. */
export function missing(kind: Kind, device: Device, words: Words): string {
  const { gone, looking, withoutIt } = words.devices[kind];
  if (!device.fault) return gone;
  return device.pending ? looking : `${faultText(kind, device.fault, words)} ${withoutIt}`;
}

/** In a few words, where the device's name or picture would be; empty while the browser asks. */
export function brief(kind: Kind, device: Device, words: Words): string {
  const { none, notUsable } = words.devices[kind];
  if (!device.fault) return device.pending ? "" : none;
  return device.fault === "notFound" ? none : notUsable;
}

function faultText(kind: Kind, fault: Fault, words: Words): string {
  return fault === "insecure" ? words.insecure : words.devices[kind][fault];
}
