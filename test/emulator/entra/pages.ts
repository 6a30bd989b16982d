/** The pages that a person meets: plain HTML without scripts, made for keyboards and screen readers. */

import { randomBytes } from "node:crypto";
import type { Response } from "express";

export interface Choice {
  readonly name: string;
  readonly value: string;
  readonly label: string;
  readonly detail?: string;
}

/** A step of a sign-in: every form of it posts to the same address and carries the same sealed step. */
export interface StepFrame {
  readonly action: string;
  readonly step: string;
  /** Shown above the form, and read out at once. */
  readonly fault?: string;
}

const STYLE = `
  :root { color-scheme: light dark; }
  body { font: 1rem/1.5 system-ui, sans-serif; margin: 0; color: #1b1b1b; background: #f2f2f2; }
  main { max-width: 26rem; margin: 8vh auto; padding: 2rem; background: #fff; border: 1px solid #8a8a8a; }
  h1 { font-size: 1.4rem; margin-top: 0; }
  form { margin: 0 0 1rem; }
  button, input[type=text] { font: inherit; width: 100%; box-sizing: border-box; padding: .6rem .8rem; margin: .25rem 0; }
  button { text-align: left; color: #1b1b1b; background: #fff; border: 1px solid #6b6b6b; cursor: pointer; }
  button.main { color: #fff; background: #0b5394; border-color: #0b5394; text-align: center; }
  button small { display: block; color: #4a4a4a; }
  button:hover, button:focus-visible, input:focus-visible { outline: 3px solid #0b5394; outline-offset: 2px; }
  .fault { border-left: 4px solid #a4262c; padding-left: .8rem; color: #8a1f24; }
  .note { color: #4a4a4a; font-size: .9rem; }
  @media (prefers-color-scheme: dark) {
    body { color: #f2f2f2; background: #1b1b1b; } main { background: #262626; }
    button { color: #f2f2f2; background: #333; } button small, .note { color: #c8c8c8; }
    .fault { color: #ffb3b3; }
    button:hover, button:focus-visible, input:focus-visible { outline-color: #8ab8e6; }
  }`;

export function signInPage(
  response: Response,
  frame: StepFrame,
  about: {
    readonly applicationName: string;
    readonly accounts: readonly Choice[];
    readonly users: readonly Choice[];
    readonly hint: string;
  },
): void {
  const { applicationName, accounts, users, hint } = about;
  sendPage(
    response,
    accounts.length === 0 ? "Sign in" : "Pick an account",
    `<p>to continue to ${escaped(applicationName)}</p>
    ${form(frame, [...accounts, ...users].map((choice) => button(choice)).join(""))}
    ${form(
      frame,
      `<label for="user">Name or address of a user</label>
      <input type="text" id="user" name="user" autocomplete="username" value="${escaped(hint)}">
      <button class="main" type="submit">Sign in</button>`,
    )}
    <p class="note">This is an emulator: no password is asked for.</p>`,
    frame.fault,
  );
}

export function secondFactorPage(response: Response, frame: StepFrame, userName: string): void {
  sendPage(
    response,
    "Approve the sign-in request",
    `<p>${escaped(userName)}, a policy asks for a second factor.</p>
    ${form(
      frame,
      button({ name: "mfa", value: "approve", label: "Approve" }, "main") +
        button({ name: "mfa", value: "deny", label: "Deny" }) +
        button({ name: "mfa", value: "cancel", label: "Cancel" }),
    )}`,
    frame.fault,
  );
}

export interface PermissionLine {
  readonly applicationName: string;
  readonly resourceName: string;
  readonly permission: string;
  readonly text: string | undefined;
}

export function consentPage(
  response: Response,
  frame: StepFrame,
  about: {
    readonly userName: string;
    readonly permissions: readonly PermissionLine[];
    /** `choice`: an administrator may decide for all; `always`: the page is for that alone. */
    readonly wholeTenant: "never" | "choice" | "always";
  },
): void {
  const { userName, permissions, wholeTenant } = about;
  sendPage(
    response,
    "Permissions requested",
    `<p>${escaped(userName)}, do you accept?</p>${permissionLists(permissions)}
    ${form(
      frame,
      `${
        wholeTenant === "choice"
          ? '<p><label><input type="checkbox" name="organization" value="true"> Consent on behalf of your organization</label></p>'
          : ""
      }${wholeTenant === "always" ? "<p>You consent on behalf of your organization.</p>" : ""}
      ${button({ name: "consent", value: "accept", label: "Accept" }, "main")}
      ${button({ name: "consent", value: "cancel", label: "Cancel" })}`,
    )}`,
    frame.fault,
  );
}

export function approvalPage(
  response: Response,
  frame: StepFrame,
  about: { readonly userName: string; readonly permissions: readonly PermissionLine[] },
): void {
  sendPage(
    response,
    "Approval required",
    `<p>${escaped(about.userName)}, only an administrator can grant these permissions.</p>
    ${permissionLists(about.permissions)}
    ${form(
      frame,
      button({ name: "consent", value: "leave", label: "Return without granting consent" }, "main") +
        button({ name: "other", value: "true", label: "Sign in with an administrator's account" }),
    )}`,
    frame.fault,
  );
}

export function faultPage(response: Response, status: number, description: string): void {
  response.status(status);
  sendPage(response, "We could not sign you in", "<p>Close this page and try again.</p>", description);
}

export function signedOutPage(response: Response): void {
  sendPage(response, "You signed out", "<p>You can close this page.</p>");
}

/** OAuth 2.0 Form Post Response Mode: the only page with a script, which presses its one button. */
export function formPostPage(
  response: Response,
  action: string,
  parameters: readonly (readonly [string, string])[],
): void {
  const inputs = parameters.map(
    ([name, value]) => `<input type="hidden" name="${escaped(name)}" value="${escaped(value)}">`,
  );
  sendPage(
    response,
    "Working…",
    `<form method="post" action="${escaped(action)}">${inputs.join("")}
    <button class="main" type="submit">Continue</button></form>`,
    undefined,
    "document.forms[0].submit();",
  );
}

function sendPage(response: Response, title: string, body: string, fault?: string, script?: string): void {
  const nonce = randomBytes(16).toString("base64");
  response
    .set({
      "Cache-Control": "no-store, no-cache",
      // No form-action: browsers apply it to the redirect that ends the sign-in, whose target is the client's.
      "Content-Security-Policy": `default-src 'none'; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'; frame-ancestors 'none'; base-uri 'none'`,
      "Referrer-Policy": "no-referrer",
      "X-Content-Type-Options": "nosniff",
      "X-Frame-Options": "DENY",
    })
    .type("html")
    .send(`<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>${escaped(title)}</title>
  <style nonce="${nonce}">${STYLE}</style>
</head>
<body>
  <main>
    <h1>${escaped(title)}</h1>
    ${fault === undefined ? "" : `<p class="fault" role="alert">${escaped(fault)}</p>`}
    ${body}
  </main>
  ${script === undefined ? "" : `<script nonce="${nonce}">${script}</script>`}
</body>
</html>
`);
}

function form({ action, step }: StepFrame, content: string): string {
  return `<form method="post" action="${escaped(action)}">
      <input type="hidden" name="step" value="${escaped(step)}">
      ${content}
    </form>`;
}

function button({ name, value, label, detail }: Choice, className = ""): string {
  const small = detail === undefined ? "" : `<small>${escaped(detail)}</small>`;
  return `<button class="${className}" type="submit" name="${escaped(name)}" value="${escaped(value)}">${escaped(label)}${small}</button>`;
}

function permissionLists(permissions: readonly PermissionLine[]): string {
  const byApplication = new Map<string, PermissionLine[]>();
  for (const line of permissions) {
    byApplication.set(line.applicationName, [...(byApplication.get(line.applicationName) ?? []), line]);
  }
  return [...byApplication]
    .map(
      ([name, lines]) =>
        `<h2>${escaped(name)} would like to</h2><ul>${lines
          .map(
            ({ resourceName, permission, text }) =>
              `<li>${escaped(text ?? `use ${resourceName}`)} <small>(${escaped(resourceName)}: ${escaped(permission)})</small></li>`,
          )
          .join("")}</ul>`,
    )
    .join("");
}

function escaped(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}
