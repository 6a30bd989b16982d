/** `/{tenant}/oauth2/v2.0/authorize` and the pages behind it: who signs in, by which factors, and to what she consents. */

import type { Request, Response } from "express";
import { permissionText } from "../graph/permissions.ts";
import type { User } from "../handle.ts";
import type { Sessions } from "../sessions.ts";
import type { AuthorizationCodes } from "./authorization-codes.ts";
import { answerClient, refusalParameters } from "./authorize-answer.ts";
import {
  type AuthorizeRequest,
  type Parameters,
  type ReplyAddress,
  readAuthorizeRequest,
  readReplyAddress,
  tenantOfSegment,
} from "./authorize-request.ts";
import type { BrowserSessions } from "./browser-session.ts";
import type { Clouds } from "./clouds.ts";
import {
  grantPermissions,
  missingPermissions,
  needsAdministrator,
  type Permissions,
  requestedPermissions,
  requiredPermissions,
} from "./consent.ts";
import type { Directory } from "./directory.ts";
import {
  approvalPage,
  type Choice,
  consentPage,
  faultPage,
  type PermissionLine,
  type StepFrame,
  secondFactorPage,
  signInPage,
} from "./pages.ts";
import type { Policies } from "./policies.ts";
import { EntraRefusal, refusalAnswer } from "./refusal.ts";
import { parseSignInScopes } from "./scopes.ts";
import type { Seals } from "./sealed.ts";
import { newSignIn, type SignIn, signInClaims, withSecondFactor } from "./sign-in.ts";
import { clientInfo } from "./token-answer.ts";
import { correlationOf } from "./token-request.ts";
import { checkAccount } from "./user-account.ts";

/** Users offered on the sign-in page; a benchmark's directory holds tens of thousands. */
const USERS_SHOWN = 20;
/** How long a person may take for all pages together. */
const STEP_LIFETIME_MS = 30 * 60_000;

/** What the pages of one sign-in hand on, sealed: the authority itself keeps nothing. */
interface Step {
  readonly purpose: "authorize" | "admin-consent";
  /** Tenant segment of the URL. */
  readonly segment: string;
  readonly parameters: Parameters;
  readonly beganAt: number;
  readonly correlationId: string;
  /** Proved on the pages of this sign-in, so a remembered session no longer matters. */
  readonly signIn?: SignIn;
  readonly consented?: boolean;
}

export interface AuthorizeEndpoint {
  /** The first request. Returns the AADSTS number of a refusal, 0 for an answer to the client, undefined for a page. */
  begin(purpose: Step["purpose"], parameters: Parameters, request: Request, response: Response): Outcome;
  /** What a person pressed on a page. */
  advance(form: Parameters, request: Request, response: Response): Outcome;
  /** The parameters of the request that a form belongs to, for the record. */
  parametersOf(form: Parameters): Parameters;
}

export type Outcome = number | undefined;

/** One request, with everything that the pages and answers need. */
interface Visit {
  readonly step: Step;
  readonly request: Request;
  readonly response: Response;
  readonly accounts: readonly SignIn[];
  readonly tenantId: string | undefined;
  readonly address: ReplyAddress;
}

export function createAuthorizeEndpoint(parts: {
  readonly directory: Directory;
  readonly clouds: Clouds;
  readonly policies: Policies;
  readonly sessions: Sessions;
  readonly browsers: BrowserSessions;
  readonly codes: AuthorizationCodes;
  readonly seals: Seals;
  readonly now: () => number;
}): AuthorizeEndpoint {
  const { directory, clouds, policies, sessions, browsers, codes, seals, now } = parts;

  const proceed = (step: Step, request: Request, response: Response, accounts = browsers.read(request)) =>
    inVisit(step, request, response, accounts, (visit) =>
      step.purpose === "authorize" ? authorize(visit) : consentForTenant(visit),
    );

  /** Refusals before the reply address is known are for the person, later ones for the client. */
  const inVisit = (
    step: Step,
    request: Request,
    response: Response,
    accounts: readonly SignIn[],
    act: (visit: Visit) => Outcome,
  ): Outcome => {
    let address: ReplyAddress | undefined;
    try {
      const tenantId = tenantOfSegment(step.segment, directory);
      address = readReplyAddress(step.parameters, directory, tenantId);
      return act({ step, request, response, accounts, tenantId, address });
    } catch (error) {
      if (!(error instanceof EntraRefusal)) throw error;
      if (address === undefined) showFault(error, step.correlationId, request, response);
      else refuse(error, address, step.correlationId, request, response);
      return error.code;
    }
  };

  const authorize = (visit: Visit): Outcome => {
    const { address } = visit;
    const asked = readAuthorizeRequest(visit.step.parameters, address, directory);
    const signIn = proved(visit.step) ?? remembered(visit, asked);
    if (signIn === undefined) {
      if (asked.prompt === "none") throw new EntraRefusal(50058);
      return showSignIn(visit);
    }
    const user = checkAccount(directory, signIn);
    const { application } = address;
    if (!application.tenants.has(user.tenantId)) throw new EntraRefusal(700016);
    const subject = {
      grant: "authorize" as const,
      tenantId: user.tenantId,
      clientId: application.clientId,
      scopes: asked.scopes,
      user,
      claims: signInClaims(signIn),
      requested: asked.requested,
    };
    policies.checkRefusals(subject);
    const lacking = policies.lacking(subject);
    if (lacking !== undefined) {
      if (asked.prompt === "none") throw new EntraRefusal(50076, { claims: lacking.claims });
      return showSecondFactor(visit, signIn, user);
    }
    const open = permissionsToConsent(visit, asked, user);
    if (open === undefined) return answerWithCode(visit, asked, signIn);
    return showConsent(visit, signIn, user, open);
  };

  /** Undefined when nothing is left to consent to. @throws {EntraRefusal} 65001 where no page may be shown */
  const permissionsToConsent = (
    visit: Visit,
    asked: AuthorizeRequest,
    user: User,
  ): readonly Permissions[] | undefined => {
    const { application } = visit.address;
    const wanted = parseSignInScopes(asked.scopes, application, directory, user.tenantId);
    const missing = missingPermissions(application, wanted, directory, user);
    const isForced = asked.prompt === "consent" && visit.step.consented !== true;
    if (missing.length === 0 && !isForced) return undefined;
    if (asked.prompt === "none") throw new EntraRefusal(65001);
    return isForced ? requestedPermissions(application, wanted, directory) : missing;
  };

  const answerWithCode = (visit: Visit, asked: AuthorizeRequest, signIn: SignIn): Outcome => {
    const { application, redirect } = visit.address;
    const code = codes.issue({
      clientId: application.clientId,
      tenantId: signIn.tenantId,
      redirect,
      scopes: asked.scopes,
      requested: asked.requested,
      signIn,
      tellsAuthTime: asked.tellsAuthTime,
      ...(asked.nonce === undefined ? {} : { nonce: asked.nonce }),
      ...(asked.challenge === undefined ? {} : { challenge: asked.challenge }),
    });
    answerClient(visit.response, visit.address, {
      code,
      client_info: asked.wantsClientInfo ? clientInfo(signIn.userObjectId, signIn.tenantId) : undefined,
      session_state: signIn.id,
    });
    return 0;
  };

  /** `/adminconsent`: an administrator grants what the registration lists, or the scopes that are named, to everybody. */
  const consentForTenant = (visit: Visit): Outcome => {
    const signIn = proved(visit.step);
    if (signIn === undefined) return showSignIn(visit);
    const user = checkAccount(directory, signIn);
    return showConsent(visit, signIn, user, tenantPermissions(visit, user));
  };

  const tenantPermissions = ({ step, address }: Visit, user: User): Permissions[] => {
    const scopes = (step.parameters.scope ?? "").split(/\s+/).filter((scope) => scope !== "");
    if (scopes.length === 0) return requiredPermissions(address.application, directory);
    const wanted = parseSignInScopes(scopes, address.application, directory, user.tenantId);
    return requestedPermissions(address.application, wanted, directory);
  };

  /** On the pages of this sign-in, unless the user's sessions were revoked meanwhile. */
  const proved = ({ signIn }: Step): SignIn | undefined => {
    if (signIn === undefined) return undefined;
    const claims = { oid: signIn.userObjectId, uti: signIn.id };
    return sessions.isRevoked(claims, "public") ? undefined : signIn;
  };

  /** The signed-in user that the request means, if there is exactly one. */
  const remembered = ({ accounts, tenantId }: Visit, asked: AuthorizeRequest): SignIn | undefined => {
    const { loginHint, domainHint, maxAge } = asked;
    // OpenID Connect Core §3.1.2.1: an age of nothing asks for a new sign-in.
    if (asked.prompt === "login" || asked.prompt === "select_account" || maxAge === 0) return undefined;
    const candidates = accounts.filter((account) => {
      const user = directory.findUser(account.userObjectId, account.tenantId);
      return (
        user !== undefined &&
        (tenantId === undefined || account.tenantId === tenantId) &&
        (loginHint === undefined || isNamed(user, loginHint)) &&
        isOfDomain(user, domainHint) &&
        (maxAge === undefined || now() / 1000 - account.at <= maxAge) &&
        !policies.isTooOld(account)
      );
    });
    if (candidates.length > 1 && asked.prompt === "none") throw new EntraRefusal(16000);
    return candidates.length === 1 ? candidates[0] : undefined;
  };

  const frameOf = ({ step, request }: Visit, changes: Partial<Step> = {}, fault?: string): StepFrame => ({
    action: `${request.baseUrl}/${encodeURIComponent(step.segment)}/login`,
    step: seals.seal("sign-in-step", { ...step, ...changes }),
    ...(fault === undefined ? {} : { fault }),
  });

  const showSignIn = (visit: Visit, fault?: string): Outcome => {
    const { parameters } = visit.step;
    const offers = parameters.prompt === "login" ? [] : visit.accounts;
    const signedIn = offers.flatMap(({ userObjectId, tenantId }) => {
      const user = directory.findUser(userObjectId, tenantId);
      return user === undefined || (visit.tenantId !== undefined && tenantId !== visit.tenantId)
        ? []
        : [user];
    });
    const others: User[] = [];
    for (const user of directory.users) {
      if (others.length === USERS_SHOWN) break;
      const isHere = visit.tenantId === undefined || user.tenantId === visit.tenantId;
      if (isHere && isOfDomain(user, parameters.domain_hint) && !signedIn.includes(user)) others.push(user);
    }
    signInPage(visit.response, frameOf(visit, {}, fault), {
      applicationName: visit.address.application.displayName,
      accounts: signedIn.map((user) => choiceOf("account", user, "signed in")),
      users: others.map((user) => choiceOf("user", user)),
      hint: parameters.login_hint ?? "",
    });
    return undefined;
  };

  const showSecondFactor = (visit: Visit, signIn: SignIn, user: User, fault?: string): Outcome => {
    secondFactorPage(visit.response, frameOf(visit, { signIn }, fault), user.displayName);
    return undefined;
  };

  const showConsent = (
    visit: Visit,
    signIn: SignIn,
    user: User,
    permissions: readonly Permissions[],
  ): Outcome => {
    const isForTenant = visit.step.purpose === "admin-consent";
    const isAdministrator = user.administrator === true;
    const lines = permissions.flatMap(linesOf);
    const frame = frameOf(visit, { signIn });
    if (!isAdministrator && (isForTenant || needsAdministrator(permissions, directory, user.tenantId))) {
      approvalPage(visit.response, frame, { userName: user.displayName, permissions: lines });
      return undefined;
    }
    consentPage(visit.response, frame, {
      userName: user.displayName,
      permissions: lines,
      wholeTenant: isForTenant ? "always" : isAdministrator ? "choice" : "never",
    });
    return undefined;
  };

  const showFault = (error: EntraRefusal, correlationId: string, request: Request, response: Response) => {
    const { body } = refusalAnswer(error, {
      traceId: correlationId,
      correlationId,
      at: now(),
      authorityHost: clouds.ofHost(request.get("host")).authorityHost,
    });
    faultPage(response, 400, String(body.error_description));
  };

  const refuse = (
    error: EntraRefusal,
    address: ReplyAddress,
    correlationId: string,
    request: Request,
    response: Response,
  ) => {
    const cloud = clouds.ofHost(request.get("host"));
    answerClient(response, address, refusalParameters(error, { at: now(), cloud, correlationId }));
  };

  const chooseUser = (visit: Visit, text: string): Outcome => {
    const found = [...directory.users].filter((user) => isNamed(user, text));
    const user = found.find(({ tenantId }) => tenantId === (visit.tenantId ?? tenantId));
    if (user === undefined) return showSignIn(visit, describe(found.length === 0 ? 50034 : 50020));
    if (directory.disabledUsers.has(user.objectId)) return showSignIn(visit, describe(50057));
    return goOn(visit, newSignIn(user, sessions, now));
  };

  const chooseAccount = (visit: Visit, userObjectId: string): Outcome => {
    const account = visit.accounts.find((each) => each.userObjectId === userObjectId);
    // An account whose session ended meanwhile has to be proved again.
    if (account === undefined || policies.isTooOld(account)) return showSignIn(visit);
    return proceed({ ...visit.step, signIn: account }, visit.request, visit.response, visit.accounts);
  };

  const giveSecondFactor = (visit: Visit, answer: string): Outcome => {
    const { signIn } = visit.step;
    if (signIn === undefined) return showSignIn(visit);
    if (answer === "cancel") throw new EntraRefusal(65004, { reason: "cancelled at the second factor" });
    const user = checkAccount(directory, signIn);
    if (answer !== "approve") return showSecondFactor(visit, signIn, user, describe(500121));
    const { requested } = readAuthorizeRequest(visit.step.parameters, visit.address, directory);
    const lacking = policies.lacking({
      grant: "authorize",
      tenantId: user.tenantId,
      clientId: visit.address.application.clientId,
      scopes: [],
      user,
      claims: signInClaims(signIn),
      requested,
    });
    return goOn(visit, withSecondFactor(signIn, lacking?.contexts ?? [], now));
  };

  const decideConsent = (visit: Visit, form: Parameters): Outcome => {
    const { step, address } = visit;
    if (step.signIn === undefined) return showSignIn(visit);
    if (form.consent === "leave") throw new EntraRefusal(90095);
    if (form.consent !== "accept") throw new EntraRefusal(65004);
    const user = checkAccount(directory, step.signIn);
    const isAdministrator = user.administrator === true;
    if (step.purpose === "admin-consent") {
      const permissions = tenantPermissions(visit, user);
      if (!isAdministrator) throw new EntraRefusal(90094);
      grantPermissions(permissions, directory, user, true);
      answerClient(visit.response, address, {
        admin_consent: "True",
        tenant: user.tenantId,
        scope: step.parameters.scope,
      });
      return 0;
    }
    const asked = readAuthorizeRequest(step.parameters, address, directory);
    const wanted = parseSignInScopes(asked.scopes, address.application, directory, user.tenantId);
    const permissions = requestedPermissions(address.application, wanted, directory);
    const missing = missingPermissions(address.application, wanted, directory, user);
    const decided = asked.prompt === "consent" ? permissions : missing;
    if (!isAdministrator && needsAdministrator(decided, directory, user.tenantId))
      throw new EntraRefusal(90094);
    grantPermissions(decided, directory, user, isAdministrator && form.organization === "true");
    return proceed({ ...step, consented: true }, visit.request, visit.response, visit.accounts);
  };

  /** A new proof is remembered by the browser, and the sign-in goes on with it. */
  const goOn = (visit: Visit, signIn: SignIn): Outcome => {
    browsers.add(visit.response, visit.accounts, signIn);
    return proceed({ ...visit.step, signIn }, visit.request, visit.response, visit.accounts);
  };

  const describe = (code: number) => {
    const { body } = refusalAnswer(new EntraRefusal(code), {
      traceId: "",
      correlationId: "",
      at: now(),
      authorityHost: clouds.own.authorityHost,
    });
    return String(body.error_description).split(" Trace ID")[0] ?? "";
  };

  return {
    begin(purpose, parameters, request, response) {
      const step: Step = {
        purpose,
        segment: String(request.params.tenant),
        parameters,
        beganAt: now(),
        correlationId: correlationOf(request, parameters["client-request-id"]),
      };
      return proceed(step, request, response);
    },
    advance(form, request, response) {
      const step = seals.open<Step>("sign-in-step", form.step ?? "");
      if (step === undefined || now() - step.beganAt > STEP_LIFETIME_MS) {
        showFault(new EntraRefusal(50089), correlationOf(request, undefined), request, response);
        return 50089;
      }
      return inVisit(step, request, response, browsers.read(request), (visit) => {
        if (form.mfa !== undefined) return giveSecondFactor(visit, form.mfa);
        if (form.consent !== undefined) return decideConsent(visit, form);
        if (form.account !== undefined) return chooseAccount(visit, form.account);
        if (form.user !== undefined) return chooseUser(visit, form.user);
        // "Sign in with an administrator's account": the same request, before a user was chosen.
        const { signIn: _, ...rest } = step;
        return showSignIn({ ...visit, step: rest });
      });
    },
    parametersOf: (form) => seals.open<Step>("sign-in-step", form.step ?? "")?.parameters ?? {},
  };
}

function isNamed({ name, userPrincipalName, objectId }: User, text: string): boolean {
  const wanted = text.trim().toLowerCase();
  return [name, userPrincipalName, objectId].some((each) => each.toLowerCase() === wanted);
}

/** `organizations` and `consumers` are no domains. */
function isOfDomain({ userPrincipalName }: User, domain: string | undefined): boolean {
  return (
    domain === undefined ||
    !domain.includes(".") ||
    userPrincipalName.toLowerCase().endsWith(`@${domain.toLowerCase()}`)
  );
}

function choiceOf(name: "account" | "user", user: User, state?: string): Choice {
  const detail = state === undefined ? user.userPrincipalName : `${user.userPrincipalName}, ${state}`;
  return {
    name,
    value: name === "account" ? user.objectId : user.userPrincipalName,
    label: user.displayName,
    detail,
  };
}

function linesOf({ application, resource, names }: Permissions): PermissionLine[] {
  return names.map((permission) => ({
    applicationName: application.displayName,
    resourceName: resource.displayName,
    permission,
    text: permissionText(permission),
  }));
}
