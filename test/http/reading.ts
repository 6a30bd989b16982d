/** How the server reads a connection, by what node:http keeps on it. */

import type { Socket } from "node:net";

/** Whether bytes go from the system to Node's parser directly, without a stream between. */
export function isReadByNode(socket: Socket): boolean {
  const { parser } = socket as Socket & { readonly parser?: { readonly _consumed?: boolean } | null };
  return parser?._consumed === true;
}
