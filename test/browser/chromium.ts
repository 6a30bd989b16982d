/** Debian's Chromium, driven by playwright-core, for tests of what only a browser shows. */

import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BrowserContext, chromium } from "playwright-core";

const EXECUTABLE = "/usr/bin/chromium";

/** With `CI=true` a missing browser is a failure; elsewhere the tests that need it are left out, and say so. */
export const hasChromium = existsSync(EXECUTABLE) || process.env.CI === "true";
if (!hasChromium) console.log(`tests in a browser left out: ${EXECUTABLE} is not there`);

export interface Chromium {
  /** Cookies and storage of its own, thrown away at the end. */
  readonly context: BrowserContext;
  close(): Promise<void>;
}

export async function launchChromium(
  viewport: { readonly width: number; readonly height: number } = { width: 1280, height: 900 },
): Promise<Chromium> {
  const directory = await mkdtemp(join(tmpdir(), "chromium-"));
  const context = await chromium.launchPersistentContext(directory, {
    executablePath: EXECUTABLE,
    headless: true,
    viewport,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  return {
    context,
    async close() {
      await context.close();
      await rm(directory, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}
