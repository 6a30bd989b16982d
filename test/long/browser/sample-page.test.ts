/** The sample page in Chromium, in front of a gateway and an emulator that run as processes of their own. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import type { Locator, Page } from "playwright-core";
import { type Chromium, hasChromium, launchChromium } from "../../browser/chromium.ts";
import { SCENARIOS } from "../../demo/scenarios.ts";
import { type DemoSite, startDemoSite } from "../../demo/site.ts";
import { type Control, controlOf } from "../../demo/tour.ts";
import {
  type EmulatorProcess,
  type GatewayProcess,
  startEmulatorProcess,
  startGatewayProcess,
} from "../../support/processes.ts";

const PATIENCE_MS = 10_000;

/**
 * Texts of a page whose contrast is below 4.5, or 3 where they are large (WCAG 2.2, 1.4.3); disabled controls are exempt.
 * Runs in the page. Colours with an alpha are laid over the background below them.
 */
const FAINT_TEXTS = `(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const base = matchMedia("(prefers-color-scheme: dark)").matches ? "Canvas" : "white";
  const luminance = (layers) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const layer of layers) { canvas.fillStyle = layer; canvas.fillRect(0, 0, 1, 1); }
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((byte) => {
      const part = byte / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim();
    const parent = walker.currentNode.parentElement;
    if (!text || !parent.checkVisibility() || parent.closest(":disabled, script, style, option")) continue;
    const style = getComputedStyle(parent);
    const behind = [];
    for (let one = parent; one; one = one.parentElement) behind.unshift(getComputedStyle(one).backgroundColor);
    const below = luminance([base, ...behind]);
    const above = luminance([base, ...behind, style.color]);
    const contrast = (Math.max(below, above) + 0.05) / (Math.min(below, above) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (contrast < (large ? 3 : 4.5)) found.push(text.slice(0, 40) + ": " + contrast.toFixed(2));
  }
  return found;
})()`;

(hasChromium ? describe : describe.skip)("the sample page in Chromium", () => {
  let emulator: EmulatorProcess;
  let gateway: GatewayProcess;
  let site: DemoSite;
  let control: Control;
  let chromium: Chromium;

  beforeAll(async () => {
    emulator = await startEmulatorProcess();
    control = controlOf(emulator.facts.controlUrl);
    site = await startDemoSite(emulator.facts, control);
    gateway = await startGatewayProcess(emulator.facts, {
      credential: "workload-identity",
      env: { PAGE_ORIGIN: site.url },
    });
    site.serve(gateway);
    chromium = await launchChromium();
    chromium.context.setDefaultTimeout(PATIENCE_MS);
  }, 90_000);
  afterAll(async () => {
    await chromium?.close();
    await site?.stop();
    await gateway?.stop();
    await emulator?.stop();
  });

  let faults: string[] = [];
  afterEach(async () => {
    const { context } = chromium;
    await context.setOffline(false);
    for (const page of context.pages().slice(1)) await page.close();
    await context.clearCookies();
    for (const { name } of SCENARIOS) await endScenario(name);
    await context.pages()[0]?.goto(site.url);
    await context.pages()[0]?.evaluate("localStorage.clear(); sessionStorage.clear()");
    for (const path of ["/faults", "/refusals", "/graph/challenges"]) await control.delete(path);
    expect(faults).toEqual([]);
  });

  async function endScenario(name: string): Promise<void> {
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify({ on: false });
    await (await fetch(`${site.url}/scenarios/${name}`, { method: "POST", headers, body })).text();
  }

  async function openPage(): Promise<Page> {
    faults = [];
    const page = chromium.context.pages()[0] ?? (await chromium.context.newPage());
    page.removeAllListeners("pageerror");
    page.on("pageerror", (error) => faults.push(String(error)));
    // Chromium draws a tab in the background once in a while only, and a click waits for that.
    await page.bringToFront();
    await page.goto(site.url);
    await ready(page);
    return page;
  }
  const ready = (page: Page) => page.waitForSelector("html[data-ready]");

  async function signIn(page: Page, user = "ada"): Promise<void> {
    await page.getByLabel("Demo user").selectOption(`${user}@home.example`);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await page.getByLabel("Name or address of a user").fill(user);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await ready(page);
    await page.waitForFunction("document.getElementById('session').textContent.startsWith('Signed in as')");
  }

  /** The newest entry of the log, once its call has ended. */
  async function call(page: Page, name: string): Promise<string> {
    await press(page, name);
    return await outcome(page);
  }
  async function press(page: Page, name: string): Promise<void> {
    await page.locator("#calls").getByRole("button", { name, exact: true }).click();
  }
  async function outcome(page: Page): Promise<string> {
    const entry: Locator = page.locator("#log article:first-child[data-ended]");
    await entry.waitFor();
    return await entry.innerText();
  }
  async function toggle(page: Page, name: string, on = true): Promise<void> {
    const button = page.locator(`#scenario-${name}`);
    const answered = page.waitForResponse((response) => response.url().includes("/scenarios/"));
    await button.click();
    await answered;
    await page.waitForSelector(`#scenario-${name}[aria-pressed="${on}"]`);
  }

  test("signs a user in, and every call of the page is answered", async () => {
    const page = await openPage();
    expect(await page.locator("#calls button").first().isDisabled()).toBe(true);
    await signIn(page);
    expect(await page.locator("#session").innerText()).toBe("Signed in as Ada Lovelace.");
    for (const name of ["Profile", "Inbox", "Photo", "File", "$batch"])
      expect(await call(page, name)).toMatch(/Answer 200 after \d+ ms/);
    expect(await call(page, "Without permission")).toMatch(/403 scope_insufficient: .*Needed: admin\.read/s);
    await page.locator("#log img").waitFor();
  });

  test("a token that is renewed silently is good for the next call", async () => {
    const page = await openPage();
    await signIn(page);
    await toggle(page, "key", false);
    const before = (await requests()).filter(({ grantType }) => grantType === "refresh_token").length;
    expect(await call(page, "Profile")).toMatch(/Answer 200/);
    const after = (await requests()).filter(({ grantType }) => grantType === "refresh_token").length;
    expect(after - before).toBe(1);
  });

  test("MFA in mid-call: a window opens, the user passes, and the call goes on", async () => {
    const page = await openPage();
    await signIn(page);
    await toggle(page, "mfa");
    const opened = page.waitForEvent("popup");
    await press(page, "Profile");
    const window = await opened;
    await window.getByRole("button", { name: "Approve" }).click();
    const text = await outcome(page);
    expect(text).toMatch(/refused \(claims_challenged\).*sign-in library.*repeats the request.*Answer 200/s);
    await toggle(page, "mfa", false);
  });

  test("MFA in mid-call: the page is left, and the call is made after the return, with its body", async () => {
    const page = await openPage();
    await signIn(page);
    await page.getByLabel("leaves the page and comes back").check();
    await toggle(page, "mfa");
    await press(page, "$batch");
    await page.getByRole("button", { name: "Approve" }).click();
    await ready(page);
    const text = await outcome(page);
    expect(text).toMatch(/Return from the sign-in.*repeats POST \/graph\/\$batch.*Answer 200/s);
    await toggle(page, "mfa", false);
  });

  test("a sign-in that is cancelled ends the call with the gateway's code, and the next one can be made", async () => {
    const page = await openPage();
    await signIn(page);
    await toggle(page, "mfa");
    const opened = page.waitForEvent("popup");
    await press(page, "Profile");
    await (await opened).close();
    expect(await outcome(page)).toMatch(/401 claims_challenged.*The sign-in failed: .*user_cancelled/s);
    await toggle(page, "mfa", false);
    expect(await call(page, "Profile")).toMatch(/Answer 200/);
  });

  test("consent that is gone is given again in a window, and the call goes on", async () => {
    const page = await openPage();
    await signIn(page, "edsger");
    await toggle(page, "consent");
    const opened = page.waitForEvent("popup");
    await press(page, "Profile");
    const window = await opened;
    await window.getByRole("button", { name: "Accept" }).click();
    expect(await outcome(page)).toMatch(/consent page \(consent_required\).*Answer 200/s);
    await toggle(page, "consent", false);
  });

  test("a user whose session was revoked signs in again in mid-call", async () => {
    const page = await openPage();
    await signIn(page, "grace");
    expect(await call(page, "Profile")).toMatch(/Answer 200/);
    await toggle(page, "revoked", false);
    const opened = page.waitForEvent("popup");
    await press(page, "Profile");
    const window = await opened;
    await window.getByLabel("Name or address of a user").fill("grace");
    await window.getByRole("button", { name: "Sign in", exact: true }).click();
    expect(await outcome(page)).toMatch(/refused.*Answer 200/s);
  });

  test("a second tab is signed in as well, and both call", async () => {
    const page = await openPage();
    await signIn(page);
    const second = await chromium.context.newPage();
    await second.goto(site.url);
    await ready(second);
    expect(await second.locator("#session").innerText()).toBe("Signed in as Ada Lovelace.");
    const texts = await Promise.all([call(page, "Profile"), call(second, "Inbox")]);
    expect(texts.every((text) => /Answer 200/.test(text))).toBe(true);
  });

  test("the back button leads from the sign-in to a page that works", async () => {
    const page = await openPage();
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await page.getByLabel("Name or address of a user").waitFor();
    await page.goBack();
    await page.reload();
    await ready(page);
    expect(await page.locator("#session").innerText()).toBe("Not signed in.");
    await signIn(page);
    expect(await call(page, "Profile")).toMatch(/Answer 200/);
  });

  test("offline, a call fails with the browser's error, and online again it succeeds", async () => {
    const page = await openPage();
    await signIn(page);
    await chromium.context.setOffline(true);
    expect(await call(page, "Profile")).toMatch(/The call failed: Failed to fetch/);
    await chromium.context.setOffline(false);
    expect(await call(page, "Profile")).toMatch(/Answer 200/);
  });

  test.each(["light", "dark"] as const)(
    "texts of both pages stand out, in %s colours",
    async (colorScheme) => {
      const page = await openPage();
      await page.emulateMedia({ colorScheme });
      await signIn(page);
      await toggle(page, "throttled");
      await call(page, "Photo");
      await call(page, "Without permission");
      expect(await page.evaluate(FAINT_TEXTS)).toEqual([]);
      await toggle(page, "throttled", false);
      const watcher = await chromium.context.newPage();
      await watcher.emulateMedia({ colorScheme });
      await watcher.goto(`${gateway.adminUrl}/console`);
      await watcher.getByText("Connected.").waitFor();
      await call(page, "Profile");
      await watcher.locator("#requests > li").first().waitFor();
      expect(await watcher.evaluate(FAINT_TEXTS)).toEqual([]);
    },
  );

  test("Graph's 429 and the gateway's 503 reach the page as what they are", async () => {
    const page = await openPage();
    await signIn(page);
    await toggle(page, "throttled");
    expect(await call(page, "Photo")).toMatch(/Answer 429/);
    await toggle(page, "throttled", false);
    await toggle(page, "credential");
    expect(await call(page, "Profile")).toMatch(/503 client_rejected/);
    await toggle(page, "credential", false);
  });

  test("the console follows: rooms, times, origin, who must act, and no name, address, path or token", async () => {
    const watcher = await chromium.context.newPage();
    await watcher.goto(`${gateway.adminUrl}/console`);
    await watcher.getByText("Connected.").waitFor();
    const page = await openPage();
    await signIn(page);
    expect(await call(page, "Profile")).toMatch(/Answer 200/);
    expect(await call(page, "Photo")).toMatch(/Answer 200/);
    expect(await call(page, "Without permission")).toMatch(/403/);
    await toggle(page, "credential");
    expect(await call(page, "Inbox")).toMatch(/503 client_rejected/);

    const newest = watcher.locator("#requests > li").first();
    await newest.getByText("503 client_rejected", { exact: true }).waitFor();
    expect(await newest.innerText()).toMatch(
      /identity [\d.]+ ms.*operator of the gateway must act.*AADSTS70021: .*Fix: /s,
    );
    await watcher.bringToFront();
    await newest.getByRole("button", { name: "Explain" }).click();
    expect(await newest.innerText()).toMatch(
      /a GET request came to the route \/api\/inbox\..*Correlation id/s,
    );
    const granted = watcher.locator("#requests > li", { hasText: "GET /graph" }).first();
    expect(await granted.innerText()).toMatch(
      /exchange [\d.]+ ms (?:authority|cache|flight).*downstream [\d.]+ ms 200/s,
    );
    // The state of the gateway is sent once a second.
    await watcher
      .locator("#credentials", { hasText: /workload-identity\s+refused, generation \d+, serves/ })
      .waitFor();
    expect(await watcher.locator("#rate-now").innerText()).toMatch(/\d+, [1-9]\d* refused/);

    await watcher.getByLabel("Code").fill("scope_insufficient");
    expect(await watcher.locator("#requests > li").count()).toBe(1);
    await watcher.getByLabel("Code").fill("");
    await watcher.getByRole("button", { name: "Pause" }).click();
    const before = await watcher.locator("#requests > li").count();
    await page.bringToFront();
    await toggle(page, "credential", false);
    await call(page, "Profile");
    await watcher.bringToFront();
    await watcher.waitForTimeout(500);
    expect(await watcher.locator("#requests > li").count()).toBe(before);
    await watcher.getByRole("button", { name: "Pause" }).click();
    expect(await watcher.locator("#requests > li").count()).toBeGreaterThan(before);

    const everything = await watcher.content();
    expect(everything).not.toMatch(/Ada|Lovelace|home\.example|eyJ|\/me\b/);
  });

  test("works by keyboard alone, and fits a phone", async () => {
    const page = await openPage();
    await signIn(page);
    await page.locator("#calls button").first().focus();
    await page.keyboard.press("Enter");
    expect(await outcome(page)).toMatch(/Answer 200/);
    await page.setViewportSize({ width: 360, height: 740 });
    const wide = await page.evaluate(
      "document.documentElement.scrollWidth - document.documentElement.clientWidth",
    );
    expect(wide).toBe(0);
    await page.setViewportSize({ width: 1280, height: 900 });
    const nameless = await page.evaluate(
      "[...document.querySelectorAll('button, select, input, a')].filter((one) => !one.hidden && !(one.labels?.length || one.textContent.trim())).length",
    );
    expect(nameless).toBe(0);
  });

  /** A tab of a computer whose clock is so many hours off. */
  async function openSkewed(hours: number): Promise<Page> {
    const page = await chromium.context.newPage();
    await page.addInitScript(`
      const Exact = Date;
      globalThis.Date = class extends Exact {
        constructor(...parts) {
          if (parts.length === 0) super(Exact.now() + ${hours} * 3_600_000);
          else super(...parts);
        }
        static now() {
          return Exact.now() + ${hours} * 3_600_000;
        }
      };`);
    await page.goto(site.url);
    await ready(page);
    const skew = (await page.evaluate<number>("Date.now()")) - Date.now();
    expect(Math.round(skew / 3_600_000)).toBe(hours);
    return page;
  }

  test.each([
    ["ahead", 2],
    ["behind", -2],
  ])(
    "a computer whose clock is two hours %s signs in, calls without a second sign-in, and passes MFA",
    async (_way, hours) => {
      const page = await openSkewed(hours);
      await signIn(page);
      const windows = chromium.context.pages().length;
      for (const name of ["Profile", "Inbox"]) {
        const text = await call(page, name);
        expect(text).toMatch(/Answer 200/);
        expect(text).not.toMatch(/refused/);
      }
      expect(chromium.context.pages().length).toBe(windows);
      await toggle(page, "mfa");
      const opened = page.waitForEvent("popup");
      await press(page, "Profile");
      await (await opened).getByRole("button", { name: "Approve" }).click();
      expect(await outcome(page)).toMatch(/refused \(claims_challenged\).*Answer 200/s);
      await toggle(page, "mfa", false);
    },
  );

  async function requests(): Promise<readonly { readonly grantType?: string }[]> {
    const response = await fetch(`${emulator.facts.controlUrl}/requests`);
    return ((await response.json()) as { token: { grantType?: string }[] }).token;
  }
});
