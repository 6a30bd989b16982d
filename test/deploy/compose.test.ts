import { readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import { parse } from "yaml";
import { loadConfig } from "../../src/config/load.ts";
import { startEmulator } from "../emulator/emulator.ts";

interface ComposeService {
  readonly build: { readonly target: string };
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly privileged?: boolean;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly command?: readonly string[];
  readonly stop_grace_period?: string;
}

const { services } = parse(readFileSync("docker/compose.yaml", "utf8"), { merge: true }) as {
  services: Record<"emulator" | "gateway", ComposeService>;
};
const dockerfile = readFileSync("docker/Dockerfile", "utf8");

describe.each(Object.entries(services))("the %s container", (_name, container) => {
  test("runs with a read-only root file system and without privileges to gain", () => {
    expect(container).toMatchObject({
      read_only: true,
      cap_drop: ["ALL"],
      security_opt: ["no-new-privileges:true"],
    });
    expect(container).not.toHaveProperty("privileged");
  });

  test("is built from a stage of the Dockerfile", () => {
    expect(dockerfile).toMatch(new RegExp(`^FROM \\S+ AS ${container.build.target}$`, "m"));
  });

  test("publishes ports on loopback only", () => {
    for (const port of container.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:/);
  });
});

describe("the two together", () => {
  const flags = new Map(
    services.emulator.command?.map((flag) => flag.slice(2).split("=") as [string, string]),
  );
  const env = services.gateway.environment ?? {};

  test("the gateway's environment and the demo's configuration make a gateway", () => {
    const config = loadConfig(env);
    expect(config.credential.federatedTokenFile).toBeDefined();
    expect(config.routes.map(({ target, policy }) => [target.path, policy.requiredScopes])).toEqual([
      ["/admin-graph", ["admin.read"]],
      ["/graph", ["access_as_user"]],
    ]);
    expect(Number.parseInt(services.gateway.stop_grace_period ?? "10s", 10)).toBeGreaterThan(
      config.http.shutdownGraceSeconds,
    );
  });

  test("the gateway looks for the emulator where the emulator is", () => {
    const host = flags.get("public-host");
    expect(Object.keys(services)).toContain(host);
    expect(env).toMatchObject({
      AZURE_AUTHORITY_HOST: `https://${host}:${flags.get("authority-port")}/`,
      GRAPH_URL: `https://${host}:${flags.get("graph-port")}/v1.0`,
    });
  });

  test("the gateway is the application that every emulator knows", async () => {
    const emulator = await startEmulator();
    await emulator.close();
    expect(env).toMatchObject({ AZURE_TENANT_ID: emulator.tenantId, AZURE_CLIENT_ID: emulator.clientId });
  });

  test("the gateway reads the emulator's files and cannot change them", () => {
    const state = flags.get("state-dir");
    expect(services.emulator.volumes).toEqual([`state:${state}`]);
    expect(services.gateway.volumes).toEqual([`state:${state}:ro`]);
    for (const file of ["NODE_EXTRA_CA_CERTS", "AZURE_FEDERATED_TOKEN_FILE"])
      expect(env[file]).toMatch(new RegExp(`^${state}/`));
  });
});
