import { describe, expect, test } from "@jest/globals";
import { describeAddressProblem, parseRedisAddress } from "../../src/redis/address.ts";

function seen(text: string) {
  const address = parseRedisAddress(text);
  if (address === undefined) return undefined;
  const { nodes, password, ...rest } = address;
  return {
    ...rest,
    nodes: nodes.map(({ host, port }) => `${host} ${port}`),
    ...(password !== undefined && { password: password.reveal() }),
  };
}

const single = { topology: "single", tls: false, database: 0 };

describe("a Redis address", () => {
  test.each([
    ["a host", "redis://cache", { ...single, nodes: ["cache 6379"] }],
    ["host, port and database", "redis://cache:1/3", { ...single, database: 3, nodes: ["cache 1"] }],
    ["an IPv6 address", "redis://[::1]:1", { ...single, nodes: ["::1 1"] }],
    ["a password alone", "redis://:pw@cache", { ...single, password: "pw", nodes: ["cache 6379"] }],
    [
      "an access key as Azure writes it",
      "rediss://:aB/c+d=@name.westeurope.redis.azure.net:10000",
      { ...single, tls: true, password: "aB/c+d=", nodes: ["name.westeurope.redis.azure.net 10000"] },
    ],
    [
      "user and password with marks percent-encoded",
      "rediss://me:p%40%3A@cache",
      { ...single, tls: true, username: "me", password: "p@:", nodes: ["cache 6379"] },
    ],
    [
      "a cluster",
      "rediss+cluster://:pw@one:1,two",
      { topology: "cluster", tls: true, database: 0, password: "pw", nodes: ["one 1", "two 6379"] },
    ],
    [
      "sentinels",
      "redis+sentinel://one,two:2/mymaster/4",
      { topology: "sentinel", tls: false, database: 4, master: "mymaster", nodes: ["one 26379", "two 2"] },
    ],
  ])("may be %s", (_, text, expected) => {
    expect(seen(text)).toEqual(expected);
  });

  test.each([
    "",
    "cache:6379",
    "http://cache",
    "redis://",
    "redis://one,two",
    "redis://cache:0",
    "redis://cache:65536",
    "redis://cache/name",
    "redis://cache?x=1",
    "redis://:%zz@cache",
    "redis+cluster://one/1",
    "redis+sentinel://one",
    "redis+sentinel://one/master/0/1",
    "redis://ca che",
  ])("is not %j", (text) => {
    expect(seen(text)).toBeUndefined();
  });

  test("does not show its password", () => {
    expect(JSON.stringify(parseRedisAddress("redis://:hidden@cache"))).not.toContain("hidden");
  });
});

test.each<[sentence: string, text: string, problem: RegExp]>([
  ["host and port alone", "cache.example.test:6380", /lacks its scheme/],
  ["a host alone", "cache", /lacks its scheme/],
  [
    "Azure's connection string",
    "x.redis.cache.windows.net:6380,password=s3cret=,ssl=True,abortConnect=False",
    /connection string/,
  ],
  ["a percent sign in the password", "rediss://:s3cret%zz@cache:6380", /%25/],
  ["parameters", "rediss://:s3cret@cache:6380?ssl=true", /parameters/],
  ["a question mark in the password's place", "rediss://s3cret?x", /parameters/],
  ["several servers without a topology", "rediss://one:6379,two:6379", /several servers/],
  ["a port beyond all ports", "rediss://cache:70000", /port from 1 to 65535/],
  ["no port behind the colon", "rediss://cache:", /port from 1 to 65535/],
  ["sentinels without the master's name", "rediss+sentinel://one:26379", /master's name/],
  ["a cluster with a database", "rediss+cluster://one:6379/1", /database/],
  ["a database in words", "redis://one:6379/zero", /database/],
  ["another protocol", "memcached://s3cret@x", /redis:\/\/ or rediss:\/\//],
  ["quotation marks", '"rediss://cache"', /quotation marks/],
  ["a line break at the end", "rediss://:s3cret@cache\n", /blanks/],
  ["text", "the cache", /no URL/],
])("an address that is %s is described as that, and not quoted", (_, text, problem) => {
  expect(parseRedisAddress(text)).toBeUndefined();
  expect(describeAddressProblem(text)).toMatch(problem);
  expect(describeAddressProblem(text)).not.toContain("s3cret");
});
