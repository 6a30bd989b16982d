/** `GET /api/inbox`: the user's messages, however many pages they fill, one JSON object a line as they come. A pattern to copy. */

import { once } from "node:events";
import { codeRoute } from "../http/code-route.ts";

interface Message {
  readonly id: string;
  readonly receivedDateTime: string;
  readonly subject: string | null;
}

export const inboxRoute = codeRoute({
  method: "get",
  path: "/api/inbox",
  policy: { callers: "user", requiredScopes: ["access_as_user"], requiredRoles: [], allowedClients: [] },
  uses: ["graph"],
  async handler(_request, response, { downstream: { graph }, signal }) {
    const query = { $select: "id,receivedDateTime,subject", $top: 50 };
    for await (const { value } of graph.pages<Message>("/me/messages", { query })) {
      // Not before the first page is here: until then a refusal can still be told as a problem.
      if (!response.headersSent) response.setHeader("content-type", "application/x-ndjson");
      for (const { id, receivedDateTime, subject } of value) {
        // A slow caller holds up the next page, not the gateway's memory.
        const line = `${JSON.stringify({ id, receivedDateTime, subject })}\n`;
        if (!response.write(line)) await once(response, "drain", { signal });
      }
    }
    response.end();
  },
});
