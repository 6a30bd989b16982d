/** Requests of every kind at a steady rate, each held against what is due at that moment. */

import { randomBytes } from "node:crypto";
import { Agent, request } from "node:http";
import type { Emulator } from "../../emulator/handle.ts";

const USERS = 100;
/** A caller gives up after this time; what is not answered by then is lost. */
const PATIENCE_MS = 20_000;
const TICK_MS = 20;
/** Age of a token that a replica sees for the first time: its user signed in a while ago, at another replica or page. */
const SIGNED_IN_AGO_SECONDS = 300;

/** Which answers a kind gets when all is well: a status, and the code of the problem where the gateway refuses. */
interface Kind {
  readonly name: string;
  /** Of a thousand requests. */
  readonly share: number;
  readonly path: string;
  readonly token: "known" | "new" | "fresh" | "forged" | "expired" | "none";
  readonly due: string;
  readonly method?: string;
  readonly bodyBytes?: number;
}

const KINDS: readonly Kind[] = [
  { name: "known user", share: 540, path: "/graph/me/ok", token: "known", due: "200" },
  { name: "token not seen before", share: 100, path: "/graph/me/ok", token: "new", due: "200" },
  { name: "sign-in of this moment", share: 20, path: "/graph/me/ok", token: "fresh", due: "200" },
  { name: "as the gateway itself", share: 40, path: "/app/me/ok", token: "known", due: "200" },
  {
    name: "32 KiB up",
    share: 60,
    path: "/graph/me/ok",
    token: "known",
    due: "200",
    method: "PUT",
    bodyBytes: 32_768,
  },
  { name: "64 KiB down", share: 60, path: "/graph/me/big", token: "known", due: "200" },
  { name: "downstream 500", share: 30, path: "/graph/me/broken", token: "known", due: "500" },
  { name: "downstream 429", share: 30, path: "/graph/me/throttled", token: "known", due: "429" },
  {
    name: "downstream hangs up",
    share: 10,
    path: "/graph/me/rude",
    token: "known",
    due: "502 downstream_unreachable",
  },
  { name: "no token", share: 20, path: "/graph/me/ok", token: "none", due: "401 token_missing" },
  { name: "broken signature", share: 20, path: "/graph/me/ok", token: "forged", due: "401 token_rejected" },
  { name: "expired token", share: 20, path: "/graph/me/ok", token: "expired", due: "401 token_rejected" },
  {
    name: "path that is not allowed",
    share: 20,
    path: "/graph/users",
    token: "known",
    due: "403 target_forbidden",
  },
  { name: "unknown route", share: 10, path: "/nowhere", token: "known", due: "404 route_unknown" },
  {
    name: "wrong method",
    share: 10,
    path: "/graph/me/ok",
    token: "known",
    due: "405 method_not_allowed",
    method: "DELETE",
  },
  { name: "caller leaves", share: 10, path: "/graph/me/slow", token: "known", due: "left" },
];

/** Answers that a fault explains, by the kinds that it reaches: `exchange` and `fresh` name those that need Entra. */
export interface Excuses {
  readonly exchanges?: readonly string[];
  readonly fresh?: readonly string[];
  readonly all?: readonly string[];
}

export interface Tally {
  answered: number;
  refused: number;
  /** What came instead of what is due, by kind. */
  readonly otherwise: Map<string, number>;
  readonly times: number[];
}

export interface Load {
  /** Lets each replica answer every known user once, so that it needs no Entra for them later, and begins. */
  begin(replicas: readonly { readonly url: string }[]): Promise<void>;
  /** From now on requests count for this phase, and its excuses hold for those that are under way in it. */
  enter(excuses: Excuses): Tally;
  /** When the latest answer came that only an excuse explains; `performance.now`. */
  lastExcusedAt(): number;
  /** Requests sent, and those that were due and not sent, since too many were under way. */
  readonly total: () => { readonly sent: number; readonly held: number };
  stop(): Promise<void>;
}

export function startLoad(url: string, emulator: Emulator, requestsPerSecond: number): Load {
  const agent = new Agent({ keepAlive: true, maxSockets: 512 });
  const thousand = KINDS.flatMap((kind) => Array.from({ length: kind.share }, () => kind));
  const users = Array.from({ length: USERS }, () => emulator.addUser());
  const userAt = (index: number) => users[index % USERS];
  const mint = (index: number, ageSeconds = 0) => {
    const user = userAt(index);
    const uti = randomBytes(12).toString("base64url");
    const iat = Math.floor(emulator.now() / 1_000) - ageSeconds;
    return emulator.mintUserToken({
      ...(user !== undefined && { user }),
      expiresInSeconds: 3_600,
      claims: { uti, iat, nbf: iat },
    });
  };
  const known = users.map((_, index) => mint(index));
  const expired = emulator.mintUserToken({ expiresInSeconds: -3_600 });
  let signIns = 0;

  const phases: { readonly excuses: Excuses; readonly tally: Tally }[] = [];
  let excusedAt = Number.NEGATIVE_INFINITY;
  let sent = 0;
  let held = 0;
  const underWay = new Set<Promise<void>>();

  function tokenFor(kind: Kind): string {
    const chosen = known[sent % USERS] ?? "";
    switch (kind.token) {
      case "known":
        return chosen;
      case "new":
        return mint(signIns++, SIGNED_IN_AGO_SECONDS);
      case "fresh":
        return mint(signIns++);
      case "forged":
        return `${chosen.slice(0, -8)}AAAAAAAA`;
      case "expired":
        return expired;
      default:
        return "";
    }
  }

  function isExcused(
    kind: Kind,
    outcome: string,
    { exchanges = [], fresh = [], all = [] }: Excuses,
  ): boolean {
    const needsEntra = kind.token === "new" || kind.token === "fresh" || kind.path.startsWith("/app/");
    return (
      all.includes(outcome) ||
      (needsEntra && exchanges.includes(outcome)) ||
      (kind.token === "fresh" && fresh.includes(outcome))
    );
  }

  async function call(kind: Kind): Promise<void> {
    const begun = phases.length - 1;
    const startedAt = performance.now();
    const outcome = await send(kind, tokenFor(kind));
    const met = phases.slice(begun);
    const tally = met[0]?.tally ?? enter({});
    if (outcome === kind.due) {
      if (/^[45]\d\d \w/.test(outcome)) tally.refused += 1;
      else tally.answered += 1;
      tally.times.push(performance.now() - startedAt);
    } else if (met.some(({ excuses }) => isExcused(kind, outcome, excuses))) {
      tally.refused += 1;
      excusedAt = performance.now();
    } else {
      const what = `${kind.name}: ${outcome}`;
      tally.otherwise.set(what, (tally.otherwise.get(what) ?? 0) + 1);
    }
  }

  /** The status and, of a problem, its code; `lost` and why where no whole answer came. */
  function send(
    { path, method = "GET", bodyBytes = 0, due }: Kind,
    token: string,
    to = url,
  ): Promise<string> {
    return new Promise((resolve) => {
      const headers = {
        ...(token !== "" && { authorization: `Bearer ${token}` }),
        ...(bodyBytes > 0 && { "content-length": bodyBytes, "content-type": "application/octet-stream" }),
      };
      const sentRequest = request(to + path, { agent, method, headers }, (answer) => {
        const chunks: Buffer[] = [];
        answer.on("data", (chunk: Buffer) => chunks.push(chunk));
        answer.on("error", (error: NodeJS.ErrnoException) => resolve(`lost: cut short (${error.code})`));
        answer.on("end", () => {
          const type = answer.headers["content-type"] ?? "";
          if (!type.startsWith("application/problem+json")) return resolve(String(answer.statusCode));
          const { code } = JSON.parse(Buffer.concat(chunks).toString()) as { code?: string };
          resolve(`${answer.statusCode} ${code}`);
        });
      });
      sentRequest.setTimeout(PATIENCE_MS, () => sentRequest.destroy(new Error("patience")));
      sentRequest.on("error", (error: NodeJS.ErrnoException) =>
        resolve(due === "left" ? "left" : `lost: ${error.code ?? error.message}`),
      );
      if (due === "left") setTimeout(() => sentRequest.destroy(), 5);
      sentRequest.end(bodyBytes > 0 ? Buffer.alloc(bodyBytes, "b") : undefined);
    });
  }

  let beganAt = Number.NaN;
  let ticking: NodeJS.Timeout | undefined;
  /** A request may outlast the phase that it began in, and the one after that. */
  const enter = (excuses: Excuses): Tally => {
    const tally: Tally = { answered: 0, refused: 0, otherwise: new Map(), times: [] };
    phases.push({ excuses, tally });
    return tally;
  };
  enter({});
  const tick = () => {
    // A tick that comes late sends what is due by then, but never a burst of more than a tenth of a second.
    const due = Math.floor(((performance.now() - beganAt) / 1_000) * requestsPerSecond);
    const most = Math.max(1, Math.ceil(requestsPerSecond / 10));
    for (let left = Math.min(due - sent - held, most); left > 0; left -= 1) {
      // A machine that cannot keep up gets fewer requests, not later answers.
      if (underWay.size >= Math.max(32, requestsPerSecond)) {
        held += left;
        return;
      }
      // 617 shares no divisor with 1000, so the kinds are spread, and alike in each run.
      const kind = thousand[(sent * 617) % 1_000];
      sent += 1;
      if (kind === undefined) continue;
      const done: Promise<void> = call(kind).finally(() => underWay.delete(done));
      underWay.add(done);
    }
  };

  async function meetEveryUser(to: string): Promise<void> {
    const [plain] = KINDS;
    for (const token of known)
      if (plain !== undefined && (await send(plain, token, to)) !== plain.due)
        throw new Error("a replica does not serve a user before anything is broken");
  }

  return {
    async begin(replicas) {
      await Promise.all(replicas.map((replica) => meetEveryUser(replica.url)));
      beganAt = performance.now();
      ticking = setInterval(tick, TICK_MS);
    },
    enter,
    lastExcusedAt: () => excusedAt,
    total: () => ({ sent, held }),
    async stop() {
      clearInterval(ticking);
      await Promise.all(underWay);
      agent.destroy();
    },
  };
}
