import type { Door } from "../peer";

const host = (address: string) => (address.includes(":") ? `[${address}]` : address);

/** Ports of the server, as IT staff write them into a firewall. */
export const named = (doors: Door[]) =>
  doors
    .flatMap(({ protocol, port, addresses }) => addresses.map((address) => `${protocol} ${host(address)}:${port}`))
    .join(", ");
