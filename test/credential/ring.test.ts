import { beforeEach, describe, expect, test } from "@jest/globals";
import type {
  ClientAuthentication,
  CredentialEvent,
  CredentialRing,
  CredentialSource,
} from "../../src/credential/contract.ts";
import { createCredentialRing } from "../../src/credential/ring.ts";
import type { SourceCredential } from "../../src/credential/source.ts";
import { GatewayError } from "../../src/errors.ts";
import { Secret } from "../../src/foundation/secret.ts";

const REST_MS = 5 * 60_000;
const TRIAL_MS = 30_000;
const request = { clientId: "client", tokenEndpoint: "https://login.example/token" };

let clock: { now: number };
let events: CredentialEvent[];
beforeEach(() => {
  clock = { now: 1_000_000 };
  events = [];
});

/** A source whose content a test replaces, and which the gateway notices only when it reads anew. */
function fakeSource(source: CredentialSource) {
  const state = {
    generation: 1,
    next: 1,
    available: true,
    rereads: 0,
    failure: undefined as Error | undefined,
  };
  const credential: SourceCredential = {
    source,
    async prove() {
      if (state.failure !== undefined) throw state.failure;
      if (!state.available) {
        throw new GatewayError("credential_unavailable", {
          detail: "none",
          diagnostics: { problem: `${source} is gone` },
        });
      }
      const clientAssertion = new Secret(`${source} ${state.generation}`);
      return {
        authentication: { method: "client_assertion", clientAssertion },
        generation: state.generation,
      };
    },
    async look(force) {
      if (force) state.rereads += 1;
      state.generation = state.next;
    },
    status: () => ({ source, state: state.available ? "usable" : "unusable", generation: state.generation }),
  };
  return { state, credential };
}

function createRing() {
  const certificate = fakeSource("certificate");
  const federated = fakeSource("workload-identity");
  const ring = createCredentialRing([certificate.credential, federated.credential], {
    now: () => clock.now,
    emit: (event) => events.push(event),
  });
  return { ring, certificate: certificate.state, federated: federated.state };
}

function shown(authentication: ClientAuthentication): string {
  return authentication.method === "client_assertion"
    ? authentication.clientAssertion.reveal()
    : authentication.clientSecret.reveal();
}

const proofOf = async (ring: CredentialRing) => shown(await ring.authenticate(request));
const eventTypes = () => events.map(({ type, source }) => `${type} ${source}`);

describe("a source that has nothing to offer", () => {
  test("is passed over, and serves again when it has", async () => {
    const { ring, certificate } = createRing();
    certificate.available = false;
    expect(await proofOf(ring)).toBe("workload-identity 1");
    expect(await proofOf(ring)).toBe("workload-identity 1");
    expect(ring.source).toBe("workload-identity");
    certificate.available = true;
    expect(await proofOf(ring)).toBe("certificate 1");
    certificate.available = false;
    await proofOf(ring);
    expect(eventTypes()).toEqual([
      "unusable certificate",
      "switched workload-identity",
      "switched certificate",
      "unusable certificate",
      "switched workload-identity",
    ]);
  });

  test("and no other that has, is credential_unavailable with every reason for the operator", async () => {
    const { ring, certificate, federated } = createRing();
    certificate.available = false;
    federated.available = false;
    await expect(ring.authenticate(request)).rejects.toMatchObject({
      code: "credential_unavailable",
      diagnostics: { problem: "certificate is gone; workload-identity is gone" },
    });
    expect(ring.status()).toMatchObject({ usable: false, serving: "certificate" });
  });

  test("where it is the only one says so itself", async () => {
    const { credential, state } = fakeSource("certificate");
    const ring = createCredentialRing([credential], { now: () => clock.now, emit: () => {} });
    state.failure = new GatewayError("credential_unavailable", { detail: "none", reason: "expired" });
    await expect(ring.authenticate(request)).rejects.toBe(state.failure);
  });

  test("is not what a fault of our own is taken for", async () => {
    const { ring, certificate } = createRing();
    certificate.failure = new TypeError("a bug");
    await expect(ring.authenticate(request)).rejects.toThrow("a bug");
    certificate.failure = new GatewayError("key_set_unavailable", { detail: "of another room" });
    await expect(ring.authenticate(request)).rejects.toBe(certificate.failure);
    expect(events).toEqual([]);
  });

  test("is reported by its message where it gives no diagnosis, and leaves the ring usable by the others", async () => {
    const { ring, certificate } = createRing();
    certificate.available = false;
    certificate.failure = new GatewayError("credential_unavailable", { detail: "none" });
    await ring.authenticate(request);
    expect(events[0]).toMatchObject({ type: "unusable", message: certificate.failure.message });
    expect(ring.status().usable).toBe(true);
  });
});

describe("a refusal by Entra", () => {
  test("is worth another try with the same source when that has something newer", async () => {
    const { ring, certificate } = createRing();
    const refused = await ring.authenticate(request);
    certificate.next = 2;
    expect(await ring.refused(refused)).toBe(true);
    expect(await proofOf(ring)).toBe("certificate 2");
    expect(certificate.rereads).toBe(1);
    expect(events).toEqual([]);
  });

  test("moves on to the next source when there is nothing newer, and is remembered", async () => {
    const { ring, certificate } = createRing();
    expect(await ring.refused(await ring.authenticate(request))).toBe(true);
    expect(await proofOf(ring)).toBe("workload-identity 1");
    clock.now += REST_MS - 1;
    expect(await proofOf(ring)).toBe("workload-identity 1");
    expect(certificate.rereads).toBe(1);
    expect(eventTypes()).toEqual(["refused certificate", "switched workload-identity"]);
    expect(ring.status()).toMatchObject({
      serving: "workload-identity",
      usable: true,
      sources: [
        { source: "certificate", state: "refused" },
        { source: "workload-identity", state: "usable" },
      ],
    });
  });

  test("of every source is not worth another try, until one of them changes", async () => {
    const { ring, certificate } = createRing();
    expect(await ring.refused(await ring.authenticate(request))).toBe(true);
    expect(await ring.refused(await ring.authenticate(request))).toBe(false);
    expect(ring.status().sources.map(({ state }) => state)).toEqual(["refused", "refused"]);
    // Still answers: the refusal may have been about one tenant.
    expect(await proofOf(ring)).toBe("certificate 1");
    expect(await ring.refused(await ring.authenticate(request))).toBe(false);
    certificate.next = 2;
    expect(await ring.refused(await ring.authenticate(request))).toBe(true);
    expect(await proofOf(ring)).toBe("certificate 2");
    expect(ring.status().sources[0]?.state).toBe("usable");
  });

  test("leads nowhere when the only other source has nothing to offer", async () => {
    const { ring, federated } = createRing();
    federated.available = false;
    expect(await ring.refused(await ring.authenticate(request))).toBe(false);
  });

  test("that many requests meet at once is told once and moves on once", async () => {
    const { ring } = createRing();
    const proofs = await Promise.all(Array.from({ length: 20 }, () => ring.authenticate(request)));
    const verdicts = await Promise.all(proofs.map((proof) => ring.refused(proof)));
    expect(verdicts.every(Boolean)).toBe(true);
    expect(await proofOf(ring)).toBe("workload-identity 1");
    expect(eventTypes()).toEqual(["refused certificate", "switched workload-identity"]);
  });

  test("of an older generation says nothing against the newer one", async () => {
    const { ring, certificate } = createRing();
    const late = await ring.authenticate(request);
    certificate.next = 2;
    await ring.refresh();
    expect(await ring.refused(late)).toBe(true);
    expect(certificate.rereads).toBe(0);
    expect(await proofOf(ring)).toBe("certificate 2");
    expect(events).toEqual([]);
  });

  test("of a proof that is not this ring's is not worth another try, and such a proof has no origin", async () => {
    const { ring, certificate } = createRing();
    const foreign = { method: "client_secret", clientSecret: new Secret("foreign") } as const;
    expect(await ring.refused(foreign)).toBe(false);
    expect(ring.originOf?.(foreign)).toBeUndefined();
    certificate.generation = 3;
    expect(ring.originOf?.(await ring.authenticate(request))).toEqual({
      source: "certificate",
      generation: 3,
    });
  });

  test("is still remembered after a request that no other source could serve", async () => {
    const { ring } = createRing();
    await ring.refused(await ring.authenticate(request));
    await ring.refused(await ring.authenticate(request));
    await ring.authenticate(request);
    clock.now += TRIAL_MS;
    expect(ring.status().sources.map(({ state }) => state)).toEqual(["refused", "refused"]);
  });
});

test("no refusal, however long ago, takes an idle gateway out of rotation for good", async () => {
  const { ring } = createRing();
  await ring.refused(await ring.authenticate(request));
  await ring.refused(await ring.authenticate(request));
  expect(ring.status().usable).toBe(true);
  clock.now += REST_MS;
  expect(ring.status().sources.map(({ state }) => state)).toEqual(["usable", "usable"]);
});

describe("a source that rested after a refusal", () => {
  async function rested() {
    const made = createRing();
    await made.ring.refused(await made.ring.authenticate(request));
    await proofOf(made.ring);
    clock.now += REST_MS;
    return made;
  }

  test("is tried by one request alone, and serves everyone when that was not refused", async () => {
    const { ring } = await rested();
    expect(await proofOf(ring)).toBe("certificate 1");
    expect(ring.source).toBe("workload-identity");
    expect(await proofOf(ring)).toBe("workload-identity 1");
    expect(ring.source).toBe("workload-identity");
    clock.now += TRIAL_MS;
    expect(await proofOf(ring)).toBe("certificate 1");
    expect(await proofOf(ring)).toBe("certificate 1");
    expect(ring.status().sources[0]?.state).toBe("usable");
  });

  test("rests again when the trial was refused", async () => {
    const { ring } = await rested();
    expect(await ring.refused(await ring.authenticate(request))).toBe(true);
    clock.now += REST_MS - 1;
    expect(await proofOf(ring)).toBe("workload-identity 1");
    expect(eventTypes().filter((type) => type === "refused certificate")).toHaveLength(1);
  });

  test("serves at once, without waiting, when its source changed", async () => {
    const { ring, certificate } = createRing();
    await ring.refused(await ring.authenticate(request));
    expect(await proofOf(ring)).toBe("workload-identity 1");
    certificate.next = 2;
    await ring.refresh();
    expect(await proofOf(ring)).toBe("certificate 2");
  });
});
