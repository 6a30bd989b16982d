/** Connections that the file descriptors of the process are enough for. */

import { connectionsFor, type FileDescriptors, readFileDescriptors } from "../foundation/file-descriptors.ts";
import type { ConnectionRoom } from "./contract.ts";

/** Below it an ordinary front end with its keep-alive connections is turned away. */
const FEW_CONNECTIONS = 256;
/** How long a limit that was read is believed, ms: it can be lowered while the process runs. */
const BELIEVED_MS = 250;

type Warn = (facts: object, message: string) => void;

/**
 * Asked for each connection: not more than are configured, and not more than there are descriptors for. One more is
 * closed in order, with a line and a count, while without a descriptor the system resets it without either.
 */
export function createDescriptorRoom(
  configured: number,
  log: { readonly info: Warn; readonly warn: Warn },
  read: () => FileDescriptors | undefined = readFileDescriptors,
  now: () => number = () => performance.now(),
): () => ConnectionRoom {
  const first = read();
  let room: ConnectionRoom = { max: configured, idleGivesWay: "after seconds" };
  let readAt = now();
  let reported = Number.POSITIVE_INFINITY;

  function look(descriptors: FileDescriptors | undefined): void {
    if (descriptors === undefined || first === undefined) return;
    // What is open now includes connections; what was open at the start is what everything else takes.
    const enough = connectionsFor({ limit: descriptors.limit, open: first.open });
    if (enough >= configured) {
      room = { max: configured, idleGivesWay: "after seconds" };
      return;
    }
    room = { max: enough, idleGivesWay: "at once" };
    if (enough >= reported) return;
    reported = enough;
    const facts = { descriptors: descriptors.limit, connections: enough, configured };
    const message =
      "file descriptors are enough for fewer connections than http.connections.max; raise ulimit -n";
    if (enough < FEW_CONNECTIONS) log.warn(facts, message);
    else log.info(facts, message);
  }

  look(first);
  return () => {
    const time = now();
    if (time - readAt >= BELIEVED_MS) {
      readAt = time;
      look(read());
    }
    return room;
  };
}
