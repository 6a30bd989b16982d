import { describe, expect, test } from "@jest/globals";
import { readProxies } from "../../src/config/proxies.ts";
import type { ConfigurationFault } from "../../src/errors.ts";

function read(env: Record<string, string>) {
  const faults: ConfigurationFault[] = [];
  return { options: readProxies(env, faults), faults };
}

/** User and password as the proxy is sent them. */
function credentials(env: Record<string, string>): string | undefined {
  const field = read(env).options?.https?.authorization?.reveal();
  return field === undefined ? undefined : Buffer.from(field.replace(/^Basic /, ""), "base64").toString();
}

describe("the environment's proxies", () => {
  test("are none where none is named, or it is set to nothing", () => {
    expect(read({}).options).toBeUndefined();
    expect(read({ HTTPS_PROXY: "", https_proxy: " ", NO_PROXY: "*" }).options).toBeUndefined();
  });

  test.each<[string, Record<string, string>, [boolean, string, number]]>([
    ["upper case", { HTTPS_PROXY: "http://a.example:3128" }, [false, "a.example", 3128]],
    ["lower case", { https_proxy: "http://a.example:3128" }, [false, "a.example", 3128]],
    [
      "lower case before upper",
      { https_proxy: "http://a.example:1", HTTPS_PROXY: "http://b.example:2" },
      [false, "a.example", 1],
    ],
    [
      "upper case where the lower is empty",
      { https_proxy: "", HTTPS_PROXY: "http://b.example:2" },
      [false, "b.example", 2],
    ],
    ["no scheme", { HTTPS_PROXY: "a.example:3128" }, [false, "a.example", 3128]],
    ["no port", { HTTPS_PROXY: "http://a.example/" }, [false, "a.example", 80]],
    ["TLS to the proxy", { HTTPS_PROXY: "https://a.example" }, [true, "a.example", 443]],
    ["an IPv6 address", { HTTPS_PROXY: "http://[fd00::1]:3128" }, [false, "fd00::1", 3128]],
    ["blanks around it", { HTTPS_PROXY: " http://a.example:3128\n" }, [false, "a.example", 3128]],
  ])("are read with %s", (_, env, expected) => {
    const { options, faults } = read(env);
    expect(faults).toEqual([]);
    expect([options?.https?.isTls, options?.https?.hostname, options?.https?.port]).toEqual(expected);
    expect(options?.http).toBeUndefined();
  });

  test.each<[string, string | undefined]>([
    ["http://a.example", undefined],
    ["http://user:password@a.example", "user:password"],
    ["http://user@a.example", "user:"],
    ["http://user:p%40ss%3Aw%2Frd%25@a.example", "user:p@ss:w/rd%"],
    ["http://dom%5Cuser:w%C3%B6rd@a.example", "dom\\user:wörd"],
    ["user:password@a.example:3128", "user:password"],
  ])("%s sends the user information %j", (url, expected) => {
    expect(credentials({ HTTPS_PROXY: url })).toBe(expected);
  });

  test("take entries of NO_PROXY apart at commas and blanks, in either case", () => {
    const entries = (env: Record<string, string>) =>
      read({ HTTPS_PROXY: "http://a.example", ...env }).options?.exceptions;
    expect(entries({ NO_PROXY: "a, b,,.c\t10.0.0.0/8 " })).toEqual(["a", "b", ".c", "10.0.0.0/8"]);
    expect(entries({ no_proxy: "lower", NO_PROXY: "upper" })).toEqual(["lower"]);
    expect(entries({})).toEqual([]);
  });

  test.each([
    ["socks5://user:secret@a.example", "HTTPS_PROXY", /http:\/\/ or https:\/\//],
    ["http://user:secret@a.example/path", "https_proxy", /neither a path/],
    ["http://user:sec%ret@a.example", "HTTPS_PROXY", /percent-encoded/],
    ["http://user:secret@a.example:99999", "HTTP_PROXY", /must be the URL of a proxy/],
    ["http://user:secret@", "http_proxy", /must be the URL of a proxy/],
  ])("that cannot be used are a fault, which does not quote them: %s", (value, name, problem) => {
    const { faults } = read({ [name]: value });
    expect(faults).toEqual([{ path: name, problem: expect.stringMatching(problem) }]);
    expect(JSON.stringify(faults)).not.toMatch(/sec/);
  });
});
