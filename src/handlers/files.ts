/** `handler: files`: the bytes of a file in the user's drive, at the caller's pace. A pattern to copy. */

import { routeHandler } from "../http/code-route.ts";

export const files = routeHandler({
  method: "get",
  below: "/:id",
  uses: ["graph"],
  needs: ["GET /me/drive/items/{id}/content"],
  async handler({ params, headers }, response, { downstream: { graph } }) {
    const { range } = headers;
    // Segments, not text: an id from a caller must not be able to become a path.
    const file = await graph.get(["me", "drive", "items", String(params.id), "content"], {
      headers: { accept: "*/*", ...(range !== undefined && { range }) },
    });
    // Graph answers 302 to an address that needs no token, and so does this route.
    await file.stream(response);
  },
});
