/** `handler: profile`: the user and their manager from Graph, asked for in parallel. A pattern to copy. */

import { routeHandler } from "../http/code-route.ts";

interface GraphUser {
  readonly id: string;
  readonly displayName: string | null;
  readonly jobTitle: string | null;
  readonly mail: string | null;
}

export const profile = routeHandler({
  method: "get",
  uses: ["graph"],
  needs: ["GET /me", "GET /me/manager"],
  async handler(_request, response, { downstream: { graph } }) {
    const query = { $select: "id,displayName,jobTitle,mail" };
    const [me, manager] = await Promise.all([
      graph.get("/me", { query }),
      graph.get("/me/manager", { query }),
    ]);
    // Graph's refusal passes as it is: status, Retry-After and body explain it better than a new one would.
    if (me.status !== 200) return me.stream(response);
    // The head of an organisation has no manager: Graph's 404 is an answer and not a failure.
    if (manager.status !== 200 && manager.status !== 404) return manager.stream(response);
    response.json({
      me: pick(await me.json<GraphUser>()),
      manager: manager.status === 200 ? pick(await manager.json<GraphUser>()) : null,
    });
  },
});

function pick({ id, displayName, jobTitle, mail }: GraphUser): GraphUser {
  return { id, displayName, jobTitle, mail };
}
