/** Who is asking: proves the client by certificate, federated credential or secret. */

import { X509Certificate } from "node:crypto";
import { type DecodedJws, decodeJws, isSignedBy } from "../jws.ts";
import type { TokenRequest } from "../request-record.ts";
import type { Directory, RegisteredCertificate, Registration } from "./directory.ts";
import type { FederatedVerifier } from "./federated-assertion.ts";
import { EntraRefusal } from "./refusal.ts";
import { isGuid, required, type TokenForm } from "./token-request.ts";

const ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/** MSAL rounds `nbf`, so it may lie a little after the assertion was made. */
const NOT_BEFORE_LEEWAY_SECONDS = 5;

export interface AuthenticatedClient {
  readonly application: Registration;
  /** `azpacr` of tokens that follow from it. */
  readonly authentication: "0" | "1" | "2";
}

export interface ClientAuthentication {
  /** @throws {EntraRefusal} */
  authenticate(form: TokenForm, tenantId: string): Promise<AuthenticatedClient>;
  /** The application that the form names, before it has proved anything. @throws {EntraRefusal} */
  identify(form: TokenForm, tenantId: string | undefined): Registration;
  /** A client without a credential, which must not present one. @throws {EntraRefusal} */
  asPublic(form: TokenForm, tenantId: string): AuthenticatedClient;
}

export function createClientAuthentication(parts: {
  readonly directory: Directory;
  readonly federated: FederatedVerifier;
  readonly now: () => number;
}): ClientAuthentication {
  const { directory, federated, now } = parts;

  const verifyCertificateAssertion = (
    jws: DecodedJws,
    application: Registration,
    form: TokenForm,
    tenantId: string,
  ) => {
    const { payload } = jws;
    if (payload.iss !== payload.sub) throw new EntraRefusal(50048);
    if (String(payload.iss).toLowerCase() !== application.clientId) throw new EntraRefusal(700021);

    const certificate = findCertificate(jws, application);
    if (certificate === undefined) throw new EntraRefusal(700027, "The key was not found");
    if (!isSignedBy(jws, certificate.publicKey, ["PS256", "RS256"])) {
      throw new EntraRefusal(700027, "The signature is not valid");
    }
    if (now() < certificate.notBefore || now() > certificate.notAfter) throw new EntraRefusal(1000502);

    const accepted = [form.tenantSegment, tenantId].flatMap((tenant) => [
      `${form.cloud.authorityHost}${tenant}/oauth2/v2.0/token`,
      // Not confirmed.
      `${form.cloud.authorityHost}${tenant}/v2.0`,
    ]);
    const audiences = [payload.aud].flat();
    // MSAL lower-cases the tenant in its URLs.
    const named = audiences.some((aud) =>
      accepted.some((url) => url.toLowerCase() === String(aud).toLowerCase()),
    );
    if (!named) throw new EntraRefusal(700023);
    checkTimes(payload, now());
  };

  const identify = (form: TokenForm, tenantId: string | undefined): Registration => {
    const clientId = form.basic?.clientId ?? required(form, "client_id");
    if (!isGuid(clientId)) throw new EntraRefusal(700038, "not a GUID");
    const application = directory.application(clientId);
    const isPresent = tenantId === undefined || application?.tenants.has(tenantId) === true;
    if (application === undefined || !isPresent) throw new EntraRefusal(700016);
    return application;
  };

  return {
    identify,
    asPublic(form, tenantId) {
      const application = identify(form, tenantId);
      if (credentialKind(form) !== "none") throw new EntraRefusal(700025);
      return { application, authentication: "0" };
    },
    async authenticate(form, tenantId) {
      const application = identify(form, tenantId);
      const assertion = form.parameters.get("client_assertion");
      if (assertion !== undefined) {
        if (required(form, "client_assertion_type") !== ASSERTION_TYPE) {
          throw new EntraRefusal(900144, "'client_assertion_type' is unknown");
        }
        const jws = decodeJws(assertion);
        if (jws === undefined) throw new EntraRefusal(50012, "not a JWT");
        if (credentialKind(form) === "federated") await federated.verify(jws, application);
        else verifyCertificateAssertion(jws, application, form, tenantId);
        return { application, authentication: "2" };
      }

      const secret = form.basic?.secret ?? form.parameters.get("client_secret");
      if (secret === undefined) throw new EntraRefusal(7000218);
      const known = application.secrets.find(({ value }) => value === secret);
      if (known === undefined) throw new EntraRefusal(7000215);
      if (now() >= known.expiresAt) throw new EntraRefusal(7000222);
      return { application, authentication: "1" };
    },
  };
}

/** @throws {EntraRefusal} 700024 outside `nbf` … `exp`; an assertion without `exp` is never inside. */
export function checkTimes(payload: DecodedJws["payload"], nowMs: number): void {
  const seconds = nowMs / 1000;
  const notBefore = payload.nbf === undefined ? 0 : payload.nbf;
  if (typeof payload.exp !== "number" || typeof notBefore !== "number") throw new EntraRefusal(700024);
  if (seconds >= payload.exp || seconds + NOT_BEFORE_LEEWAY_SECONDS < notBefore)
    throw new EntraRefusal(700024);
}

/** By the form alone, before anything is verified. */
export function credentialKind(form: TokenForm): TokenRequest["credential"] {
  const assertion = form.parameters.get("client_assertion");
  if (assertion !== undefined) {
    // An assertion made with a certificate has the client id as issuer, any OIDC issuer has an https URL.
    return String(decodeJws(assertion)?.payload.iss).startsWith("https://") ? "federated" : "certificate";
  }
  if (form.basic !== undefined) return "secret-basic";
  return form.parameters.has("client_secret") ? "secret-in-body" : "none";
}

/** Thumbprint as the assertion's header names it, upper-case hex. */
export function namedThumbprint(header: DecodedJws["header"]): { sha256?: string; sha1?: string } {
  const sha256 = header["x5t#S256"];
  if (typeof sha256 === "string") return { sha256: hexOf(sha256) };
  return typeof header.x5t === "string" ? { sha1: hexOf(header.x5t) } : {};
}

function findCertificate(
  { header }: DecodedJws,
  { certificates }: Registration,
): RegisteredCertificate | undefined {
  const named = namedThumbprint(header);
  const found = certificates.find(({ thumbprintSha256, thumbprintSha1 }) =>
    named.sha256 === undefined ? thumbprintSha1 === named.sha1 : thumbprintSha256 === named.sha256,
  );
  if (found === undefined || header.x5c === undefined) return found;
  return leafOf(header.x5c) === found.thumbprintSha256 ? found : undefined;
}

/** MSAL Python writes `x5t` with padding. */
function hexOf(base64: string): string {
  return Buffer.from(base64, "base64").toString("hex").toUpperCase();
}

/** MSAL Python leaves the PEM's newlines in `x5c`. */
function leafOf(x5c: unknown): string | undefined {
  const [leaf] = [x5c].flat();
  if (typeof leaf !== "string") return undefined;
  try {
    const certificate = new X509Certificate(Buffer.from(leaf.replace(/\s/g, ""), "base64"));
    return certificate.fingerprint256.replaceAll(":", "");
  } catch {
    return undefined;
  }
}
