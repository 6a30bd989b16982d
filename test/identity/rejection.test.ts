import { describe, expect, test } from "@jest/globals";
import { type RejectionReason, tokenRejected } from "../../src/identity/rejection.ts";

const SCOPES = ["api://gateway/read", "api://gateway/write"];
const detailOf = (reason: RejectionReason, scopes?: readonly string[]) =>
  tokenRejected(reason, scopes === undefined ? {} : { scopes }).detail;

describe("a refused token", () => {
  test.each(["audience", "audience_form", "graph_token", "id_token", "kind"] as const)(
    "whose reason is %s is refused with the scopes to ask for, where the gateway publishes some",
    (reason) => {
      const plain = detailOf(reason);
      expect(plain).toMatch(/^[A-Z].*\.$/);
      expect([detailOf(reason, []), detailOf(reason, SCOPES.slice(0, 1)), detailOf(reason, SCOPES)]).toEqual([
        plain,
        `${plain} Ask for api://gateway/read.`,
        `${plain} Ask for api://gateway/read or api://gateway/write.`,
      ]);
    },
  );

  test.each(["expired", "signature", "malformed"] as const)("whose reason is %s is not", (reason) => {
    expect(detailOf(reason, SCOPES)).toBe(detailOf(reason));
  });

  test("has the fault of the gateway as its cause, where there is one", () => {
    const cause = new TypeError("a defect");
    expect(tokenRejected("internal", { cause })).toMatchObject({
      code: "token_rejected",
      reason: "internal",
      cause,
    });
    expect(tokenRejected("expired")).not.toHaveProperty("cause");
  });
});
