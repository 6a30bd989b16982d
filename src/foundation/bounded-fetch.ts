/** Fetch with a deadline, a size limit and no redirects: how every room talks to the authority. */

/** One request as it goes out. */
export interface FetchRequest {
  readonly method: "GET" | "POST";
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly redirect: "manual";
  readonly signal: AbortSignal;
}

export interface FetchAnswer {
  readonly status: number;
  readonly headers: FetchedHeaders;
  /** Throws while it is read where the answer is cut. */
  readonly body: AsyncIterable<Uint8Array> | null;
}

/** Fields of an answer, by name and value. */
export interface FetchedHeaders extends Iterable<[name: string, value: string]> {
  /** Null for a field that is absent. */
  get(name: string): string | null;
}

/** The part of `fetch` that this module needs, so that the global one will do, too; tests hand in one that trusts their own CA. */
export type Fetch = (url: string, request: FetchRequest) => Promise<FetchAnswer>;

export interface BoundedRequest {
  readonly method?: "GET" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Milliseconds for everything: connecting, headers and the whole body. */
  readonly timeoutMs: number;
  /** Largest body, bytes. */
  readonly maxBytes: number;
  readonly signal?: AbortSignal;
}

export interface BoundedResponse {
  readonly status: number;
  readonly headers: FetchedHeaders;
  readonly text: string;
}

/** The reason why a fetch gave no answer: none came in time, or the bytes that came were none. */
export class FetchFailure extends Error {
  override readonly name = "FetchFailure";
  readonly kind: "timeout" | "aborted" | "network" | "too_large";

  constructor(kind: FetchFailure["kind"], options?: ErrorOptions) {
    super(`no usable answer: ${kind}`, options);
    this.kind = kind;
  }
}

/**
 * One request, one answer, whatever its status. Redirects are returned, not followed: no endpoint of an
 * authority redirects, and a followed one could carry an assertion to another host.
 *
 * @throws {FetchFailure} when no whole answer arrived inside the deadline and the size limit, or `signal` fired.
 */
export async function boundedFetch(
  fetch: Fetch,
  url: string,
  request: BoundedRequest,
): Promise<BoundedResponse> {
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(), request.timeoutMs);
  const signal =
    request.signal === undefined ? deadline.signal : AbortSignal.any([deadline.signal, request.signal]);
  try {
    const response = await fetch(url, {
      method: request.method ?? "GET",
      headers: request.headers ?? {},
      ...(request.body === undefined ? {} : { body: request.body }),
      redirect: "manual",
      signal,
    });
    const text = await readAtMost(response, request.maxBytes);
    return { status: response.status, headers: response.headers, text };
  } catch (cause) {
    if (cause instanceof FetchFailure) throw cause;
    if (deadline.signal.aborted) throw new FetchFailure("timeout", { cause });
    if (request.signal?.aborted === true) throw new FetchFailure("aborted", { cause });
    throw new FetchFailure("network", { cause });
  } finally {
    clearTimeout(timer);
  }
}

async function readAtMost(response: FetchAnswer, maxBytes: number): Promise<string> {
  if (response.body === null) return "";
  const decoder = new TextDecoder();
  let text = "";
  let received = 0;
  for await (const chunk of response.body) {
    received += chunk.byteLength;
    // Leaving the loop cancels the stream, so the rest is never downloaded.
    if (received > maxBytes) throw new FetchFailure("too_large");
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}
