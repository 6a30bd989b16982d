/** The emulator's files: a temporary directory that goes with it, or a kept one that is left without them. */

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ClientCertificate, MountOptions, TokenVolume } from "./handle.ts";
import { mountTokenVolume } from "./kubernetes/token-volume.ts";

export interface StateDirectory {
  readonly caCertificate: string;
  readonly clientCertificate: string;
  readonly mount: (options?: MountOptions) => Promise<TokenVolume>;
  remove(): Promise<void>;
}

export async function createStateDirectory(parts: {
  /** Undefined: a temporary directory. */
  readonly directory: string | undefined;
  readonly caCertificate: string;
  readonly clientCertificate: ClientCertificate;
  readonly issueToken: Parameters<typeof mountTokenVolume>[1];
}): Promise<StateDirectory> {
  const kept = parts.directory;
  const root = kept ?? (await mkdtemp(join(tmpdir(), "obo-emulator-")));
  await mkdir(root, { recursive: true });
  const caCertificate = join(root, "ca.pem");
  const clientCertificate = join(root, "gateway-client.pem");
  await writeFile(caCertificate, parts.caCertificate);
  // A shared directory is there for other users: a gateway in a container runs as somebody else.
  await writeFile(clientCertificate, parts.clientCertificate.pem, {
    mode: kept === undefined ? 0o600 : 0o644,
  });

  const volumes: TokenVolume[] = [];
  const ownDirectories: string[] = [];
  return {
    caCertificate,
    clientCertificate,
    async mount(options = {}) {
      const name = volumes.length === 0 ? "token" : `token-${volumes.length + 1}`;
      const own = join(root, name);
      if (options.directory === undefined) ownDirectories.push(own);
      const mode = kept === undefined ? {} : { fileMode: 0o644 };
      const volume = await mountTokenVolume(options.directory ?? own, parts.issueToken, {
        ...mode,
        ...options,
      });
      volumes.push(volume);
      return volume;
    },
    async remove() {
      for (const volume of volumes) await volume.remove();
      const ours = kept === undefined ? [root] : [...ownDirectories, caCertificate, clientCertificate];
      for (const path of ours) await rm(path, { recursive: true, force: true });
    },
  };
}
