/** `/{tenant}/oauth2/v2.0/logout`: ends the browser's sessions and goes back where a registered address allows it. */

import type { Request, Response } from "express";
import type { Parameters } from "./authorize-request.ts";
import type { BrowserSessions } from "./browser-session.ts";
import type { Directory } from "./directory.ts";
import { signedOutPage } from "./pages.ts";
import { isRegisteredAnywhere } from "./redirect-uris.ts";

export function createSignOut(parts: {
  readonly directory: Directory;
  readonly browsers: BrowserSessions;
}): (parameters: Parameters, request: Request, response: Response) => void {
  const { directory, browsers } = parts;

  return (parameters, request, response) => {
    const accounts = browsers.read(request);
    const hinted = accounts.find(({ userObjectId, tenantId }) => {
      const user = directory.findUser(userObjectId, tenantId);
      return user !== undefined && user.userPrincipalName === parameters.logout_hint;
    });
    browsers.remove(response, accounts, hinted?.userObjectId);
    const target = parameters.post_logout_redirect_uri;
    if (target === undefined || !isRegisteredAnywhere(directory.applications, target)) {
      signedOutPage(response);
      return;
    }
    const uri = new URL(target);
    if (parameters.state !== undefined) uri.searchParams.set("state", parameters.state);
    response.set("Cache-Control", "no-store, no-cache").redirect(302, uri.href);
  };
}
