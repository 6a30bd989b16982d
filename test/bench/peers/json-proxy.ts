/** The bare pass-through, with JSON as most would change it: parsed, walked through, printed. It authenticates nobody. */

import { createServer, type IncomingMessage } from "node:http";
import { Pool } from "undici";
import { announce, settings } from "./peer.ts";

const { apiUrl } = settings();
const pool = new Pool(apiUrl, { connections: 1024 });
const from = `${apiUrl}/v1.0/`;
const to = "https://gateway.example/graph/";

function pointHere(value: unknown): void {
  if (Array.isArray(value)) value.forEach(pointHere);
  else if (typeof value === "object" && value !== null)
    for (const [name, member] of Object.entries(value)) {
      if (typeof member !== "string") pointHere(member);
      else if (/@odata\.(?:next|delta)Link$/.test(name) && member.startsWith(from))
        (value as Record<string, unknown>)[name] = to + member.slice(from.length);
    }
}

/** The text of a batch whose parts all lead where the route leads. */
async function checkedBatch(incoming: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of incoming.setEncoding("utf8")) text += chunk;
  const batch = JSON.parse(text) as { requests: readonly { method: string; url: string }[] };
  for (const { method, url } of batch.requests)
    if (!["GET", "POST"].includes(method) || !url.startsWith("/me/")) throw new Error("not allowed");
  return JSON.stringify(batch);
}

const server = createServer(async (incoming, outgoing) => {
  try {
    const path = `/v1.0${incoming.url?.slice("/graph".length)}`;
    const isBatch = incoming.method === "POST";
    const { statusCode, body } = await pool.request({
      method: isBatch ? "POST" : "GET",
      path,
      ...(isBatch && {
        headers: { "content-type": "application/json" },
        body: await checkedBatch(incoming),
      }),
    });
    const answer = await body.json();
    pointHere(answer);
    const text = JSON.stringify(answer);
    outgoing.writeHead(statusCode, {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(text),
    });
    outgoing.end(text);
  } catch {
    outgoing.destroy();
  }
});
announce(server);
