/** `handler: inbox`: the user's messages, however many pages they fill, one JSON object a line as pages arrive. A pattern to copy. */

import { once } from "node:events";
import { routeHandler } from "../http/code-route.ts";

interface Message {
  readonly id: string;
  readonly receivedDateTime: string;
  readonly subject: string | null;
}

export const inbox = routeHandler({
  method: "get",
  uses: ["graph"],
  needs: ["GET /me/messages"],
  async handler(_request, response, { downstream: { graph }, signal }) {
    const query = { $select: "id,receivedDateTime,subject", $top: 50 };
    for await (const { value } of graph.pages<Message>("/me/messages", { query })) {
      // The head waits for the first page: until then a refusal can still become a problem.
      if (!response.headersSent) response.setHeader("content-type", "application/x-ndjson");
      for (const { id, receivedDateTime, subject } of value) {
        // A slow caller delays the next page; the gateway's memory does not fill.
        const line = `${JSON.stringify({ id, receivedDateTime, subject })}\n`;
        if (!response.write(line)) await once(response, "drain", { signal });
      }
    }
    response.end();
  },
});
