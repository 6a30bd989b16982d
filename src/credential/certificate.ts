/** Certificate: the gateway signs client assertions with a key from a file that may be replaced any time, or from a variable. */

import type { X509Certificate } from "node:crypto";
import { realpath } from "node:fs/promises";
import { ConfigurationError } from "../errors.ts";
import type { Secret } from "../foundation/secret.ts";
import { createAssertionSigner } from "./client-assertion.ts";
import type { AuthenticationRequest, Canary, TrialVerdict } from "./contract.ts";
import { readKeyAndChain } from "./key-file.ts";
import { type KeyAndChain, PemFault } from "./pem.ts";
import { openReloadingFile, openReloadingValue, type ReloadingValue } from "./reloading-value.ts";
import type { SourceCredential, SourcePorts } from "./source.ts";

const SETTING = "AZURE_CLIENT_CERTIFICATE_PATH";
const TEXT_SETTING = "AZURE_CLIENT_CERTIFICATE";
const PASSWORD_SETTING = "AZURE_CLIENT_CERTIFICATE_PASSWORD";

/** Shortest time between two looks at the file. Certificates change days before they have to. */
const LOOK_INTERVAL_MS = 5_000;
const MAX_BYTES = 1024 * 1024;
const DAY_MS = 24 * 60 * 60_000;
const EXPIRY_NOTICE_MS = 30 * DAY_MS;

export interface CertificateOptions {
  /** Where key and certificate come from: a file, which is read again when it changes, or the text of a variable. */
  readonly from: { readonly path: string } | { readonly text: Secret };
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
  const { from } = options;
  const { now, emit } = ports;
  const { place, opening } =
    "path" in from ? openFile(from.path, options, ports) : openText(from.text, options, ports);
  const certificate = await opening;

  let noticed: { readonly generation: number; readonly at: number } | undefined;
  function noticeExpiry(): void {
    const { generation, expiresAt = 0 } = certificate.status();
    const at = now();
    const dueAgain = noticed?.generation !== generation || at - noticed.at >= DAY_MS;
    if (expiresAt - at > EXPIRY_NOTICE_MS || !dueAgain) return;
    noticed = { generation, at };
    const message = `${place.setting}: the certificate in ${place.name} ends at ${toDate(expiresAt)}; replace it before then`;
    emit({ type: "expiring", source: "certificate", generation, message, expiresAt });
  }
  noticeExpiry();

  return {
    source: "certificate",
    async prove(request) {
      const { value, generation } = await certificate.read();
      noticeExpiry();
      const clientAssertion = await value.sign(request);
      return { authentication: { method: "client_assertion", clientAssertion }, generation };
    },
    async look(force) {
      await certificate.look(force);
      noticeExpiry();
    },
    status: certificate.status,
  };
}

interface Opening {
  readonly place: Place;
  readonly opening: Promise<ReloadingValue<Certificate>>;
}

function openFile(path: string, options: CertificateOptions, ports: SourcePorts): Opening {
  const { emit, canary } = ports;
  const place = { setting: SETTING, name: path };
  const opening = openReloadingFile<Certificate>(
    {
      source: "certificate",
      setting: SETTING,
      path,
      maxBytes: MAX_BYTES,
      intervalMs: LOOK_INTERVAL_MS,
      marginMs: 0,
      async parse(content, { mode, generation }) {
        const parsed = await parse(content, place, options, ports);
        if (await isExposed(path, mode)) {
          const message = `${SETTING}: ${path} holds a private key that every user may read; chmod 600`;
          emit({ type: "file_exposed", source: "certificate", generation, message });
        }
        return parsed;
      },
      trial: canary && ((candidate) => tryOut(candidate, canary)),
    },
    ports,
  );
  return { place, opening };
}

/** A variable cannot change while the process runs, so it is read once. */
function openText(text: Secret, options: CertificateOptions, ports: SourcePorts): Opening {
  const place = { setting: TEXT_SETTING, name: "its text" };
  const opening = openReloadingValue<Certificate>(
    {
      source: "certificate",
      origin: TEXT_SETTING,
      marginMs: 0,
      isDue: () => false,
      load: () => parse(Buffer.from(text.reveal()), place, options, ports),
    },
    ports,
  );
  return { place, opening };
}

/** Which setting a certificate comes from, and how messages call what it holds. */
interface Place {
  readonly setting: string;
  readonly name: string;
}

async function parse(
  content: Buffer,
  place: Place,
  { password, sendChain }: CertificateOptions,
  { now }: SourcePorts,
): Promise<Certificate> {
  const { privateKey, chain } = await read(content, password, place);
  const expiresAt = endOfValidity(chain[0], place, now());
  return { expiresAt, sign: createAssertionSigner({ privateKey, chain, sendChain, now }) };
}

async function tryOut({ sign }: Certificate, { request, proveWith }: Canary): Promise<TrialVerdict> {
  try {
    return await proveWith({ method: "client_assertion", clientAssertion: await sign(request) });
  } catch {
    return { verdict: "undecided", problem: "the key could not sign" };
  }
}

async function read(content: Buffer, password: Secret | undefined, place: Place): Promise<KeyAndChain> {
  try {
    return await readKeyAndChain(content, password);
  } catch (cause) {
    if (!(cause instanceof PemFault)) throw cause;
    const setting = cause.aboutPassword ? PASSWORD_SETTING : place.setting;
    throw new ConfigurationError([{ path: setting, problem: `${place.name} ${cause.message}` }], { cause });
  }
}

function endOfValidity(certificate: X509Certificate, { setting, name }: Place, now: number): number {
  const from = Date.parse(certificate.validFrom);
  const to = Date.parse(certificate.validTo);
  const problem =
    now < from
      ? `the certificate in ${name} is not valid before ${toDate(from)}; is the clock right?`
      : now >= to
        ? `the certificate in ${name} ended at ${toDate(to)}; put a new one in its place`
        : undefined;
  if (problem !== undefined) throw new ConfigurationError([{ path: setting, problem }]);
  return to;
}

/**
 * Whether the file's mode lets every user of the machine read the key. A volume that the kubelet mounts (its files
 * are reached through a `..data` link) is seen by this pod alone and has mode 0644 by default, so its
 * mode says nothing; nor does any mode on Windows.
 */
async function isExposed(path: string, mode: number): Promise<boolean> {
  if ((mode & 0o004) === 0 || process.platform === "win32") return false;
  return !/[\\/]\.\.[^\\/]/.test(await realpath(path).catch(() => path));
}

function toDate(at: number): string {
  return new Date(at).toISOString();
}
