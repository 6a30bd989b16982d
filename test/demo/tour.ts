/** The tour: real calls through the gateway, each compared with what the README promises. */

import { createHash } from "node:crypto";
import type { CredentialChoice, EmulatorFacts, GatewayProcess } from "../support/processes.ts";

export interface Step {
  readonly title: string;
  /** Resolves to what was seen, in a few words; rejects when it is not as promised. */
  run(): Promise<string>;
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer;
  readonly ms: number;
}

export function createTour(
  facts: EmulatorFacts,
  gateway: GatewayProcess,
  credential: CredentialChoice,
): Step[] {
  const control = controlOf(facts.controlUrl);
  let adasToken = "";

  async function call(path: string, token?: string): Promise<Answer> {
    const began = performance.now();
    const response = await fetch(gateway.url + path, {
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    });
    const body = Buffer.from(await response.arrayBuffer());
    return { status: response.status, headers: response.headers, body, ms: performance.now() - began };
  }

  /** Where the gateway says that it had the delegated token from. */
  async function originOf({ headers }: Answer): Promise<unknown> {
    return (await gateway.logLine(headers.get("x-correlation-id") ?? "")).tokenOrigin;
  }

  return [
    {
      title: "GET /graph/me: validated, exchanged with Entra, forwarded",
      async run() {
        adasToken = await control.mint({ user: "ada" });
        const answer = await call("/graph/me", adasToken);
        expect("status", answer.status, 200);
        expect("origin of the delegated token", await originOf(answer), "authority");
        return `${json(answer).displayName}, ${timed(answer)}`;
      },
    },
    {
      title: "the same call again: the delegated token comes from the cache",
      async run() {
        const before = await control.tokenRequests();
        const answer = await call("/graph/me", adasToken);
        expect("status", answer.status, 200);
        expect("origin of the delegated token", await originOf(answer), "cache");
        expect("requests to Entra", (await control.tokenRequests()) - before, 0);
        return timed(answer);
      },
    },
    {
      title: "GET /api/profile: a handler in code asks Graph two things at once",
      async run() {
        const answer = await call("/api/profile", adasToken);
        expect("status", answer.status, 200);
        const { me, manager } = json(answer) as {
          me: { displayName: string };
          manager: { displayName: string };
        };
        return `${me.displayName} reports to ${manager.displayName}, ${timed(answer)}`;
      },
    },
    {
      title: "GET /graph/me/photo/$value: binary, streamed",
      async run() {
        const answer = await call("/graph/me/photo/$value", adasToken);
        expect("status", answer.status, 200);
        const type = answer.headers.get("content-type") ?? "";
        expect("content type is an image", type.startsWith("image/"), true);
        const digest = createHash("sha256").update(answer.body).digest("hex").slice(0, 8);
        return `${answer.body.length} bytes of ${type}, sha256 ${digest}…, ${timed(answer)}`;
      },
    },
    {
      title: "no token",
      run: () => refused("/graph/me", undefined, 401, "token_missing", /^Bearer$/),
    },
    {
      title: "a token without the scope that the route asks for",
      run: () =>
        refused("/admin-graph/me", adasToken, 403, "scope_insufficient", /insufficient_scope.*admin\.read/),
    },
    {
      title: "a tampered token",
      async run() {
        const [header, payload = "", signature] = adasToken.split(".");
        const claims = JSON.parse(Buffer.from(payload, "base64url").toString());
        const forged = Buffer.from(JSON.stringify({ ...claims, scp: "admin.read" })).toString("base64url");
        return refused(
          "/admin-graph/me",
          `${header}.${forged}.${signature}`,
          401,
          "token_rejected",
          /invalid_token/,
        );
      },
    },
    {
      title: "Conditional Access wants MFA: the caller gets Entra's claims, and is let in with them",
      run: claimsChallenge,
    },
    {
      title:
        credential === "certificate"
          ? "the certificate is replaced under load"
          : "the federated token is rotated under load",
      run: rotationUnderLoad,
    },
  ];

  async function refused(
    path: string,
    token: string | undefined,
    status: number,
    code: string,
    challenge: RegExp,
  ): Promise<string> {
    const answer = await call(path, token);
    expect("status", answer.status, status);
    expect("code", json(answer).code, code);
    const sent = answer.headers.get("www-authenticate") ?? "";
    if (!challenge.test(sent)) throw new Error(`challenge was: ${sent}`);
    return `${status} ${code}, WWW-Authenticate: ${sent}`;
  }

  async function claimsChallenge(): Promise<string> {
    const requirement = await control.post("/users/grace/require-mfa");
    const token = await control.mint({ user: "grace", capabilities: ["cp1"] });
    const challenged = await call("/graph/me", token);
    expect("status", challenged.status, 401);
    expect("code", json(challenged).code, "claims_challenged");
    const challenge = challenged.headers.get("www-authenticate") ?? "";
    expect("error", challenge.includes('error="insufficient_claims"'), true);
    const claims = Buffer.from(/claims="([^"]+)"/.exec(challenge)?.[1] ?? "", "base64").toString();

    const stronger = await control.mint({ user: "grace", capabilities: ["cp1"], claimsRequest: claims });
    const answer = await call("/graph/me", stronger);
    expect("status after signing in again with the claims", answer.status, 200);
    await control.delete(`/interventions/${requirement.id}`);
    return `401 with claims ${claims}, then 200 for ${json(answer).displayName}`;
  }

  /** Every call brings a new user token, so every call is an exchange and needs the gateway's own proof. */
  async function rotationUnderLoad(): Promise<string> {
    // A certificate file is looked at every few seconds, a token file at every exchange.
    const ROTATIONS = credential === "certificate" ? 1 : 3;
    const CALLERS = 4;
    await control.delete("/requests");
    const statuses = new Map<number, number>();
    let rotating = true;
    const load = Array.from({ length: CALLERS }, async () => {
      while (rotating) {
        const { status } = await call("/graph/me", await control.mint({ user: "edsger" }));
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    });
    for (let rotation = 0; rotation < ROTATIONS; rotation++) {
      await control.proofsGrowTo(rotation + 1);
      await control.post(
        credential === "certificate" ? "/client-certificate/rotate" : "/federated-token/rotate",
      );
    }
    await control.proofsGrowTo(ROTATIONS + 1);
    rotating = false;
    await Promise.all(load);
    const calls = [...statuses.values()].reduce((sum, count) => sum + count, 0);
    expect("failed calls", calls - (statuses.get(200) ?? 0), 0);
    return `${calls} exchanges, ${ROTATIONS} rotation(s), ${await control.proofs()} proofs of identity seen by Entra, 0 failed calls`;
  }
}

export interface Control {
  mint(options: Readonly<Record<string, unknown>>): Promise<string>;
  post(path: string, body?: object): Promise<{ readonly id: string }>;
  delete(path: string): Promise<void>;
  tokenRequests(): Promise<number>;
  /** How many different proofs of the gateway's identity Entra has accepted since the requests were cleared. */
  proofs(): Promise<number>;
  proofsGrowTo(count: number): Promise<void>;
}

export function controlOf(url: string): Control {
  async function send(method: string, path: string, body?: object): Promise<unknown> {
    const response = await fetch(url + path, {
      method,
      ...(method === "POST" && {
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body ?? {}),
      }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path} of the emulator: ${response.status} ${text}`);
    return response.headers.get("content-type")?.includes("json") ? JSON.parse(text) : undefined;
  }
  interface Requests {
    readonly counts: { readonly token: number };
    readonly token: readonly {
      readonly status: number;
      readonly clientAssertionSha256?: string;
      readonly thumbprint?: string;
    }[];
  }
  const requests = async () => (await send("GET", "/requests")) as Requests;

  async function proofs(): Promise<number> {
    const granted = (await requests()).token.filter(({ status }) => status === 200);
    return new Set(
      granted.map(({ thumbprint, clientAssertionSha256 }) => thumbprint ?? clientAssertionSha256),
    ).size;
  }

  return {
    mint: async (options) => ((await send("POST", "/tokens", options)) as { token: string }).token,
    post: async (path, body) => ((await send("POST", path, body)) ?? {}) as { id: string },
    delete: async (path) => void (await send("DELETE", path)),
    tokenRequests: async () => (await requests()).counts.token,
    proofs,
    async proofsGrowTo(count) {
      const limit = performance.now() + 30_000;
      while ((await proofs()) < count) {
        if (performance.now() > limit) throw new Error(`Entra did not see ${count} different proofs in 30 s`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
  };
}

export function expect(what: string, seen: unknown, promised: unknown): void {
  if (seen !== promised)
    throw new Error(`${what}: ${JSON.stringify(seen)} instead of ${JSON.stringify(promised)}`);
}

function json({ body }: Answer): Record<string, unknown> {
  return JSON.parse(body.toString());
}

function timed({ ms }: Answer): string {
  return `${ms.toFixed(1)} ms`;
}
