import { describe, expect, test } from "@jest/globals";
import { AMBIGUOUS, HIDDEN, INCOMPLETE, post } from "../support/ambiguous-messages.ts";
import { apiAt } from "./api-options.ts";
import { exchangeBytes, startApi, startGateway } from "./support.ts";

async function send(bytes: string, end = false) {
  const completed: string[] = [];
  const begun: string[] = [];
  const upgrades: unknown[] = [];
  const port = await startApi((request, response) => {
    begun.push(request.url ?? "");
    upgrades.push(request.headers.upgrade);
    request.resume().on("end", () => {
      completed.push(`${request.method} ${request.url}`);
      response.end("answer");
    });
  });
  const gateway = await startGateway({ api: apiAt(port) });
  const received = await exchangeBytes(gateway.port, bytes, end);
  return { completed, begun, upgrades, received };
}

describe("an ambiguous message", () => {
  test("is tried in more than forty forms", () => {
    expect(AMBIGUOUS.length).toBeGreaterThanOrEqual(40);
  });

  test.each(AMBIGUOUS)("never reaches the API whole: %s", async (_, bytes) => {
    const { completed, begun, received } = await send(bytes);
    expect(completed).toEqual([]);
    expect(begun).not.toContain("/v1.0/hidden");
    // Refused, or cut; never answered.
    expect(received).not.toMatch(/^HTTP\/1.1 2/);
    // And nothing behind it on the same connection is taken for a request.
    expect(received.match(/HTTP\/1\.1 (?!100)\d{3}/g) ?? []).toHaveLength(received === "" ? 0 : 1);
  });
});

describe("an incomplete message", () => {
  test.each(INCOMPLETE)("never reaches the API whole: %s", async (_, bytes) => {
    expect((await send(bytes, true)).completed).toEqual([]);
  });
});

describe("a sound message", () => {
  test.each<[what: string, bytes: string, completed: string[]]>([
    [
      "two requests in one packet",
      `${post("content-length: 5", "hello")}${HIDDEN.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")}`,
      ["POST /v1.0/me", "GET /v1.0/hidden"],
    ],
    [
      "a body that looks like a request",
      post(`content-length: ${HIDDEN.length}\r\nconnection: close`, HIDDEN),
      ["POST /v1.0/me"],
    ],
    [
      "a chunk that looks like a request",
      post(
        "transfer-encoding: chunked\r\nconnection: close",
        `${HIDDEN.length.toString(16)};ext=1\r\n${HIDDEN}\r\n0\r\nx-trailer: 1\r\n\r\n`,
      ),
      ["POST /v1.0/me"],
    ],
    [
      "a body of a GET",
      `GET /graph/me HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
      ["GET /v1.0/me"],
    ],
  ])("reaches the API as what it is: %s", async (_, bytes, expected) => {
    expect((await send(bytes)).completed).toEqual(expected);
  });

  test.each([
    ["websocket", "upgrade: websocket\r\nconnection: upgrade, close\r\nsec-websocket-key: x"],
    ["h2c", "upgrade: h2c\r\nconnection: upgrade, http2-settings, close\r\nhttp2-settings: AAMAAABk"],
  ])("that asks for an upgrade to %s is forwarded without it", async (_, lines) => {
    const { completed, upgrades, received } = await send(
      `GET /graph/me HTTP/1.1\r\nhost: a\r\n${lines}\r\n\r\n`,
    );
    expect(completed).toEqual(["GET /v1.0/me"]);
    expect(upgrades).toEqual([undefined]);
    expect(received).toMatch(/^HTTP\/1.1 200/);
  });
});
