import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { ACTOR_OF } from "../../../src/errors.ts";
import { AADSTS } from "../../../src/exchange/entra/codes.ts";
import {
  assertionOf,
  entraError,
  exchangeWith,
  type FakeEntra,
  FOREIGN,
  refusalOf,
  requestOf,
  startFakeEntra,
} from "../fake-entra.ts";

let entra: FakeEntra;
beforeAll(async () => {
  entra = await startFakeEntra();
});
afterAll(() => entra.close());

async function refusalFor(error: string, number: number) {
  entra.respond(() => entraError(error, number));
  const { exchange } = exchangeWith(entra);
  // In a foreign tenant, where tenant_not_onboarded reads as itself.
  return refusalOf(exchange(requestOf("ann", { assertion: assertionOf("ann", { tenantId: FOREIGN }) })));
}

const numbers = AADSTS.flatMap((row) => row.numbers);

describe("the AADSTS table", () => {
  test("has each number once, and at least ninety", () => {
    expect(new Set(numbers).size).toBe(numbers.length);
    expect(numbers.length).toBeGreaterThanOrEqual(90);
  });

  test("says of each number how it is known, what it means and what to do", () => {
    for (const { source, meaning, fix, reason } of AADSTS) {
      expect([source, meaning, fix].every((text) => text.length > 0)).toBe(true);
      expect(reason).toMatch(/^[a-z_]+$/);
    }
  });

  test("speaks in the words that the doctor and the exchange know", () => {
    const COMMANDS = [
      ...["federated-credentials", "certificates", "signing-credential", "secret", "service-principal"],
      ...["application-id", "enable-service-principal", "tenant", "clock", "oidc-issuer", "resource"],
      ...["permissions", "exposed-api", "assignment"],
    ];
    const CONCERNS = ["session", "user", "scopes", "tenant", "credential"];
    const SOURCES = ["captured", "documented", "sdk", "reported", "uncertain"];
    for (const { numbers: ofRow, commands, concerns, source } of AADSTS) {
      expect([ofRow, commands === undefined || COMMANDS.includes(commands)]).toEqual([ofRow, true]);
      expect([ofRow, concerns === undefined || CONCERNS.includes(concerns)]).toEqual([ofRow, true]);
      expect(SOURCES).toContain(source);
    }
  });

  test("blames the caller's token only for numbers that speak of it", () => {
    const blaming = AADSTS.filter(({ code }) => ACTOR_OF[code] === "caller").flatMap((row) => row.numbers);
    expect(blaming.toSorted((one, other) => one - other)).toEqual(
      [50006, 50013, 50027, 90016, 240002, 500133, 900384, 7000114].toSorted((one, other) => one - other),
    );
  });

  test.each(AADSTS.map((row) => [row.numbers.join(" "), row] as const))(
    "decides a plain refusal of the grant: %s",
    async (_, { numbers: ofRow, code, reason }) => {
      for (const number of ofRow) {
        const refusal = await refusalFor("invalid_grant", number);
        expect([number, refusal.code, refusal.reason]).toEqual([number, code, reason]);
      }
    },
  );

  test("never lets a number of the user's answer for a refused credential", async () => {
    for (const { numbers: ofRow, code } of AADSTS) {
      const [number = 0] = ofRow;
      if (ACTOR_OF[code] === "operator" || ACTOR_OF[code] === "authority") continue;
      expect([number, (await refusalFor("invalid_client", number)).code]).toEqual([
        number,
        "client_rejected",
      ]);
    }
  });
});

describe("a number that the table lacks", () => {
  test.each([
    ["invalid_grant", "interaction_required", "user"],
    ["interaction_required", "interaction_required", "user"],
    ["access_denied", "blocked_by_policy", "user"],
    ["invalid_client", "client_rejected", "operator"],
    ["unauthorized_client", "client_rejected", "operator"],
    ["invalid_scope", "downstream_misconfigured", "operator"],
    ["temporarily_unavailable", "authority_unavailable", "authority"],
  ])("is decided by the error %s", async (error, code, actor) => {
    const refusal = await refusalFor(error, 999_999);
    expect([refusal.code, refusal.actor]).toEqual([code, actor]);
  });

  test.each([53009, 530002, 530003, 530001, 530004, 530021])(
    "a number of device policies never pages the operator: AADSTS%i",
    async (number) => {
      expect((await refusalFor("invalid_grant", number)).actor).toBe("user");
    },
  );

  test.each([28000, 700022, 70011])(
    "a number of the scopes never blames the caller: AADSTS%i",
    async (number) => {
      for (const error of ["invalid_grant", "invalid_scope", "invalid_request"])
        expect((await refusalFor(error, number)).code).toBe("downstream_misconfigured");
    },
  );
});
