/** Reads a collection page by page, as OData links them. */

import { GatewayError } from "../../errors.ts";
import type { ApiBase, DownstreamPath, DownstreamResponse, Page } from "../contract.ts";
import { gatewayLink } from "../graph/links.ts";

interface PageDocument<T> {
  readonly value?: readonly T[];
  readonly "@odata.nextLink"?: string;
  readonly "@odata.deltaLink"?: string;
}

/**
 * Asks for one page after the other, each when the loop comes to it. Throws `downstream_unreachable` when a page's
 * status is not 200 (`reason`: `status_404`; with its `Retry-After`), when it is no collection, or when a link leads
 * anywhere but below the API's base URL: the token must not follow it.
 */
export async function* readPages<T>(
  base: ApiBase,
  first: DownstreamPath,
  get: (path: DownstreamPath, isFirst: boolean) => Promise<DownstreamResponse>,
): AsyncGenerator<Page<T>, void, undefined> {
  const relative = (link: string): string => {
    const path = gatewayLink(base, "", link);
    if (path === link) throw unusable("link_elsewhere");
    return path;
  };
  let next: DownstreamPath | undefined = first;
  while (next !== undefined) {
    const asked: DownstreamPath = next;
    const response = await get(asked, asked === first);
    if (response.status !== 200) {
      response.discard();
      const wait = Number(response.headers.get("retry-after") ?? Number.NaN);
      throw unusable(`status_${response.status}`, wait);
    }
    const page: PageDocument<T> = await response.json();
    if (!Array.isArray(page.value)) throw unusable("no_collection");
    const { "@odata.nextLink": nextLink, "@odata.deltaLink": deltaLink } = page;
    next = nextLink === undefined ? undefined : relative(nextLink);
    // A link to the page itself would be asked for for ever.
    if (next === asked) throw unusable("link_to_itself");
    yield { value: page.value, deltaLink: deltaLink === undefined ? undefined : relative(deltaLink) };
  }
}

function unusable(reason: string, retryAfterSeconds = Number.NaN): GatewayError {
  return new GatewayError("downstream_unreachable", {
    detail: "The downstream API gave no usable page.",
    reason,
    ...(retryAfterSeconds >= 0 && { retryAfterSeconds }),
  });
}
