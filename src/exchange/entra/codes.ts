/** The AADSTS table: Entra's numbers with who must act and how, as data for the exchange, the doctor and the docs. */

import type { GatewayErrorCode } from "../../errors.ts";

/** The refusals that an exchange can end in because of the authority's answer. */
export type RefusalCode = Extract<
  GatewayErrorCode,
  | "token_rejected"
  | "user_token_required"
  | "claims_challenged"
  | "interaction_required"
  | "consent_required"
  | "admin_consent_required"
  | "blocked_by_policy"
  | "not_assigned"
  | "tenant_not_onboarded"
  | "delegation_ended"
  | "client_rejected"
  | "downstream_misconfigured"
  | "authority_unavailable"
  | "authority_throttled"
  | "authority_timeout"
>;

/**
 * Where a row is known from: `captured` from the real service; `documented` in Entra's reference-error-codes;
 * `sdk` from the source of Microsoft's libraries (MSAL, microsoft-identity-web); `reported` in a public issue or by
 * users; `uncertain` where the number is known and its meaning in a token request is inferred.
 */
export type Source = "captured" | "documented" | "sdk" | "reported" | "uncertain";

/** Names of the doctor's commands that help; `doctor/aadsts.ts` writes them out for a registration. */
export type RemedyCommand =
  | "federated-credentials"
  | "certificates"
  | "signing-credential"
  | "secret"
  | "service-principal"
  | "application-id"
  | "enable-service-principal"
  | "tenant"
  | "clock"
  | "oidc-issuer"
  | "resource"
  | "permissions"
  | "exposed-api"
  | "assignment";

export interface AadstsEntry {
  readonly numbers: readonly number[];
  /** The gateway's answer; who must act follows from it (`ACTOR_OF`). */
  readonly code: RefusalCode;
  /** Short stable label for logs and metrics. */
  readonly reason: string;
  readonly source: Source;
  /** One clause, for an operator. */
  readonly meaning: string;
  readonly fix: string;
  readonly commands?: RemedyCommand;
  /**
   * Beyond this one request: the `session` behind the assertion has ended; the `user` cannot use the tenant; both lose
   * every cached token. The `credential` may have another proof to offer; the whole `tenant` is throttled, or just
   * this user's `scopes`.
   */
  readonly concerns?: "session" | "user" | "credential" | "tenant" | "scopes";
}

const SIGN_IN = "sign the user in again";
const STRONGER =
  "sign in with the claims of the challenge; callers get it as claims_challenged or interaction_required";
const SIGN_IN_LOG = "look the trace id up in Entra's sign-in log";
const CONSENT = "consent for the tenant, or let the user consent";
const ACCOUNT = "take another user, or have the tenant's administrator repair the account";
const PROXY = "find the proxy that changes request bodies on the way to Entra";
const WAIT = "run the doctor again in a minute";
const BYTE_BY_BYTE = "write the subject in the credential exactly as it stands in the token";
const TENANT_ENDPOINT = "set AZURE_TENANT_ID to the tenant's id";
const CLOUD = "set AZURE_AUTHORITY_HOST to that cloud's host";
const SCOPES = "use fully qualified scopes of one resource, such as https://graph.microsoft.com/.default";
const REGISTRATION = "correct that API's app registration, or ask its publisher to";

/**
 * Microsoft changes numbers and texts without notice (reference-error-codes), so an unknown number is never a fault:
 * `error` and `suberror` then decide. `tenant_not_onboarded` reads as `client_rejected` in the gateway's home tenant.
 */
export const AADSTS: readonly AadstsEntry[] = [
  // The caller's token.
  {
    numbers: [500133],
    code: "token_rejected",
    reason: "assertion_expired",
    source: "documented",
    meaning: "the user's token has expired",
    fix: "get a new token",
  },
  {
    numbers: [50013, 50027],
    code: "token_rejected",
    reason: "assertion_refused",
    source: "documented",
    meaning: "the user's token is refused as assertion",
    fix: "get a token for the gateway from this tenant and cloud",
    commands: "exposed-api",
  },
  {
    numbers: [50006, 900384, 90016],
    code: "token_rejected",
    reason: "assertion_refused",
    source: "uncertain",
    meaning: "the user's token is refused as assertion: its signature does not fit, or a claim is missing",
    fix: "get a token for the gateway from this tenant and cloud",
    commands: "exposed-api",
  },
  {
    numbers: [240002],
    code: "token_rejected",
    reason: "assertion_refused",
    source: "documented",
    meaning: "an ID token was sent where an access token is needed",
    fix: "ask for an access token for the gateway's scope",
    commands: "exposed-api",
  },
  {
    numbers: [500131],
    code: "client_rejected",
    reason: "assertion_audience",
    source: "reported",
    meaning: "the user's token was issued for another application than the gateway",
    fix: "ask for api://<client id>/access_as_user; App ID URIs are compared with their letter case",
    commands: "exposed-api",
  },
  {
    numbers: [7000114],
    code: "user_token_required",
    reason: "app_only_assertion",
    source: "documented",
    meaning: "an application's own token cannot be exchanged",
    fix: "sign a user in",
  },

  // Consent.
  {
    numbers: [65001],
    code: "consent_required",
    reason: "consent_missing",
    source: "documented",
    meaning: "the gateway's delegated permissions lack consent",
    fix: CONSENT,
    commands: "permissions",
  },
  {
    numbers: [65004],
    code: "consent_required",
    reason: "consent_declined",
    source: "documented",
    meaning: "the user declined to consent to the gateway's delegated permissions",
    fix: CONSENT,
    commands: "permissions",
  },
  {
    numbers: [90008],
    code: "consent_required",
    reason: "consent_missing",
    source: "documented",
    meaning: "the application lacks consent even for signing in and reading the profile",
    fix: CONSENT,
    commands: "permissions",
  },
  {
    numbers: [90094, 90095],
    code: "admin_consent_required",
    reason: "admin_consent_missing",
    source: "documented",
    meaning: "an administrator has to consent to the gateway's delegated permissions",
    fix: "let an administrator consent for the tenant",
    commands: "permissions",
  },
  {
    numbers: [90099],
    code: "admin_consent_required",
    reason: "partner_consent_missing",
    source: "documented",
    meaning: "the application is not authorized for delegated administrators of a partner",
    fix: "authorize it in the customer's tenant, or by the Partner Center API",
  },

  // The user has to sign in again, or more strongly.
  {
    numbers: [50072, 50074, 50076, 50078, 50079],
    code: "interaction_required",
    reason: "mfa_required",
    source: "documented",
    meaning: "the gateway is accepted; this user has to sign in more strongly (MFA)",
    fix: STRONGER,
  },
  {
    numbers: [50087, 50088, 50086],
    code: "interaction_required",
    reason: "mfa_interrupted",
    source: "documented",
    meaning: "the gateway is accepted; this user's second factor could not be checked",
    fix: SIGN_IN,
  },
  {
    numbers: [50158],
    code: "interaction_required",
    reason: "external_challenge",
    source: "documented",
    meaning: "the gateway is accepted; this user has to satisfy an external provider's challenge",
    fix: STRONGER,
  },
  {
    numbers: [50097, 53000, 53001, 53002],
    code: "interaction_required",
    reason: "device_required",
    source: "documented",
    meaning:
      "the gateway is accepted; this user has to sign in from a compliant or joined device, or an approved app",
    fix: STRONGER,
  },
  {
    numbers: [50127, 50129, 50155, 50187],
    code: "interaction_required",
    reason: "device_required",
    source: "documented",
    meaning: "the gateway is accepted; this user's device is not registered, or could not prove itself",
    fix: "sign in from a device that is registered with the tenant",
  },
  {
    numbers: [530002, 530003],
    code: "interaction_required",
    reason: "device_required",
    source: "reported",
    meaning: "the gateway is accepted; this user needs a device that is managed and compliant",
    fix: `sign in from a managed device; ${SIGN_IN_LOG}`,
  },
  {
    numbers: [53009],
    code: "interaction_required",
    reason: "device_required",
    source: "uncertain",
    meaning: "the gateway is accepted; this user needs an app with an app protection policy",
    fix: `sign in from an app that Intune protects; ${SIGN_IN_LOG}`,
  },
  {
    numbers: [50055, 50144, 50135, 50125],
    code: "interaction_required",
    reason: "password_change",
    source: "documented",
    meaning: "the gateway is accepted; this user has to change the password, or register to do so",
    fix: SIGN_IN,
  },
  {
    numbers: [50056, 50064, 50126],
    code: "interaction_required",
    reason: "password_refused",
    source: "documented",
    meaning: "the gateway is accepted; this user's password is not",
    fix: SIGN_IN,
  },
  {
    numbers: [50015, 50058, 50085, 50140, 50143, 50168, 50197, 50199, 51006, 700020],
    code: "interaction_required",
    reason: "sign_in_interrupted",
    source: "documented",
    meaning: "the gateway is accepted; this user has to complete a sign-in",
    fix: SIGN_IN,
  },
  {
    numbers: [50173],
    code: "interaction_required",
    reason: "session_ended",
    source: "captured",
    meaning: "the gateway is accepted; this user's session has ended",
    fix: SIGN_IN,
    concerns: "session",
  },
  {
    numbers: [50132, 50133, 50139, 70008, 70043, 700082, 700084],
    code: "interaction_required",
    reason: "session_ended",
    source: "documented",
    meaning: "the gateway is accepted; this user's session has ended",
    fix: SIGN_IN,
    concerns: "session",
  },
  {
    numbers: [70000, 50089],
    code: "interaction_required",
    reason: "grant_refused",
    source: "documented",
    meaning: "the gateway is accepted; the grant behind this user's session is not valid any more",
    fix: SIGN_IN,
  },

  // A policy stands in the user's way.
  {
    numbers: [53003, 530032, 530035, 50131, 50005],
    code: "blocked_by_policy",
    reason: "conditional_access",
    source: "documented",
    meaning: "the gateway is accepted; Conditional Access blocks this user",
    fix: SIGN_IN_LOG,
  },
  {
    numbers: [53004, 53010, 53011, 530034],
    code: "blocked_by_policy",
    reason: "risk",
    source: "documented",
    meaning: "the gateway is accepted; Conditional Access blocks this user because of risk",
    fix: SIGN_IN_LOG,
  },
  {
    numbers: [50161, 50177, 50178, 54000],
    code: "blocked_by_policy",
    reason: "policy",
    source: "documented",
    meaning: "the gateway is accepted; a policy of the tenant cannot be satisfied by this user",
    fix: SIGN_IN_LOG,
  },
  {
    numbers: [135011],
    code: "blocked_by_policy",
    reason: "device_disabled",
    source: "documented",
    meaning: "the gateway is accepted; the device that this user signed in with is disabled",
    fix: "enable the device, or sign in from another one",
  },
  {
    numbers: [50105],
    code: "not_assigned",
    reason: "not_assigned",
    source: "documented",
    meaning: "the user is not assigned to the application",
    fix: "assign the user, or do not require assignment",
    commands: "assignment",
  },
  {
    numbers: [50053],
    code: "blocked_by_policy",
    reason: "account_locked",
    source: "documented",
    meaning: "the gateway is accepted; this user's account is locked, or its address is known for attacks",
    fix: SIGN_IN_LOG,
  },
  {
    numbers: [16000, 16003, 50014, 50020, 50034, 50057, 51004, 90072, 500212, 500213],
    code: "blocked_by_policy",
    reason: "account_unusable",
    source: "documented",
    meaning: "the gateway is accepted; this user's account cannot be used in the tenant",
    fix: ACCOUNT,
    concerns: "user",
  },
  {
    numbers: [1000104],
    code: "blocked_by_policy",
    reason: "cross_cloud",
    source: "documented",
    meaning: "the gateway is accepted; this user's home tenant does not allow the resource's cloud",
    fix: ACCOUNT,
  },
  {
    numbers: [90093, 90123],
    code: "blocked_by_policy",
    reason: "policy",
    source: "uncertain",
    meaning: "the gateway is accepted; the directory or the identity provider denies this user",
    fix: SIGN_IN_LOG,
  },

  // The tenant.
  {
    numbers: [700016],
    code: "tenant_not_onboarded",
    reason: "application_unknown",
    source: "documented",
    meaning: "this tenant does not know the application",
    fix: "check AZURE_CLIENT_ID and AZURE_TENANT_ID; create the service principal where it is missing",
    commands: "service-principal",
  },
  {
    numbers: [700011],
    code: "tenant_not_onboarded",
    reason: "application_unknown",
    source: "documented",
    meaning: "this tenant does not know the application",
    fix: "check AZURE_CLIENT_ID and AZURE_TENANT_ID; create the service principal where it is missing",
    commands: "service-principal",
  },
  {
    numbers: [90002],
    code: "tenant_not_onboarded",
    reason: "tenant_unknown",
    source: "documented",
    meaning: "there is no such tenant in this cloud",
    fix: "check AZURE_TENANT_ID, and AZURE_AUTHORITY_HOST for a national cloud",
    commands: "tenant",
  },

  // The operator: the gateway's own credential.
  {
    numbers: [7000215],
    code: "client_rejected",
    reason: "secret_wrong",
    source: "captured",
    meaning: "the client secret is wrong; often the secret's id was copied instead of its value",
    fix: "set AZURE_CLIENT_SECRET to a secret's value",
    commands: "secret",
    concerns: "credential",
  },
  {
    numbers: [70002],
    code: "client_rejected",
    reason: "secret_wrong",
    source: "documented",
    meaning: "the client secret is wrong",
    fix: "set AZURE_CLIENT_SECRET to a secret's value",
    commands: "secret",
    concerns: "credential",
  },
  {
    numbers: [7000222],
    code: "client_rejected",
    reason: "secret_expired",
    source: "documented",
    meaning: "the client secret has expired",
    fix: "make a new one and set AZURE_CLIENT_SECRET, or better use a federated token or a certificate",
    commands: "secret",
    concerns: "credential",
  },
  {
    numbers: [7000218],
    code: "client_rejected",
    reason: "credential_absent",
    source: "documented",
    meaning: "the request reached Entra without the gateway's credential",
    fix: PROXY,
    concerns: "credential",
  },
  {
    numbers: [7000216],
    code: "client_rejected",
    reason: "credential_absent",
    source: "reported",
    meaning: "the request reached Entra without the gateway's credential",
    fix: PROXY,
    concerns: "credential",
  },
  {
    numbers: [700025],
    code: "client_rejected",
    reason: "public_client",
    source: "documented",
    meaning: "the registration says that the gateway is a public client, which has no credential",
    fix: "switch 'allow public client flows' off in the registration",
    commands: "service-principal",
  },
  {
    numbers: [7000232],
    code: "client_rejected",
    reason: "credential_kind",
    source: "reported",
    meaning: "AZURE_CLIENT_ID is that of a managed identity, which cannot authenticate with a secret",
    fix: "set AZURE_CLIENT_ID to the gateway's own registration",
    commands: "service-principal",
    concerns: "credential",
  },
  {
    numbers: [700027],
    code: "client_rejected",
    reason: "certificate_unregistered",
    source: "captured",
    meaning:
      "the certificate is not registered with the application, or its key does not match the registered one",
    fix: "compare the thumbprints, and register this certificate",
    commands: "certificates",
    concerns: "credential",
  },
  {
    numbers: [50012],
    code: "client_rejected",
    reason: "client_assertion_refused",
    source: "documented",
    meaning: "the client assertion's signature or chain is refused",
    fix: "register exactly the certificate or the issuer whose key signed it",
    commands: "signing-credential",
    concerns: "credential",
  },
  {
    numbers: [50048],
    code: "client_rejected",
    reason: "client_assertion_refused",
    source: "documented",
    meaning: "the client assertion names another application than AZURE_CLIENT_ID",
    fix: "set AZURE_CLIENT_ID to the gateway's own registration",
    commands: "service-principal",
    concerns: "credential",
  },
  {
    numbers: [700021],
    code: "client_rejected",
    reason: "client_assertion_refused",
    source: "reported",
    meaning: "the client assertion names another application than AZURE_CLIENT_ID",
    fix: "set AZURE_CLIENT_ID to the gateway's own registration",
    commands: "service-principal",
    concerns: "credential",
  },
  {
    numbers: [700023],
    code: "client_rejected",
    reason: "client_assertion_refused",
    source: "uncertain",
    meaning:
      "the client assertion was made for another tenant or cloud (with error invalid_scope instead: the scope names no resource)",
    fix: "check AZURE_TENANT_ID and AZURE_AUTHORITY_HOST",
    commands: "tenant",
    concerns: "credential",
  },
  {
    numbers: [50032],
    code: "client_rejected",
    reason: "key_weak",
    source: "documented",
    meaning: "the certificate's RSA key is too short",
    fix: "register a certificate with a key of at least 2048 bits",
    commands: "certificates",
    concerns: "credential",
  },
  {
    numbers: [700024],
    code: "client_rejected",
    reason: "client_assertion_outdated",
    source: "reported",
    meaning: "the client assertion is outside its validity: a stale token file, or a clock that is off",
    fix: "see that the token file is still renewed and that this machine's clock is right",
    commands: "clock",
    concerns: "credential",
  },
  {
    numbers: [7000214, 1000502],
    code: "client_rejected",
    reason: "credential_revoked",
    source: "sdk",
    meaning: "the certificate is revoked or outside its validity",
    fix: "register a new certificate and put its file in place",
    commands: "certificates",
    concerns: "credential",
  },
  {
    numbers: [7000277, 7000274],
    code: "client_rejected",
    reason: "credential_revoked",
    source: "sdk",
    meaning: "the credential is blocked",
    fix: "ask the tenant's administrator; then register a new one",
    commands: "certificates",
    concerns: "credential",
  },
  {
    numbers: [700030],
    code: "client_rejected",
    reason: "client_assertion_refused",
    source: "documented",
    meaning: "the certificate's subject is not authorised for this application",
    fix: "trust its subject name and issuer in the registration, and set AZURE_CLIENT_SEND_CERTIFICATE_CHAIN=true",
    commands: "certificates",
    concerns: "credential",
  },
  {
    numbers: [70025],
    code: "client_rejected",
    reason: "federated_credential_unmatched",
    source: "reported",
    meaning: "the application has no federated credential at all",
    fix: "add one with the token's own issuer, subject and audience",
    commands: "federated-credentials",
    concerns: "credential",
  },
  {
    numbers: [700211],
    code: "client_rejected",
    reason: "federated_credential_unmatched",
    source: "reported",
    meaning: "no federated credential of the application has this issuer",
    fix: "copy the issuer as it stands in the token, trailing slash included",
    commands: "federated-credentials",
    concerns: "credential",
  },
  {
    numbers: [700212],
    code: "client_rejected",
    reason: "federated_credential_unmatched",
    source: "uncertain",
    meaning: "no federated credential of the application has this audience",
    fix: "use one audience in both: the token's and the credential's",
    commands: "federated-credentials",
    concerns: "credential",
  },
  {
    numbers: [700213],
    code: "client_rejected",
    reason: "federated_credential_unmatched",
    source: "reported",
    meaning: "no federated credential of the application has this subject",
    fix: "copy the subject as it stands in the token: system:serviceaccount:<namespace>:<service account>",
    commands: "federated-credentials",
    concerns: "credential",
  },
  {
    numbers: [7002138],
    code: "client_rejected",
    reason: "federated_credential_unmatched",
    source: "reported",
    meaning: "the subject differs from the federated credential's in letter case only",
    fix: BYTE_BY_BYTE,
    commands: "federated-credentials",
    concerns: "credential",
  },
  {
    numbers: [7002137],
    code: "client_rejected",
    reason: "federated_credential_unmatched",
    source: "reported",
    meaning: "the subject has a form that the federated credential does not allow",
    fix: BYTE_BY_BYTE,
    commands: "federated-credentials",
    concerns: "credential",
  },
  {
    numbers: [70021],
    code: "client_rejected",
    reason: "federated_credential_unmatched",
    source: "captured",
    meaning: "no federated credential has this issuer, subject and audience together",
    fix: "compare the three byte by byte",
    commands: "federated-credentials",
    concerns: "credential",
  },
  {
    numbers: [700229],
    code: "client_rejected",
    reason: "federated_credential_unmatched",
    source: "documented",
    meaning: "the federated credential trusts Entra itself and was given a user's token",
    fix: "use the token of a user-assigned managed identity, or a service account's",
    concerns: "credential",
  },

  // The operator: registration, configuration, and what lies between the gateway and Entra.
  {
    numbers: [700038],
    code: "client_rejected",
    reason: "client_id_malformed",
    source: "captured",
    meaning: "AZURE_CLIENT_ID is not an application id",
    fix: "set it to the application (client) id, not to an object id",
    commands: "application-id",
  },
  {
    numbers: [70003],
    code: "client_rejected",
    reason: "grant_unsupported",
    source: "captured",
    meaning: "the token request arrived changed",
    fix: PROXY,
  },
  {
    numbers: [900144, 90004, 90014, 90023, 90100, 90121, 900561, 901002, 9002313],
    code: "client_rejected",
    reason: "request_altered",
    source: "documented",
    meaning: "the token request arrived changed",
    fix: PROXY,
  },
  {
    numbers: [9000411],
    code: "client_rejected",
    reason: "request_altered",
    source: "reported",
    meaning: "the token request arrived changed: a parameter stands in it twice",
    fix: PROXY,
  },
  {
    numbers: [7000112, 70001],
    code: "client_rejected",
    reason: "application_disabled",
    source: "documented",
    meaning: "the application is disabled in this tenant",
    fix: "enable its service principal",
    commands: "enable-service-principal",
  },
  {
    numbers: [1000031],
    code: "client_rejected",
    reason: "application_disabled",
    source: "uncertain",
    meaning: "the application cannot be accessed in this tenant",
    fix: "ask the tenant's administrator whether it is blocked",
    commands: "enable-service-principal",
  },
  {
    numbers: [65002],
    code: "client_rejected",
    reason: "client_id_foreign",
    source: "documented",
    meaning: "AZURE_CLIENT_ID is that of an application of Microsoft's",
    fix: "register an application and set AZURE_CLIENT_ID to it",
    commands: "application-id",
  },
  {
    numbers: [50059, 50128, 90019, 90124, 90130, 50194, 9001023, 9002332, 90027],
    code: "client_rejected",
    reason: "endpoint_unsuitable",
    source: "documented",
    meaning: "the request needs the tenant's own endpoint",
    fix: TENANT_ENDPOINT,
    commands: "tenant",
  },
  {
    numbers: [90038, 900382, 900432, 50049, 90043, 90051],
    code: "client_rejected",
    reason: "cloud_mismatch",
    source: "documented",
    meaning: "tenant or application live in another cloud",
    fix: CLOUD,
    commands: "tenant",
  },
  {
    numbers: [500208],
    code: "client_rejected",
    reason: "cloud_mismatch",
    source: "uncertain",
    meaning:
      "the tenant is of another kind than the host serves, such as an External ID tenant at the workforce host",
    fix: "set AZURE_AUTHORITY_HOST to the tenant's own host, such as https://<name>.ciamlogin.com/",
    commands: "tenant",
  },
  {
    numbers: [50002, 500021, 500022],
    code: "client_rejected",
    reason: "tenant_restrictions",
    source: "documented",
    meaning: "tenant restrictions that a proxy on the way to Entra imposes do not list this tenant",
    fix: "let the gateway's requests pass that proxy without Restrict-Access-To-Tenants, or add the tenant there",
  },
  {
    numbers: [100007],
    code: "client_rejected",
    reason: "regional_authority",
    source: "documented",
    meaning: "the regional token endpoint does not serve this application",
    fix: "unset AZURE_REGIONAL_AUTHORITY_NAME",
  },
  {
    numbers: [67003, 51000],
    code: "client_rejected",
    reason: "feature_disabled",
    source: "uncertain",
    meaning: "the tenant does not let this application use the grant",
    fix: "ask the tenant's administrator",
    commands: "service-principal",
  },
  {
    numbers: [500011],
    code: "downstream_misconfigured",
    reason: "resource_unknown",
    source: "captured",
    meaning: "the tenant has no application behind the scope's resource",
    fix: "correct downstreamApis.<name>.scopes, or create that API's service principal in the tenant",
    commands: "resource",
  },
  {
    numbers: [50001],
    code: "downstream_misconfigured",
    reason: "resource_unknown",
    source: "documented",
    meaning: "the scope's resource is disabled in the tenant, or does not exist",
    fix: "correct downstreamApis.<name>.scopes, or enable that API's service principal in the tenant",
    commands: "resource",
  },
  {
    numbers: [500014],
    code: "downstream_misconfigured",
    reason: "resource_disabled",
    source: "reported",
    meaning:
      "the service principal of the scope's resource is disabled, often because a subscription has lapsed",
    fix: "renew the subscription, or enable that service principal",
    commands: "resource",
  },
  {
    numbers: [650052, 650056, 650057, 65005],
    code: "downstream_misconfigured",
    reason: "resource_unknown",
    source: "documented",
    meaning: "the application does not list the scope's resource among its permissions",
    fix: "add the API's delegated permission (here Graph's User.Read) and consent",
    commands: "permissions",
  },
  {
    numbers: [650054],
    code: "downstream_misconfigured",
    reason: "resource_unknown",
    source: "documented",
    meaning: "the resource behind a permission of the application has been removed",
    fix: "remove that permission from the registration, or restore the API's service principal",
    commands: "permissions",
  },
  {
    numbers: [501051],
    code: "downstream_misconfigured",
    reason: "application_not_assigned",
    source: "reported",
    meaning: "the API admits only applications with a role, and the gateway has none",
    fix: "assign one of the API's application roles to the gateway, or do not require assignment",
    commands: "permissions",
  },
  {
    numbers: [70011, 28002, 28003],
    code: "downstream_misconfigured",
    reason: "scope_refused",
    source: "documented",
    meaning: "the scope is refused",
    fix: SCOPES,
    commands: "exposed-api",
  },
  {
    numbers: [700022],
    code: "downstream_misconfigured",
    reason: "scopes_of_two_resources",
    source: "documented",
    meaning: "the scopes are of more than one resource",
    fix: SCOPES,
    commands: "exposed-api",
  },
  {
    numbers: [28000],
    code: "downstream_misconfigured",
    reason: "scopes_of_two_resources",
    source: "reported",
    meaning: "the scopes are of more than one resource",
    fix: SCOPES,
    commands: "exposed-api",
  },
  {
    numbers: [90009],
    code: "downstream_misconfigured",
    reason: "scope_refused",
    source: "documented",
    meaning: "the scope names the gateway's own registration by its URI",
    fix: "write the scope with the application id: <client id>/.default",
  },
  {
    numbers: [50003, 50007, 50010, 50146, 501461, 50042, 501241, 50124],
    code: "downstream_misconfigured",
    reason: "resource_registration",
    source: "documented",
    meaning:
      "the API's app registration lacks something that Entra needs to issue a token: a key, an audience, a claim",
    fix: REGISTRATION,
    commands: "resource",
  },

  // The authority.
  {
    numbers: [90055],
    code: "authority_throttled",
    reason: "tenant_throttled",
    source: "documented",
    meaning: "Entra is limiting the tenant's requests",
    fix: "wait, and find out what asks so often",
    concerns: "tenant",
  },
  {
    numbers: [50196],
    code: "authority_throttled",
    reason: "loop_detected",
    source: "documented",
    meaning: "Entra sees the same request repeated too often",
    fix: "wait, and find out what repeats the same request",
    concerns: "scopes",
  },
  {
    numbers: [90061],
    code: "authority_unavailable",
    reason: "issuer_unreachable",
    source: "reported",
    meaning: "Entra cannot read the discovery document of the token's issuer",
    fix: "see that the issuer's document is reachable from the internet; on AKS switch its OIDC issuer on",
    commands: "oidc-issuer",
  },
  {
    numbers: [90006, 90012, 90024, 90033, 90090, 50033],
    code: "authority_unavailable",
    reason: "transient",
    source: "documented",
    meaning: "Entra is not available at the moment",
    fix: WAIT,
  },
  {
    numbers: [50000, 40010, 70012, 90036, 90091, 90092, 50166, 230109],
    code: "authority_unavailable",
    reason: "service_failure",
    source: "documented",
    meaning: "Entra, or a service that it asks, failed",
    fix: WAIT,
  },
];
