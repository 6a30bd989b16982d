/** AADSTS numbers that speak of what was asked for: the resource, the permissions, the user, or Entra itself. */

import type { AadstsRow, Situation } from "./aadsts.ts";
import { showApplication } from "./commands.ts";

const permission = ({ registration: { clientId } }: Situation) => [
  `az ad app permission list --id ${clientId}`,
  `az ad app permission add --id ${clientId} --api 00000003-0000-0000-c000-000000000000 ` +
    "--api-permissions e1fe6dd8-ba31-4d61-89e7-88639da4683d=Scope",
];
const consent = ({ registration: { clientId } }: Situation) => [
  `az ad app permission admin-consent --id ${clientId}`,
];
const exposed = ({ registration }: Situation) => [showApplication(registration)];

export const REQUEST_ROWS: readonly AadstsRow[] = [
  {
    numbers: [500011],
    meaning: "the tenant has no application behind the scope's resource",
    mend: "correct downstreamApis.<name>.scopes, or create that API's service principal in the tenant",
    commands: ({ resource }) => [
      `az ad sp list --filter "servicePrincipalNames/any(n:n eq '${resource.replaceAll(/[^\w:/.-]/g, "")}')" --query '[].appId'`,
    ],
  },
  {
    numbers: [650052, 650057, 65005],
    meaning: "the application does not list the scope's resource among its permissions",
    mend: "add the API's delegated permission (here Graph's User.Read) and consent",
    commands: (situation) => [...permission(situation), ...consent(situation)],
  },
  {
    numbers: [70011, 28002, 28000],
    meaning: "the scope is refused",
    mend: "use fully qualified scopes of one resource, such as https://graph.microsoft.com/.default",
    commands: exposed,
  },
  {
    numbers: [65001, 65004, 90094, 90095],
    meaning: "nobody consented to the gateway's delegated permissions",
    mend: "consent for the tenant, or let the user consent",
    commands: (situation) => [...permission(situation), ...consent(situation)],
  },
  {
    numbers: [50105],
    meaning: "the user is not assigned to the application",
    mend: "assign the user, or do not require assignment",
    commands: ({ registration: { clientId } }) => [
      `az ad sp update --id ${clientId} --set appRoleAssignmentRequired=false`,
    ],
  },
  {
    numbers: [500131],
    meaning: "the user's token was issued for another application than the gateway",
    mend: "ask for api://<client id>/access_as_user; App ID URIs are compared with their letter case",
    commands: exposed,
  },
  { numbers: [500133], meaning: "the user's token has expired", mend: "get a new token" },
  {
    numbers: [50013, 50027],
    meaning: "the user's token is refused as assertion",
    mend: "get a token for the gateway from this tenant and cloud",
    commands: exposed,
  },
  { numbers: [7000114], meaning: "an application's own token cannot be exchanged", mend: "sign a user in" },
  {
    numbers: [50072, 50074, 50076, 50078, 50079, 50158, 50097, 53000, 53001, 53002],
    meaning: "the gateway is accepted; this user has to sign in more strongly (MFA, device)",
    mend: "sign in with the claims of the challenge; callers get it as claims_challenged or interaction_required",
  },
  {
    numbers: [53003, 53004, 53010, 53011, 530032, 530035, 50131],
    meaning: "the gateway is accepted; Conditional Access blocks this user",
    mend: "look the trace id up in Entra's sign-in log",
  },
  {
    numbers: [50132, 50133, 50173, 70043, 700082],
    meaning: "the gateway is accepted; this user's session has ended",
    mend: "sign the user in again",
  },
  {
    numbers: [50020, 50034, 50057, 51004, 90072, 500212, 500213],
    meaning: "the gateway is accepted; this user's account cannot be used in the tenant",
    mend: "take another user, or have the account mended",
  },
  {
    numbers: [50196, 90055],
    meaning: "Entra is limiting requests",
    mend: "wait, and find out what repeats the same request",
  },
  {
    numbers: [90006, 90012, 90024, 90033, 90090, 50033],
    meaning: "Entra is not available at the moment",
    mend: "run the doctor again in a minute",
  },
];
