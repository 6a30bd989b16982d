/** What reached the emulator: who asked for what and how it ended, never a token. */

import { createHash } from "node:crypto";
import type { ServerResponse } from "node:http";
import type {
  AuthorizeRecord,
  GraphRequest,
  MetadataRequest,
  RequestLog,
  TokenRequest,
} from "./request-record.ts";

type ListName = keyof RequestLog["counts"];
export type Draft<T> = { -readonly [Member in keyof T]: T[Member] };
export type AnyDraft =
  | Draft<TokenRequest>
  | Draft<AuthorizeRecord>
  | Draft<MetadataRequest>
  | Draft<GraphRequest>;

export interface Recorder {
  readonly log: RequestLog;
  /** Enters a request at its arrival; status and end are filled in when they are known. */
  arrived(draft: AnyDraft, response: ServerResponse): void;
  /** A request that has no connection of its own: a part of a `$batch`. */
  enter(draft: AnyDraft): void;
  /** Notes that a fault touched the answer. */
  faulted(response: ServerResponse): void;
}

/** Newest records kept per list; a benchmark sends far more. */
const KEPT = 5_000;

export function createRecorder(): Recorder {
  const lists = { token: [], authorize: [], discovery: [], keys: [], graph: [], kubernetes: [] } as {
    token: TokenRequest[];
    authorize: AuthorizeRecord[];
    discovery: MetadataRequest[];
    keys: MetadataRequest[];
    graph: GraphRequest[];
    kubernetes: MetadataRequest[];
  };
  const counts = { token: 0, authorize: 0, discovery: 0, keys: 0, graph: 0, kubernetes: 0 };
  const pending = { token: 0, authorize: 0, discovery: 0, keys: 0, graph: 0, kubernetes: 0 };
  const drafts = new WeakMap<ServerResponse, AnyDraft>();
  const waiting = new Set<() => void>();
  const changed = () => {
    for (const check of waiting) check();
  };

  const log: RequestLog = {
    ...lists,
    counts,
    pending,
    until: (condition) =>
      new Promise((resolve) => {
        const check = () => {
          if (!condition(log)) return;
          waiting.delete(check);
          resolve();
        };
        waiting.add(check);
        check();
      }),
    clear() {
      for (const name of Object.keys(lists) as ListName[]) {
        lists[name].length = 0;
        counts[name] = 0;
      }
    },
  };

  const enter = (draft: AnyDraft): ListName => {
    const name = listOf(draft);
    const list = lists[name] as AnyDraft[];
    list.push(draft);
    if (list.length > 2 * KEPT) list.splice(0, KEPT);
    counts[name] += 1;
    return name;
  };

  return {
    log,
    enter(draft) {
      enter(draft);
      changed();
    },
    arrived(draft, response) {
      const name = enter(draft);
      pending[name] += 1;
      drafts.set(response, draft);
      // At `end`, not at `finish`: the client may read the log before the event comes round.
      const end = response.end.bind(response) as (...parameters: unknown[]) => ServerResponse;
      response.end = ((...parameters: unknown[]) => {
        draft.status = response.statusCode;
        return end(...parameters);
      }) as typeof response.end;
      response.once("close", () => {
        pending[name] -= 1;
        if (!response.writableFinished) draft.aborted = true;
        changed();
      });
      changed();
    },
    faulted(response) {
      const draft = drafts.get(response);
      if (draft !== undefined) draft.faulted = true;
    },
  };
}

function listOf(draft: AnyDraft): ListName {
  switch (draft.endpoint) {
    case "token":
    case "authorize":
    case "graph":
    case "keys":
      return draft.endpoint;
    case "discovery":
    case "instance-discovery":
      return "discovery";
    default:
      return "kubernetes";
  }
}

export function sha256Hex(text: string | Buffer): string {
  return createHash("sha256").update(text).digest("hex");
}
