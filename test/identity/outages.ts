/** Ways in which an authority's documents can be late, broken, wrong or absent, each as a sentence. */

import { generateKeyPairSync } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import {
  encode,
  type FakeAuthority,
  generateKey,
  type Json,
  jwkOf,
  sendJson,
  type TestKey,
} from "./fake-authority.ts";

export interface Outage {
  readonly sentence: string;
  begin(authority: FakeAuthority): void;
}

type Document = "metadata" | "keys";
type Respond = (request: IncomingMessage, response: ServerResponse) => void;

const HTML = "<!doctype html><title>Service unavailable</title>";

const answer =
  (status: number, body = "", headers: Record<string, string> = {}): Respond =>
  (_request, response) =>
    response.writeHead(status, headers).end(body);

/** Faults of transport and form, which either document can have. */
const FAULTS: ReadonlyArray<readonly [sentence: string, respond: Respond]> = [
  ["never answers", () => {}],
  [
    "answers with headers and nothing after them",
    (_request, response) => response.writeHead(200).flushHeaders(),
  ],
  ["stalls in the middle of the body", (_request, response) => response.writeHead(200).write('{"issuer":')],
  ["sends one byte at a time, without end", (_request, response) => drip(response)],
  ["sends white space without end", (_request, response) => flood(response)],
  ["closes the connection before it answers", (request) => request.socket.destroy()],
  ["resets the connection before it answers", (request) => request.socket.resetAndDestroy()],
  [
    "closes the connection in the middle of the body",
    (_request, response) => cut(response, { "content-length": "1000" }),
  ],
  ["closes the connection in the middle of a chunked body", (_request, response) => cut(response, {})],
  ["answers with something that is not HTTP", (request) => request.socket.end("SSH-2.0-OpenSSH_9.6\r\n")],
  ["answers with headers of 100 KB", answer(200, "{}", { "x-large": "h".repeat(100_000) })],
  ["says gzip and sends something else", answer(200, "plain", { "content-encoding": "gzip" })],
  ["answers 200 with HTML", answer(200, HTML)],
  ["answers 200 with an empty body", answer(200)],
  ["answers 200 with null", answer(200, "null")],
  ["answers 200 with an empty object", answer(200, "{}")],
  ["answers 200 with an array", answer(200, "[]")],
  ["answers 200 with a string", answer(200, '"ok"')],
  ["answers 200 with JSON cut short", answer(200, '{"issuer":"https://')],
  [
    "answers 200 with bytes that are not UTF-8",
    (_request, response) => response.writeHead(200).end(Buffer.alloc(64, 0xff)),
  ],
  ["answers 200 with a megabyte", answer(200, JSON.stringify({ filler: "f".repeat(2 ** 20) }))],
  ["answers 200 with JSON nested too deeply", answer(200, "[".repeat(200_000))],
  ["answers 204", answer(204)],
  ["redirects to another host", answer(302, "", { location: "https://evil.test/" })],
  ["redirects to itself", (request, response) => response.writeHead(307, { location: request.url }).end()],
  ["answers 304 to an unconditional request", answer(304)],
  ["answers 401 with JSON", (_request, response) => sendJson(response, { error: "unauthorized" }, 401)],
  ["answers 404 with HTML", answer(404, HTML)],
  ["answers 429 with text", answer(429, "Too Many Requests", { "retry-after": "60" })],
  ["answers 500 with nothing", answer(500)],
  ["answers 502 with HTML", answer(502, HTML)],
  ["answers 503 with HTML", answer(503, HTML)],
  [
    "answers 503 with JSON",
    (_request, response) => sendJson(response, { error: "temporarily_unavailable" }, 503),
  ],
];

const elliptic = generateKeyPairSync("ec", { namedCurve: "P-256" });
const weak = generateKey("weak", 1024);

const METADATA_CONTENTS: ReadonlyArray<readonly [sentence: string, members: Json]> = [
  ["is right but for a megabyte too much", { filler: "f".repeat(2 ** 20) }],
  ["states no issuer", { issuer: undefined }],
  [
    "states the issuer of another tenant",
    { issuer: "https://login.microsoftonline.com/22222222-bbbb-4bbb-8bbb-222222222222/v2.0" },
  ],
  [
    "states the template of every tenant as issuer",
    { issuer: "https://login.microsoftonline.com/{tenantid}/v2.0" },
  ],
  [
    "states an issuer of another host",
    { issuer: "https://evil.test/11111111-aaaa-4aaa-8aaa-111111111111/v2.0" },
  ],
  ["states an issuer that is no string", { issuer: ["https://login.microsoftonline.com/"] }],
  ["states no jwks_uri", { jwks_uri: undefined }],
  ["points to keys of another host", { jwks_uri: "https://evil.test/keys" }],
  ["points to keys of another port", { jwks_uri: "https://login.microsoftonline.com:8443/t/discovery/keys" }],
  ["points to keys over http", { jwks_uri: "http://login.microsoftonline.com/t/discovery/keys" }],
  [
    "points to keys behind user information",
    { jwks_uri: "https://user@login.microsoftonline.com/t/discovery/keys" },
  ],
  ["points to keys by a relative path", { jwks_uri: "/t/discovery/keys" }],
  ["points to keys in a data URL", { jwks_uri: "data:application/json,{}" }],
  [
    "points to keys by something that is no string",
    { jwks_uri: { href: "https://login.microsoftonline.com/" } },
  ],
];

const keySets = (key: TestKey): ReadonlyArray<readonly [sentence: string, body: unknown]> => [
  ["hold the right key and a megabyte too much", { keys: [jwkOf(key)], filler: "f".repeat(2 ** 20) }],
  ["hold no list", { keys: {} }],
  ["hold an empty list", { keys: [] }],
  ["hold null and strings", { keys: [null, "key", 1, []] }],
  [
    "hold an elliptic key only",
    { keys: [{ ...elliptic.publicKey.export({ format: "jwk" }), kid: key.kid, use: "sig" }] },
  ],
  ["hold a symmetric key only", { keys: [{ kty: "oct", k: encode("secret"), kid: key.kid, use: "sig" }] }],
  ["hold a key of 1024 bits only", { keys: [jwkOf(weak)] }],
  ["hold a key for encryption only", { keys: [jwkOf(key, { use: "enc" })] }],
  ["hold a key for another algorithm only", { keys: [jwkOf(key, { alg: "PS256" })] }],
  ["hold a key without a kid only", { keys: [jwkOf(key, { kid: undefined })] }],
  ["hold a key without a modulus only", { keys: [jwkOf(key, { n: undefined })] }],
  ["hold a key whose modulus is an object only", { keys: [jwkOf(key, { n: { length: 342 } })] }],
  ["hold a key of another cloud only", { keys: [jwkOf(key, { cloud_instance_name: "microsoftonline.us" })] }],
];

/** `key` is the one that signs genuine tokens: a wrong key set holds it in a form that must not be used. */
export function outagesAround(key: TestKey): readonly Outage[] {
  return [
    ...(["metadata", "keys"] as const).flatMap((document) => [
      ...FAULTS.map(([sentence, respond]) => ({
        sentence: `${document}: ${sentence}`,
        begin: (authority: FakeAuthority) => {
          authority.respond[document] = respond;
        },
      })),
      ...connectionFaults(document),
      // A cache or a load balancer in trouble may well send the right bytes under a status that disowns them.
      ...[203, 206, 410, 500].map((status) => ({
        sentence: `${document}: answers ${status} with the right document`,
        begin: (authority: FakeAuthority) => {
          authority.status[document] = status;
        },
      })),
    ]),
    ...METADATA_CONTENTS.map(([sentence, members]) => ({
      sentence: `metadata: ${sentence}`,
      begin: (authority: FakeAuthority) => {
        authority.metadata = members;
      },
    })),
    ...keySets(key).map(([sentence, body]) => ({
      sentence: `keys: ${sentence}`,
      begin: (authority: FakeAuthority) => {
        authority.respond.keys = (_request, response) => sendJson(response, body);
      },
    })),
  ];
}

function connectionFaults(document: Document): Outage[] {
  return [
    {
      sentence: `${document}: refuses the connection`,
      // Port 1 (tcpmux) is served by nobody.
      begin: (authority) => {
        authority.divert[document] = "http://127.0.0.1:1";
      },
    },
    {
      sentence: `${document}: does not speak TLS`,
      begin: (authority) => {
        authority.divert[document] = `https://127.0.0.1:${authority.port}`;
      },
    },
  ];
}

export function heal(authority: FakeAuthority): void {
  authority.respond = {};
  authority.status = {};
  authority.metadata = {};
  authority.divert = {};
}

function drip(response: ServerResponse): void {
  response.writeHead(200);
  const timer = setInterval(() => response.write(" "), 20);
  response.on("close", () => clearInterval(timer));
}

function flood(response: ServerResponse): void {
  response.writeHead(200);
  const chunk = " ".repeat(65_536);
  const more = () => {
    while (!response.destroyed && response.write(chunk));
  };
  response.on("drain", more);
  more();
}

function cut(response: ServerResponse, headers: Record<string, string>): void {
  response.writeHead(200, headers);
  response.write('{"issuer":"https://login', () => response.destroy());
}
