/** Certificate: the gateway signs its own client assertions with a key from a file that may be replaced any time. */

import type { X509Certificate } from "node:crypto";
import { realpath } from "node:fs/promises";
import { ConfigurationError } from "../errors.ts";
import type { Secret } from "../foundation/secret.ts";
import { createAssertionSigner } from "./client-assertion.ts";
import type { AuthenticationRequest, Canary, TrialVerdict } from "./contract.ts";
import { isBinary, type KeyAndChain, PemFault, readPem } from "./pem.ts";
import { openReloadingFile } from "./reloading-file.ts";
import type { SourceCredential, SourcePorts } from "./source.ts";

const SETTING = "AZURE_CLIENT_CERTIFICATE_PATH";
const PASSWORD_SETTING = "AZURE_CLIENT_CERTIFICATE_PASSWORD";

/** Shortest time between two looks at the file. Certificates change days before they have to. */
const LOOK_INTERVAL_MS = 5_000;
const DAY_MS = 24 * 60 * 60_000;
const EXPIRY_NOTICE_MS = 30 * DAY_MS;

export interface CertificateOptions {
  readonly path: string;
  readonly password: Secret | undefined;
  /** Whether assertions carry the chain as `x5c`. */
  readonly sendChain: boolean;
}

interface Certificate {
  readonly sign: (request: AuthenticationRequest) => Promise<Secret>;
  /** End of the certificate's validity, ms since the epoch. */
  readonly expiresAt: number;
}

/**
 * Assertions belong to the certificate that they name, so a replaced file starts with none. With a canary, requests
 * prove the new one only when Entra has accepted it once.
 *
 * @throws {ConfigurationError} when the file holds no usable RSA key with its certificate, valid now.
 */
export async function openCertificate(
  options: CertificateOptions,
  ports: SourcePorts,
): Promise<SourceCredential> {
  const { path, sendChain } = options;
  const { now, emit, canary } = ports;
  const file = await openReloadingFile<Certificate>(
    {
      source: "certificate",
      setting: SETTING,
      path,
      maxBytes: 1024 * 1024,
      intervalMs: LOOK_INTERVAL_MS,
      marginMs: 0,
      async parse(content, { mode, generation }) {
        const { privateKey, chain } = await read(content, options);
        const expiresAt = endOfValidity(chain[0], path, now());
        if (await isExposed(path, mode)) {
          const message = `${SETTING}: ${path} holds a private key that every user may read; chmod 600`;
          emit({ type: "file_exposed", source: "certificate", generation, message });
        }
        return { expiresAt, sign: createAssertionSigner({ privateKey, chain, sendChain, now }) };
      },
      trial: canary && ((candidate) => tryOut(candidate, canary)),
    },
    ports,
  );

  let noticed: { readonly generation: number; readonly at: number } | undefined;
  function noticeExpiry(): void {
    const { generation, expiresAt = 0 } = file.status();
    const at = now();
    const dueAgain = noticed?.generation !== generation || at - noticed.at >= DAY_MS;
    if (expiresAt - at > EXPIRY_NOTICE_MS || !dueAgain) return;
    noticed = { generation, at };
    const message = `${SETTING}: the certificate in ${path} ends at ${toDate(expiresAt)}; replace the file before then`;
    emit({ type: "expiring", source: "certificate", generation, message, expiresAt });
  }
  noticeExpiry();

  return {
    source: "certificate",
    async prove(request) {
      const { value, generation } = await file.read();
      noticeExpiry();
      const clientAssertion = await value.sign(request);
      return { authentication: { method: "client_assertion", clientAssertion }, generation };
    },
    async look(force) {
      await file.look(force);
      noticeExpiry();
    },
    status: file.status,
  };
}

async function tryOut({ sign }: Certificate, { request, proveWith }: Canary): Promise<TrialVerdict> {
  try {
    return await proveWith({ method: "client_assertion", clientAssertion: await sign(request) });
  } catch {
    return { verdict: "undecided", problem: "the key could not sign" };
  }
}

/** @throws {PemFault} when the file, PEM or PKCS#12, does not hold a key and its certificate that will do. */
export async function readKeyAndChain(content: Buffer, password: Secret | undefined): Promise<KeyAndChain> {
  if (!isBinary(content)) return readPem(content, password);
  // Loaded when there is such a file: its library takes ten megabytes.
  const { pemOfPkcs12 } = await import("./pkcs12.ts");
  return readPem(pemOfPkcs12(content, password), undefined);
}

async function read(content: Buffer, { path, password }: CertificateOptions): Promise<KeyAndChain> {
  try {
    return await readKeyAndChain(content, password);
  } catch (cause) {
    if (!(cause instanceof PemFault)) throw cause;
    const setting = cause.aboutPassword ? PASSWORD_SETTING : SETTING;
    throw new ConfigurationError([{ path: setting, problem: `${path} ${cause.message}` }], { cause });
  }
}

function endOfValidity(certificate: X509Certificate, path: string, now: number): number {
  const from = Date.parse(certificate.validFrom);
  const to = Date.parse(certificate.validTo);
  const problem =
    now < from
      ? `the certificate in ${path} is not valid before ${toDate(from)}; is the clock right?`
      : now >= to
        ? `the certificate in ${path} ended at ${toDate(to)}; put a new one in its place`
        : undefined;
  if (problem !== undefined) throw new ConfigurationError([{ path: SETTING, problem }]);
  return to;
}

/**
 * Whether the file's mode lets every user of the machine read the key. A volume that the kubelet mounts (its files
 * are reached through a `..data` link) is seen by this pod alone and has mode 0644 unless told otherwise, so its
 * mode says nothing; nor does any mode on Windows.
 */
async function isExposed(path: string, mode: number): Promise<boolean> {
  if ((mode & 0o004) === 0 || process.platform === "win32") return false;
  return !/[\\/]\.\.[^\\/]/.test(await realpath(path).catch(() => path));
}

function toDate(at: number): string {
  return new Date(at).toISOString();
}
