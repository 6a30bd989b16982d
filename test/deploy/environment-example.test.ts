import { readFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { environment } from "../../src/config/environment.ts";

const lines = readFileSync(".env.example", "utf8").split("\n");
const shown = new Map(
  lines.flatMap((line, index) => {
    const [, name, value = ""] = /^(?:# )?([A-Z_]+)=(.*)$/.exec(line) ?? [];
    return name === undefined ? [] : [[name, { value, comment: lines[index - 1] ?? "" }]];
  }),
);

/** Read by others than the schema: the process edge, the file, node itself, and traces. */
const ELSEWHERE = [
  ...["GATEWAY_CONFIG", "GATEWAY_HANDLERS", "NODE_EXTRA_CA_CERTS", "REDIS_URL", "REDIS_AUTH"],
  ...["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_HEADERS"],
  ...["OTEL_TRACES_EXPORTER", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"],
  ...["OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"],
];

test("every variable that the gateway reads has a commented line in .env.example, and no other has", () => {
  expect([...shown.keys()].toSorted()).toEqual([...Object.keys(environment.shape), ...ELSEWHERE].toSorted());
  for (const { comment } of shown.values()) expect(comment).toMatch(/^# .*\.$/);
});

test("a default that .env.example shows is the one that the gateway uses", () => {
  const defaults = environment.parse({
    // The file shows placeholders of zeros, which the gateway refuses.
    AZURE_TENANT_ID: "11111111-1111-4111-8111-111111111111",
    AZURE_CLIENT_ID: "22222222-2222-4222-8222-222222222222",
  });
  for (const [name, value] of Object.entries(defaults).filter(
    ([one]) => !/^AZURE_(TENANT|CLIENT)_ID$/.test(one),
  ))
    if (["string", "number", "boolean"].includes(typeof value))
      expect([name, shown.get(name)?.value]).toEqual([name, String(value)]);
});

test("nothing secret stands in .env.example", () => {
  for (const name of ["AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "TOKEN_CACHE_KEYS"])
    expect(shown.get(name)?.value).toBe("");
});
