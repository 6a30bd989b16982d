/** A gateway with a handler of this program: signals, .env and exit codes are `runGateway`'s. */

import { routeHandler, runGateway } from "obo-gateway";

const greeting = routeHandler({
  method: "get",
  uses: ["graph"],
  // What `obo-gateway permissions` reports on.
  needs: ["GET /me"],
  async handler(_request, response, { downstream: { graph } }) {
    const me = await graph.get("/me", { query: { $select: "displayName" } });
    if (me.status !== 200) return me.stream(response);
    const { displayName } = await me.json();
    response.json({ greeting: `Hello, ${displayName}` });
  },
});

await runGateway({ handlers: { greeting } });
