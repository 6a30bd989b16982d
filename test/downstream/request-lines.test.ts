/** Request lines as SDKs, explorers and hand-written code write them: each reaches the API byte for byte, or is refused for a documented reason. */

import { once } from "node:events";
import { readFileSync } from "node:fs";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { DownstreamApiOptions } from "../../src/downstream/contract.ts";
import { createForward } from "../../src/downstream/forward.ts";
import { compileTarget } from "../../src/downstream/target/downstream-api.ts";
import { createTransport } from "../../src/downstream/transport/pool.ts";
import { GatewayError } from "../../src/errors.ts";
import { Secret } from "../../src/foundation/secret.ts";
import { apiAt, LIMITS } from "./api-options.ts";
import { NO_SHARES } from "./support.ts";

const GRAPH = `
GET /me
GET /me?$select=id,displayName
GET /me/
GET /users/ada@contoso.com
GET /users/ada%40contoso.com/photo/$value
GET /users('ada@contoso.com')/manager
GET /users/11111111-1111-4111-8111-111111111111/memberOf/$count
GET /users?$filter=accountEnabled eq true and startswith(displayName,'A')&$top=999
GET /users?$search="displayName:Jörg" OR "mail:joerg"&$count=true
GET /users?$expand=manager($levels=max;$select=id)
GET /users/delta?$select=displayName&$deltatoken=latest
GET /users/delta()?$skiptoken=R0usmci39OQxqJrxK4
GET /users/microsoft.graph.user?$top=1
GET /users(userPrincipalName='ada@contoso.com')
GET /me/messages?$filter=from/emailAddress/address eq 'x@y.z' and receivedDateTime ge 2026-01-01T00:00:00Z
GET /me/messages?$search="subject:invoice 100%25"
GET /me/messages/AAMkAGI2TG93AAA=/attachments/AAMkAGI2AAE=/$value
GET /me/messages('AAMkAGI2TG93AAA=')/attachments('AAMkAGI2AAE=')
GET /me/messages/AAMk-_x==?$expand=singleValueExtendedProperties($filter=id eq 'String {66f5a359-4659-4830-9070-00047ec6ac6e} Name Color')
GET /me/mailFolders('AQMkA-DNk=')/messages?$skip=10
GET /me/mailfolders('AQMkA-DNk=')/messages/delta?$deltatoken=a.b-c_d~e
GET /me/mailFolders/inbox/childFolders?includeHiddenFolders=true
GET /me/calendarView?startDateTime=2026-01-01T00:00:00+01:00&endDateTime=2026-02-01T00:00:00-08:00
GET /me/calendar/events?$orderby=start/dateTime desc,subject
GET /me/events/AAMk=/instances?startDateTime=2026-01-01&endDateTime=2026-02-01
GET /me/reminderView(startDateTime='2026-01-01T00:00:00',endDateTime='2026-02-01T00:00:00')
GET /me/drive/root/children
GET /me/drive/root:/Documents/Report 2026 (final).pdf
GET /me/drive/root:/Documents/Ärger & Co #1.docx:/content
GET /me/drive/root:/a+b,c;d=e@f!g$h.txt:/thumbnails/0/large/content
GET /me/drive/items/01BYE5RZ!123/content?format=pdf
GET /drives/b!-RIj2DuyvEyV1T4NlOaMHk8XkS_I8MdFlUCq1BlcjgmhRfAj3-Z8RY2VpuvV_tpd/items/01A:/sub dir/x.txt:/content
GET /me/drive/root/search(q='annual report')?$select=name,id
GET /me/drive/root/search(q='O''Neil')
GET /me/drive/root/delta(token='aTE09NjM4')
GET /me/drive/special/approot:/settings.json:/content
GET /me/drive/items/01A/workbook/worksheets/{00000000-0001-0000-0000-000000000000}/range(address='A1:B2')
GET /me/drive/items/01A/workbook/worksheets('Sheet 1')/range(address='Sheet1!A1:B2')/usedRange(valuesOnly=true)
GET /me/drive/items/01A/workbook/tables/Table1/rows/itemAt(index=3)
POST /me/drive/items/01A:/big file.bin:/createUploadSession
PUT /me/drive/root:/new.txt:/content
PATCH /me/drive/items/01A
DELETE /me/drive/items/01A
POST /me/sendMail
POST /me/messages/AAMk=/microsoft.graph.reply
POST /$batch
GET /groups?$filter=groupTypes/any(c:c eq 'Unified')&$count=true
GET /groups/22222222-2222-4222-8222-222222222222/members/microsoft.graph.user/$count
GET /groups('22222222-2222-4222-8222-222222222222')/members/$ref
POST /groups/22222222-2222-4222-8222-222222222222/members/$ref
DELETE /groups/22222222-2222-4222-8222-222222222222/members/3/$ref
GET /sites/contoso.sharepoint.com,33333333-3333-4333-8333-333333333333,44444444-4444-4444-8444-444444444444
GET /sites/contoso.sharepoint.com:/sites/marketing:/lists
GET /sites/root/lists/Shared Documents/items?expand=fields(select=Title,Author)
GET /sites?search=*
GET /teams/5/channels/19:abc123@thread.tacv2/messages/1616990032035
GET /teams('5')/operations('6')
GET /chats/19:8ea0e38b-efb3-4757-924a-5f94061cf8c2_97f62344@unq.gbl.spaces/messages
GET /me/chats?$expand=members,lastMessagePreview
GET /communications/getPresencesByUserId
GET /reports/getOffice365ActiveUserDetail(period='D7')
GET /reports/getTeamsUserActivityUserDetail(date=2026-01-01)?$format=text/csv
GET /auditLogs/signIns?$filter=createdDateTime ge 2026-01-01T00:00:00Z and status/errorCode ne 0
GET /identityGovernance/entitlementManagement/accessPackages?$filter=contains(tolower(displayName),'sales')
GET /deviceManagement/managedDevices?$select=id&$skiptoken=LastDeviceName='PC-1',LastDeviceId='7'
GET /directoryObjects/getByIds
GET /applications(appId='55555555-5555-4555-8555-555555555555')/owners
GET /servicePrincipals?$filter=servicePrincipalNames/any(n:n eq 'https://graph.microsoft.com')
GET /subscribedSkus
GET /search/query
GET /places/microsoft.graph.room?$top=5
GET /me/onenote/pages/1-abc!1-def/content?includeIDs=true
GET /me/contacts?$filter=emailAddresses/any(a:a/address eq 'x+y@z.w')
GET /me/todo/lists/AQMkADAwATM0MDAAMS0yMDkyLWVjMzYtM/tasks?$filter=status ne 'completed'
GET /planner/plans/xqQg5FS2LkCp935s-FIFm2QAFkHM/tasks
GET /domains/contoso.com/serviceConfigurationRecords
GET /schemaExtensions/ext7x_courses
GET /names/%C3%A9t%C3%A9/x
GET /me/people?$search="j"&$top=3
GET /me/insights/used?$filter=resourceVisualization/type eq 'Word'
GET /me/drive/root:/Temp/~$lock.docx
GET /me/drive/root:/[draft] a.txt:/versions
GET /drive/items/01A/createLink
GET /shares/u!aHR0cHM6Ly9jb250b3Nv/driveItem?$expand=children
GET /users/ada_contoso.com%23EXT%23@fabrikam.onmicrosoft.com
GET /users/ada@contoso.com/calendar/getSchedule
GET /me/findRooms(RoomList='building1@contoso.com')
GET /me/outlook/supportedTimeZones(TimeZoneStandard=microsoft.graph.timeZoneStandard'Iana')
GET /security/alerts_v2?$filter=severity eq 'high' and not (status eq 'resolved')
GET /identity/conditionalAccess/policies/99999999-9999-4999-8999-999999999999
GET /external/connections/contosohr/items/1
GET /solutions/bookingBusinesses/Contoso@contoso.com/appointments
GET /print/printers/1/jobs?$orderby=createdDateTime desc
GET /education/classes/1/assignments/2/submissions?$filter=status eq 'submitted'
GET /groups/1/threads/AAQk=/posts/AAMk=/attachments
GET /me/messages?$filter=categories/any(c:c eq 'Red & blue')
GET /users?$filter=identities/any(c:c/issuerAssignedId eq 'x' and c/issuer eq 'contoso.onmicrosoft.com')
`;

const SHAREPOINT = `
GET /_api/web
GET /_api/web/lists/getbytitle('Documents')/items?$filter=Title eq 'a b'&$top=100
GET /_api/web/lists(guid'66666666-6666-4666-8666-666666666666')/items(1)
GET /_api/web/lists/GetByTitle('O''Brien')/RenderListDataAsStream
GET /_api/web/GetFolderByServerRelativeUrl('/sites/dev/Shared Documents')/Files
GET /_api/web/GetFileByServerRelativeUrl('/sites/dev/a.txt')/$value
GET /_api/web/getFileByServerRelativePath(decodedUrl='/sites/dev/100 percent.txt')/ListItemAllFields
GET /_api/web/GetFolderByServerRelativePath(decodedUrl='/sites/dev/Ä & B')/Folders
GET /_api/web/currentuser/groups
GET /_api/web/siteusers(@v)?@v='i:0#.f|membership|ada@contoso.com'
GET /_api/web/siteusers/getbyemail('ada@contoso.com')
GET /_api/search/query?querytext='author:"Ada Lovelace"'&selectproperties='Title,Path'
GET /_api/SP.UserProfiles.PeopleManager/GetMyProperties
GET /_api/SP.UserProfiles.PeopleManager/GetPropertiesFor(accountName=@v)?@v='i:0%23.f|membership|ada@contoso.com'
GET /_api/site/rootweb/webinfos?$select=Title,Id
POST /_api/web/lists/getbytitle('Documents')/items(1)/recycle()
POST /_api/contextinfo
POST /_api/web/folders/addUsingPath(decodedUrl='a b',overwrite=true)
`;

const DATAVERSE = `
GET /api/data/v9.2/WhoAmI
GET /api/data/v9.2/WhoAmI()
GET /api/data/v9.2/accounts?$select=name&$filter=revenue gt 100000 and contains(name,'Ltd')
GET /api/data/v9.2/accounts(77777777-7777-4777-8777-777777777777)?$expand=primarycontactid($select=fullname)
GET /api/data/v9.2/accounts(accountnumber='A 1',name='B')
GET /api/data/v9.2/accounts(77777777-7777-4777-8777-777777777777)/contact_customer_accounts/$ref
GET /api/data/v9.2/accounts(77777777-7777-4777-8777-777777777777)/name/$value
GET /api/data/v9.2/accounts/$count
GET /api/data/v9.2/contacts?fetchXml=<fetch top="5"><entity name="contact"/></fetch>
GET /api/data/v9.2/EntityDefinitions(LogicalName='account')/Attributes/Microsoft.Dynamics.CRM.PicklistAttributeMetadata?$select=LogicalName
GET /api/data/v9.2/RetrieveTotalRecordCount(EntityNames=['account','contact'])
GET /api/data/v9.2/systemusers(88888888-8888-4888-8888-888888888888)/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()
GET /api/data/v9.2/accounts?$apply=groupby((statuscode),aggregate(revenue with sum as total))
GET /api/data/v9.2/CalculateRollupField(Target=@tid,FieldName=@fn)?@tid={'@odata.id':'accounts(1)'}&@fn='x'
POST /api/data/v9.2/accounts
PATCH /api/data/v9.2/accounts(77777777-7777-4777-8777-777777777777)
GET /api/data/v9.2/$metadata
DELETE /api/data/v9.2/accounts(77777777-7777-4777-8777-777777777777)
`;

const ARM = `
GET /subscriptions?api-version=2022-12-01
GET /subscriptions/99999999-9999-4999-8999-999999999999/resourceGroups/my-rg_1.(x)?api-version=2021-04-01
GET /subscriptions/99999999-9999-4999-8999-999999999999/resourcegroups/rg/providers/Microsoft.Web/sites/app/config/appsettings/list?api-version=2022-03-01
GET /subscriptions/99999999-9999-4999-8999-999999999999/resources?$filter=resourceType eq 'Microsoft.Storage/storageAccounts' and tagName eq 'a b'&api-version=2021-04-01
GET /providers/Microsoft.Management/managementGroups/root?api-version=2020-05-01&$expand=children&$recurse=true
GET /subscriptions/9/providers/Microsoft.Insights/eventtypes/management/values?$filter=eventTimestamp ge '2026-01-01T00:00:00Z'&api-version=2015-04-01
PUT /subscriptions/9/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/st?api-version=2023-01-01
POST /subscriptions/9/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm/start?api-version=2023-03-01
DELETE /subscriptions/9/resourceGroups/rg?api-version=2021-04-01&forceDeletionTypes=Microsoft.Compute/virtualMachines
GET /subscriptions/9/resourceGroups/rg/providers/Microsoft.Authorization/roleAssignments?$filter=atScope() and assignedTo('a')&api-version=2022-04-01
GET /subscriptions/9/providers/Microsoft.Compute/locations/west europe/usages?api-version=2023-03-01
GET /subscriptions/9?api-version=2022-12-01&$skiptoken=eyJuZXh0UGFydGl0aW9uS2V5IjoiMSE4IVJqTTMifQ==
`;

/** Refused lines, each with the code and the reason that docs/path-patterns.md or docs/graph.md names. */
const REFUSED: readonly (readonly [line: string, code: string, reason: string])[] = [
  [
    "GET /_api/web/getFileByServerRelativePath(decodedUrl='%2Fsites%2Fdev%2Fa.txt')",
    "request_malformed",
    "encoded_separator",
  ],
  ["GET /me/messages/AAMk%2Fz=", "request_malformed", "encoded_separator"],
  ["GET /me/messages/AAMk%2fz%3D", "request_malformed", "encoded_separator"],
  ["GET /me/drive/root:/a%5Cb:/content", "request_malformed", "encoded_separator"],
  ["GET /me/messages/AAMk%252Fz%3D", "request_malformed", "double_encoding"],
  ["GET /me/drive/root:/My%2520File.pdf:/content", "request_malformed", "double_encoding"],
  ["GET /me/%252E%252E/users", "request_malformed", "double_encoding"],
  ["GET /me/drive/root:/100%.txt", "request_malformed", "percent_encoding"],
  ["GET /users/%E9t%E9", "request_malformed", "percent_encoding"],
  ["GET /users/%u00e9", "request_malformed", "percent_encoding"],
  ["GET /me/drive/root:/a%00b", "request_malformed", "encoded_control"],
  ["GET /me/drive/root:/a%0D%0Ab", "request_malformed", "encoded_control"],
  ["GET /me/drive/items/01A/workbook/worksheets/{1}/range", "request_malformed", "illegal_character"],
  ['GET /me/drive/root:/a"b', "request_malformed", "illegal_character"],
  ["GET /me/drive/root:/a^b", "request_malformed", "illegal_character"],
  ["GET /me/drive/root:\\a\\b", "request_malformed", "illegal_character"],
  ["GET /me#fragment", "request_malformed", "fragment"],
  ["GET /me//messages", "target_forbidden", "empty_segment"],
  ["GET /me/../users", "target_forbidden", "dot_segment"],
  ["GET /me/%2e%2e/users", "target_forbidden", "dot_segment"],
  ["GET /me/drive/root:/./a", "target_forbidden", "dot_segment"],
  [`GET /${"a/".repeat(300)}`, "request_malformed", "too_long"],
];

/** Bytes that a URL keeps in a path, by RFC 3986 and what the APIs use; the rest is encoded. */
const encodePath = (text: string, kept: RegExp) =>
  [...text].map((one) => (kept.test(one) ? one : encodeURIComponent(one).replace(/'/g, "%27"))).join("");

/** One line in the spellings that are seen: a browser's, an SDK's that encodes nearly all, a form's. */
function spellings(line: string): readonly string[] {
  const [method = "", ...rest] = line.split(" ");
  const target = rest.join(" ");
  const cut = target.indexOf("?");
  const path = cut === -1 ? target : target.slice(0, cut);
  const query = cut === -1 ? "" : target.slice(cut + 1);
  const spell = (pathKept: RegExp, queryKept: RegExp, blank: string) =>
    `${method} ${encodePath(path, pathKept)}${cut === -1 ? "" : `?${encodePath(query, queryKept).replaceAll("%20", blank)}`}`;
  return [
    spell(/[\w.~!$&'()*+,;=:@/%|-]/, /[\w.~!$&'()*+,;=:@/?%|{}^-]/, "%20"),
    spell(/[\w.~!$@:/%-]/, /[\w.~&=%-]/, "%20"),
    spell(/[\w.~!$&'()*+,;=:@/%|-]/, /[\w.~&=%$-]/, "+"),
    // Some libraries write hex digits in small letters.
    spell(/[\w.~!$@:/%-]/, /[\w.~&=%-]/, "%20").replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase()),
  ];
}

const lines = (text: string, name: Name) =>
  text
    .trim()
    .split("\n")
    .flatMap(spellings)
    .filter((line, index, all) => all.indexOf(line) === index)
    .map((line) => [name, line] as const);

type Name = "graph" | "odata" | "plain";
const PASSED = [
  ...lines(GRAPH, "graph"),
  ...lines(SHAREPOINT, "odata"),
  ...lines(DATAVERSE, "odata"),
  ...lines(ARM, "plain"),
];

const cleanups: (() => unknown)[] = [];
const ports = new Map<string, number>();
let received: string[] = [];

async function listening(server: http.Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => {
    server.close();
    server.closeAllConnections();
  });
  return (server.address() as AddressInfo).port;
}

beforeAll(async () => {
  const apiPort = await listening(
    http.createServer((request, response) => {
      received.push(`${request.method} ${request.url}`);
      response.end();
    }),
  );
  const options: readonly (readonly [string, Partial<DownstreamApiOptions>])[] = [
    ["graph", { kind: "graph" }],
    ["odata", { kind: "odata" }],
    ["plain", { kind: "plain" }],
    ["passing", { kind: "odata", encodedSlashes: "pass" }],
  ];
  for (const [name, option] of options) {
    const api = apiAt(apiPort, { ...option, name });
    const transport = createTransport({ apis: [api], ...LIMITS });
    cleanups.push(() => transport.destroy());
    const forward = createForward({ transport, fairness: { replayBytes: 2 ** 20, ...NO_SHARES } });
    const check = compileTarget(api, {
      path: "/mount",
      methods: ["GET", "POST", "PUT", "PATCH", "DELETE"],
      allow: ["/**"],
    });
    const server = http.createServer((incoming, outgoing) => {
      Promise.resolve()
        .then(() => {
          const target = check(incoming.method ?? "", incoming.url ?? "");
          const sent = { target, token: new Secret("t"), correlationId: "c" };
          return forward({ incoming, framing: { kind: "none" }, outgoing, ...sent });
        })
        .catch((error: unknown) => {
          if (!(error instanceof GatewayError)) throw error;
          outgoing.writeHead(499).end(`${error.code} ${error.reason}`);
        });
    });
    ports.set(name, await listening(server));
  }
});
afterAll(() => Promise.all(cleanups.map((cleanup) => cleanup())));

/** Sends the line as it is, below the mount, and returns the answer's status and body. */
async function send(name: string, line: string): Promise<{ readonly status: number; readonly body: string }> {
  received = [];
  const socket = net.connect(ports.get(name) ?? 0, "127.0.0.1");
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk)).on("error", () => {});
  socket.write(
    `${line.replace(" ", " /mount")} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`,
    "latin1",
  );
  await once(socket, "close");
  const text = Buffer.concat(chunks).toString("latin1");
  return { status: Number(text.slice(9, 12)), body: text.slice(text.indexOf("\r\n\r\n") + 4) };
}

describe("a request line", () => {
  test("is tried in three hundred forms at least", () => {
    expect(PASSED.length + REFUSED.length).toBeGreaterThanOrEqual(300);
  });

  test.each(PASSED)("to an API of kind %s passes byte for byte: %s", async (name, line) => {
    expect({ ...(await send(name, line)), received }).toMatchObject({
      status: 200,
      received: [line.replace(" ", " /v1.0")],
    });
  });

  test.each(REFUSED)("%s is refused: %s, %s", async (line, code, reason) => {
    expect({ ...(await send("graph", line)), received }).toMatchObject({
      status: 499,
      body: expect.stringContaining(`${code} ${reason}`),
      received: [],
    });
  });

  test.each(
    REFUSED.filter(([, , reason]) => /separator|double/.test(reason)).filter(
      ([line]) => !line.includes("%252E"),
    ),
  )("%s passes byte for byte where encoded slashes may", async (line) => {
    expect({ ...(await send("passing", line)), received }).toMatchObject({
      status: 200,
      received: [line.replace(" ", " /v1.0")],
    });
  });

  test("is refused for no reason that the documentation does not name", () => {
    const pages = ["path-patterns.md", "graph.md"].map((page) =>
      readFileSync(new URL(`../../docs/${page}`, import.meta.url), "utf8"),
    );
    const unnamed = REFUSED.map(([, , reason]) => reason).filter(
      (reason) => !pages.some((page) => page.includes(`\`${reason}\``)),
    );
    expect(unnamed).toEqual([]);
  });
});
