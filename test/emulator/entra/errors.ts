/** The AADSTS numbers that the token endpoint can answer, as data. */

export interface ErrorRow {
  readonly error: string;
  readonly suberror?: string;
  readonly status: number;
  /** Our own wording; clients must not read it. */
  readonly text: string;
  /**
   * How sure the row is: C seen in a recording of the real service, D documented, I quoted in an issue thread,
   * S from an SDK's source, M from memory. "status M" and "wire M" mark what a later capture may correct.
   */
  readonly grade: string;
  /** MFA-like rows come as their own error or as invalid_grant with suberror basic_action. */
  readonly twoSpellings?: true;
  /** Rows that Entra answers without `error_uri`. */
  readonly noErrorUri?: true;
}

const client = (grade: string, text: string): ErrorRow => ({
  error: "invalid_client",
  status: 401,
  text,
  grade,
});
const request = (grade: string, text: string): ErrorRow => ({
  error: "invalid_request",
  status: 400,
  text,
  grade,
});
const unauthorized = (grade: string, text: string): ErrorRow => ({
  error: "unauthorized_client",
  status: 400,
  text,
  grade,
});
const grant = (grade: string, text: string): ErrorRow => ({
  error: "invalid_grant",
  status: 400,
  text,
  grade,
});
const interaction = (grade: string, text: string): ErrorRow => ({
  error: "interaction_required",
  status: 400,
  text,
  grade,
  twoSpellings: true,
});
const busy = (grade: string, text: string, status = 503): ErrorRow => ({
  error: "temporarily_unavailable",
  status,
  text,
  grade,
});

export const ERRORS: Readonly<Record<number, ErrorRow>> = {
  // The client and its credential.
  7000215: client("C 2022, 2026", "The client secret is not the value of a registered secret."),
  7000222: client("D; status M", "The client secret has expired."),
  7000218: client("D; status M", "The body holds neither 'client_assertion' nor 'client_secret'."),
  700027: client(
    "C 2023, D",
    "The certificate that signed the client assertion is not registered, or the signature is wrong.",
  ),
  50012: client("D; status M", "The client assertion was refused."),
  50048: client("D; status M", "Subject and issuer of the client assertion differ."),
  700021: client("M", "The client assertion names another application than 'client_id'."),
  700023: client("M", "The audience of the client assertion is not this tenant's endpoint."),
  700024: client("I 2024-25; status M", "The client assertion is not within its valid time range."),
  7000214: client("S", "The certificate has been revoked."),
  7000277: client("S", "The credential is blocked."),
  7000274: client("S", "The credential is blocked by policy."),
  1000502: client("S", "The certificate is not within its validity period."),
  700030: client("D; status M", "The subject of the certificate is not authorised."),
  70025: client("M", "The application has no federated identity credential."),
  700211: client("I 2024-26", "No federated identity credential matches the assertion's issuer."),
  700213: client("I 2024-26", "No federated identity credential matches the assertion's subject."),
  700212: client("M", "No federated identity credential matches the assertion's audience."),
  7002137: client("I 2025", "The subject of the assertion has no acceptable form."),
  7002138: client("I 2025", "The subject of the assertion differs from the registered one in case only."),
  70021: request("C 2022", "No federated identity credential matches the assertion."),
  700229: client(
    "D; status M",
    "A federated credential with this authority as issuer needs an app-only token.",
  ),
  90061: {
    ...busy("I; wire M", "The external issuer could not be reached."),
    status: 400,
    error: "invalid_request",
  },
  700038: { ...unauthorized("C 2026", "The client id is not an application id."), noErrorUri: true },
  700016: unauthorized("D; status M", "The application was not found in the directory."),
  7000112: unauthorized("D; status M", "The application is disabled."),
  7000114: unauthorized("I, D", "The application may not exchange this assertion on behalf of a user."),

  // The request.
  70003: {
    error: "unsupported_grant_type",
    status: 400,
    text: "The grant type is not supported.",
    grade: "C 2026",
    noErrorUri: true,
  },
  900144: request("D; status M", "A parameter is missing in the request body."),
  9000411: request("M", "A parameter stands more than once in the request."),
  9001023: request("D; status M", "The grant type is not supported on a multi-tenant endpoint."),
  90124: request("D; status M", "The resource is not supported on a multi-tenant endpoint."),
  90130: request("D; status M", "The application is not supported on a multi-tenant endpoint."),
  50194: request("D; status M", "The application is not configured as multi-tenant."),
  90002: request("D; status M", "The tenant was not found."),
  90038: request("D; status M", "The tenant belongs to another cloud."),
  900382: request("D; status M", "The request crosses clouds."),
  900432: request("D; status M", "A confidential client may not ask across clouds."),
  50049: request("D; status M", "The instance is unknown."),
  500011: {
    error: "invalid_resource",
    status: 400,
    text: "The resource principal was not found in the tenant.",
    grade: "C 2026",
  },
  650052: client("D; error and status M", "The organisation has no subscription to the resource."),
  650057: {
    error: "invalid_resource",
    status: 400,
    text: "The application does not list this resource.",
    grade: "D; error and status M",
  },
  65005: {
    error: "invalid_resource",
    status: 400,
    text: "The application lacks a required resource.",
    grade: "D; error and status M",
  },
  70011: { error: "invalid_scope", status: 400, text: "A requested scope is not valid.", grade: "D" },
  28002: { error: "invalid_scope", status: 400, text: "A scope value is not valid.", grade: "D" },
  28000: { error: "invalid_scope", status: 400, text: "The scopes name more than one resource.", grade: "M" },

  // The user assertion.
  500131: grant("I 2026", "The assertion's audience is another application."),
  500133: grant("I 2026, D", "The assertion is not within its valid time range."),
  50013: grant("I 2019, 2025; D", "The assertion's signature or issuer was refused."),
  50027: grant("I 2019, 2025; D", "The assertion is no token of an accepted form."),

  // The user and policies.
  50076: interaction("D; second spelling S", "The user must use multi-factor authentication."),
  50079: interaction("D; second spelling S", "The user must register for multi-factor authentication."),
  50072: interaction("D; spelling M", "The user must enrol for multi-factor authentication."),
  50074: interaction("D; spelling M", "Strong authentication is required and failed."),
  50078: interaction("D; spelling M", "The multi-factor authentication is too old."),
  50158: interaction("D; spelling M", "An external challenge is not satisfied."),
  50097: interaction("D; spelling M", "Device authentication is required."),
  53000: interaction("D; spelling M", "The device is not compliant."),
  53001: interaction("D; spelling M", "The device is not joined to the domain."),
  53002: interaction("D; spelling M", "The application is not an approved one."),
  53003: { ...grant("D; wire M", "Conditional Access blocks the access."), suberror: "message_only" },
  530032: { ...grant("D; wire M", "Security policy blocks the access."), suberror: "message_only" },
  530035: { ...grant("D; wire M", "Security defaults block the access."), suberror: "message_only" },
  50131: {
    ...grant("D; wire M", "Conditional Access blocks the device or location."),
    suberror: "message_only",
  },
  53004: grant("D; wire M", "Multi-factor registration is blocked because of suspicious activity."),
  53010: grant("D; wire M", "Multi-factor registration is not possible from here."),
  53011: grant("D; wire M", "The user is blocked because of risk in the home tenant."),
  50105: grant("D; wire M", "The user is not assigned to the application."),
  65001: { ...grant("S, I, D", "Consent to the application is missing."), suberror: "consent_required" },
  65004: grant("D; wire M", "The user declined to consent."),
  90094: grant("D; wire M", "An administrator must consent."),
  90095: grant("D; wire M", "An administrator must consent after a request."),
  50173: {
    ...grant("C 2021", "The grant has been revoked; a fresh token is needed."),
    suberror: "bad_token",
  },
  50132: grant("D", "The session ended after a password change."),
  50133: grant("D", "The session was revoked."),
  70043: { ...grant("I 2023", "The session ended by sign-in frequency."), suberror: "token_expired" },
  700082: grant("D", "The session ended by inactivity."),
  50057: grant("D; wire M", "The user account is disabled."),
  50034: grant("D; wire M", "The user is not in the directory."),
  51004: grant("D; wire M", "The user is not in the directory."),
  50020: grant("D; wire M", "The user of another tenant is no guest here."),
  90072: grant("D; wire M", "The external user is not in this tenant."),
  500212: grant("D; wire M", "The home tenant's policy forbids access to this tenant."),
  500213: grant("D; wire M", "This tenant's policy forbids access by that tenant."),
  50196: grant("D, I; wire M", "The same request was repeated too fast."),

  // The authority itself.
  90055: busy("D; wire M", "Too many requests in this tenant.", 429),
  90033: busy("D (names)", "A transient error occurred."),
  90006: busy("D (names)", "An external server is not available."),
  90012: busy("D (names)", "The request timed out."),
  90024: busy("D (names)", "A request budget is exceeded."),
  50033: busy("D (names)", "A retryable error occurred."),
  90090: busy("D (names)", "A dependency failed."),
};

/** Of the authorize endpoint and of what redeems its codes; a middle tier that only exchanges never meets them. */
export const SIGN_IN_ERRORS: Readonly<Record<number, ErrorRow>> = {
  50011: request("D; status of the page M", "The redirect URI is not registered for the application."),
  500113: request("D; status of the page M", "No redirect URI is registered for the application."),
  500112: { ...client("M", "The redirect URI is not the one of the authorization request."), status: 400 },
  700054: {
    error: "unsupported_response_type",
    status: 400,
    text: "The response type is not enabled for the application.",
    grade: "D; wire M",
  },
  70007: request("D; wire M", "The response mode is not supported."),
  90023: request("M", "A parameter has a value that is not supported."),
  9002325: request("I; wire M", "A code challenge is required to redeem the code from a page or a device."),
  50149: request("D; wire M", "The code challenge method is not supported."),
  501491: request("D; wire M", "The code challenge or verifier has a wrong size."),
  9002326: request(
    "C 2022",
    "A request from another origin may redeem only codes of a single-page application.",
  ),
  9002327: request("I 2020", "Tokens of a single-page application are redeemed from its own origin only."),
  700025: client("D; status M", "The client is public, so it must not present a credential."),
  501481: grant("I 2020, 2024", "The code verifier does not match the code challenge."),
  50148: grant("I 2021, 2022", "The code verifier is missing for the code challenge."),
  54005: grant("D; wire M", "The authorization code was already redeemed."),
  70008: grant("D; wire M", "The authorization code has expired."),
  70000: grant("D; wire M", "The code or refresh token is not valid for this request."),
  9002313: grant("M", "The request is malformed or invalid."),
  700084: {
    ...grant("I 2022; suberror cut in the source", "The refresh token of a single-page application ended."),
    suberror: "bad_token",
  },
  50058: { error: "login_required", status: 400, text: "No user is signed in.", grade: "D, I" },
  16000: {
    error: "interaction_required",
    status: 400,
    text: "Several users are signed in.",
    grade: "D; wire M",
  },
  500121: { ...interaction("D; wire M", "The second factor was refused."), error: "access_denied" },
  50089: request("D; wire M", "The sign-in took too long, or the page belongs to another sign-in."),
  // Reported for clients of the Model Context Protocol; not confirmed.
  9010010: {
    error: "invalid_target",
    status: 400,
    text: "The 'resource' parameter does not match the requested scopes.",
    grade: "I 2026",
  },
  90009: request(
    "I 2022-26",
    "The application asks for a token for itself and does not name itself by its GUID.",
  ),
  650053: {
    error: "invalid_client",
    status: 400,
    text: "A requested scope does not exist on the resource.",
    grade: "I 2026; error M",
  },
};

export function errorRow(code: number): ErrorRow | undefined {
  return ERRORS[code] ?? SIGN_IN_ERRORS[code];
}
