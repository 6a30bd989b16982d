import { describe, expect, test } from "@jest/globals";
import { cleanEnvironment, readEnvironment } from "../../src/config/environment.ts";
import type { ConfigurationFault } from "../../src/errors.ts";

const IDS = {
  AZURE_TENANT_ID: "11111111-1111-4111-8111-111111111111",
  AZURE_CLIENT_ID: "22222222-2222-4222-8222-222222222222",
};

function read(variables: Record<string, string>) {
  const faults: ConfigurationFault[] = [];
  const { env, notices } = cleanEnvironment({ ...IDS, ...variables });
  return { values: readEnvironment(env, faults), faults, notices };
}

describe("values with white space around them", () => {
  test.each(["\n", "\r\n", " ", "\t", "\n\n"])("are read without %j", (space) => {
    const { values, faults, notices } = read({
      AZURE_TENANT_ID: `${IDS.AZURE_TENANT_ID}${space}`,
      AZURE_CLIENT_ID: `${space}${IDS.AZURE_CLIENT_ID}`,
      AZURE_AUTHORITY_HOST: `https://login.microsoftonline.us/${space}`,
      AZURE_FEDERATED_TOKEN_FILE: `/var/run/token${space}`,
      PORT: `8443${space}`,
      LOG_LEVEL: `debug${space}`,
    });
    expect({ faults, notices }).toEqual({ faults: [], notices: [] });
    expect(values).toMatchObject({
      ...IDS,
      AZURE_AUTHORITY_HOST: "https://login.microsoftonline.us/",
      AZURE_FEDERATED_TOKEN_FILE: "/var/run/token",
      PORT: 8443,
      LOG_LEVEL: "debug",
    });
  });

  test.each(["AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD"] as const)(
    "are kept in %s, a line break at the end alone is left out, with a word about it",
    (name) => {
      for (const end of ["\n", "\r\n", "\n\n"]) {
        const { values, notices } = read({ [name]: ` canary ${end}` });
        expect(values?.[name]?.reveal()).toBe(" canary ");
        expect(notices).toEqual([{ path: name, problem: "ends in a line break, which is left out" }]);
        expect(JSON.stringify(notices)).not.toContain("canary");
      }
      const untouched = read({ [name]: " canary " });
      expect(untouched.values?.[name]?.reveal()).toBe(" canary ");
      expect(untouched.notices).toEqual([]);
    },
  );

  test("that are nothing but white space count as unset", () => {
    expect(read({ AZURE_CLIENT_ID: " \n" }).faults).toEqual([
      { path: "AZURE_CLIENT_ID", problem: "is not set" },
    ]);
  });

  test("lose a byte order mark", () => {
    expect(read({ AZURE_CLIENT_ID: `\ufeff${IDS.AZURE_CLIENT_ID}` }).faults).toEqual([]);
  });

  test("of variables that only the file refers to lose line breaks at the end", () => {
    expect(cleanEnvironment({ GRAPH_URL: " https://graph.example \r\n" }).env.GRAPH_URL).toBe(
      " https://graph.example ",
    );
  });
});

describe("a variable that differs from a known one by a letter", () => {
  test.each([
    ["AZURE_CLIENT_SECERT", "AZURE_CLIENT_SECRET"],
    ["AZURE_CLIENT_SECRETS", "AZURE_CLIENT_SECRET"],
    ["AZURE_CLIENTSECRET", "AZURE_CLIENT_SECRET"],
    ["azure_client_secret", "AZURE_CLIENT_SECRET"],
    ["AZURE_AUTORITY_HOST", "AZURE_AUTHORITY_HOST"],
    ["AZURE_FEDERATED_TOKEN_FILES", "AZURE_FEDERATED_TOKEN_FILE"],
    ["GATEWAY_CONIFG", "GATEWAY_CONFIG"],
    ["TOKEN_CACHE_KEY", "TOKEN_CACHE_KEYS"],
    ["OTEL_TRACES_EXPORTERS", "OTEL_TRACES_EXPORTER"],
    ["OTEL_EXPORTER_OTLP_ENDPOIN", "OTEL_EXPORTER_OTLP_ENDPOINT"],
  ])("%s is pointed out", (written, meant) => {
    expect(read({ [written]: "canary" }).notices).toEqual([
      { path: written, problem: `is not read; did you mean ${meant}?` },
    ]);
  });

  test.each([
    "AZURE_USERNAME",
    "AZURE_CLIENT_NAME",
    "AZURE_TENANT_NAME",
    "REDIS_PORT",
    "HOSTS",
    "PORTS",
    "SUPPORT",
    "GATEWAY_PORT",
    "OTEL_METRICS_EXPORTER",
    "OTEL_BLRP_SCHEDULE_DELAY",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
  ])("%s is another variable", (name) => {
    expect(read({ [name]: "x" }).notices).toEqual([]);
  });

  test("is no slip when the known one is set as well", () => {
    expect(read({ TOKEN_CACHE_KEY: "x", TOKEN_CACHE_KEYS: "" }).notices).toEqual([]);
  });

  test("is named where the known one is missing", () => {
    const faults: ConfigurationFault[] = [];
    readEnvironment({ AZURE_TENENT_ID: IDS.AZURE_TENANT_ID, AZURE_CLIENT_ID: IDS.AZURE_CLIENT_ID }, faults);
    expect(faults).toEqual([
      { path: "AZURE_TENANT_ID", problem: "is not set; is AZURE_TENENT_ID a slip of the pen?" },
    ]);
  });
});

describe("a value that cannot be meant", () => {
  test.each(["AZURE_TENANT_ID", "AZURE_CLIENT_ID"])("%s of zeros does not start", (name) => {
    expect(read({ [name]: "00000000-0000-0000-0000-000000000000" }).faults).toEqual([
      { path: name, problem: expect.stringContaining("placeholder of zeros") },
    ]);
  });

  test("in quotes says so", () => {
    expect(read({ AZURE_CLIENT_ID: `"${IDS.AZURE_CLIENT_ID}"` }).faults).toEqual([
      { path: "AZURE_CLIENT_ID", problem: expect.stringMatching(/must be a GUID.*quotes around it/) },
    ]);
    expect(read({ AZURE_CLIENT_SECRET: "'canary'" }).notices).toEqual([
      { path: "AZURE_CLIENT_SECRET", problem: expect.stringContaining("quotes") },
    ]);
  });

  test("as a certificate in two places is a fault", () => {
    const variables = { AZURE_CLIENT_CERTIFICATE: "canary", AZURE_CLIENT_CERTIFICATE_PATH: "/x.pem" };
    expect(read(variables).faults).toEqual([
      { path: "AZURE_CLIENT_CERTIFICATE", problem: expect.stringContaining("only one of them") },
    ]);
  });
});
