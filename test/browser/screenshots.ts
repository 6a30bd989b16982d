/** `npm run screenshots`: pictures of the sample page and the console for docs/images, taken of the running demo's parts. */

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { startDemoSite } from "../demo/site.ts";
import { controlOf } from "../demo/tour.ts";
import { startEmulatorProcess, startGatewayProcess } from "../support/processes.ts";
import { launchChromium } from "./chromium.ts";

const directory = fileURLToPath(new URL("../../docs/images/", import.meta.url));
await mkdir(directory, { recursive: true });

const emulator = await startEmulatorProcess();
const site = await startDemoSite(emulator.facts, controlOf(emulator.facts.controlUrl));
const gateway = await startGatewayProcess(emulator.facts, {
  credential: "workload-identity",
  env: { PAGE_ORIGIN: site.url },
});
site.serve(gateway);
const { context, close } = await launchChromium({ width: 1100, height: 800 });
try {
  await takeAll(context.pages()[0] ?? (await context.newPage()));
} finally {
  await close();
  await site.stop();
  await gateway.stop();
  await emulator.stop();
}

async function takeAll(page: Page): Promise<void> {
  const console = await context.newPage();
  await console.goto(`${gateway.adminUrl}/console`);
  await console.getByText("Connected.").waitFor();

  await page.goto(site.url);
  await page.waitForSelector("html[data-ready]");
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByLabel("Name or address of a user").fill("ada");
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByText("Signed in as Ada Lovelace.").waitFor();
  for (const name of ["Photo", "Without permission"]) await call(page, name);
  await page.locator("#scenario-mfa").click();
  await page.waitForSelector('#scenario-mfa[aria-pressed="true"]');
  const opened = page.waitForEvent("popup");
  await press(page, "Profile");
  await (await opened).getByRole("button", { name: "Approve" }).click();
  await ended(page);
  await take(page, "sample-page");
  await page.setViewportSize({ width: 390, height: 800 });
  await take(page, "sample-page-phone");

  await page.locator("#scenario-credential").click();
  await page.waitForSelector('#scenario-credential[aria-pressed="true"]');
  await call(page, "Inbox");
  await console.bringToFront();
  const newest = console.locator("#requests > li").first();
  await newest.getByText("503 client_rejected", { exact: true }).waitFor();
  await newest.getByRole("button", { name: "Explain" }).click();
  await console.waitForTimeout(1_200);
  await take(console, "console");
}

async function take(page: Page, name: string): Promise<void> {
  await page.screenshot({ path: `${directory}${name}.png` });
}
async function press(page: Page, name: string): Promise<void> {
  await page.locator("#calls").getByRole("button", { name, exact: true }).click();
}
async function ended(page: Page): Promise<void> {
  await page.locator("#log article:first-child[data-ended]").waitFor();
}
async function call(page: Page, name: string): Promise<void> {
  await press(page, name);
  await ended(page);
}
