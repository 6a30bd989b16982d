/** `GET /api/profile`: the user and their manager from Graph, asked for in parallel. Shipped as a pattern to copy. */

import { codeRoute } from "../http/code-route.ts";

interface GraphUser {
  readonly id: string;
  readonly displayName: string | null;
  readonly jobTitle: string | null;
  readonly mail: string | null;
}

export const profileRoute = codeRoute({
  method: "get",
  path: "/api/profile",
  policy: { callers: "user", requiredScopes: ["access_as_user"], requiredRoles: [], allowedClients: [] },
  uses: ["graph"],
  async handler(_request, response, { downstream: { graph } }) {
    const query = { $select: "id,displayName,jobTitle,mail" };
    const [me, manager] = await Promise.all([
      graph.get("/me", { query }),
      graph.get("/me/manager", { query }),
    ]);
    // Graph's own refusal says most: its status, its Retry-After, its body.
    if (me.status !== 200) return me.stream(response);
    // Nobody above the top of an organisation: Graph says 404, which is an answer and not a failure.
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
