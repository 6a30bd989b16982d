/** Measures the link rewriter: `npx tsx test/bench/link-rewriter.ts` prints ms a MiB for an ordinary page and for the worst texts. */

import { createLinkRewriter } from "../../src/downstream/graph/link-rewriter.ts";
import { gatewayLink } from "../../src/downstream/graph/links.ts";

const SIZE = 2 ** 20;
const ROUNDS = 15;
const base = { origin: "https://graph.example", path: "/v1.0" };
const mount = "https://gateway.example/graph";
const link = `${base.origin}${base.path}/me`;

const fill = (unit: string) => Buffer.from(unit.repeat(Math.ceil(SIZE / unit.length)).slice(0, SIZE));
const message = JSON.stringify({
  "@odata.etag": 'W/"CQAAABYAAAB"',
  id: "AAMkAGI2".repeat(12),
  createdDateTime: "2026-01-01T00:00:00Z",
  subject: "Hello",
  bodyPreview: "Lorem ipsum dolor sit amet, ".repeat(8),
  from: { emailAddress: { name: "Ada", address: "ada@contoso.com" } },
});
const ordinary = "an ordinary page";
const inputs: Readonly<Record<string, Buffer>> = {
  [ordinary]: fill(`${message},`),
  "texts that are names of links": fill('"@odata.nextLink",'),
  "texts that are names of the other link": fill('"@odata.deltaLink",'),
  "beginnings of names": fill("@odata."),
  "names but for their last letter": fill('"@odata.nextLin",'),
  signs: fill("@"),
  "names, colons and blanks": fill('"@odata.nextLink"   :    '),
  "links without end": fill(`"@odata.nextLink":"${"x".repeat(20_000)}`),
  "empty links": fill('"@odata.nextLink":"",'),
  "links to elsewhere": fill('"@odata.nextLink":"https://evil.example/v1.0/me",'),
  "pages of groups with a link each": fill(
    `{"id":"${"a".repeat(36)}","displayName":"Group","members@odata.nextLink":"${link}?$skiptoken=${"b".repeat(36)}"},`,
  ),
  "links and nothing else": fill(`"@odata.nextLink":"${link}",`),
};

for (const size of [65_536, 1_000]) {
  const best = new Map<string, number>();
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, bytes] of Object.entries(inputs)) {
      const rewriter = createLinkRewriter({
        from: `${base.origin}${base.path}/`,
        to: `${mount}/`,
        rewrite: (written) => gatewayLink(base, mount, written),
      });
      const began = performance.now();
      for (let at = 0; at < bytes.length; at += size) rewriter.push(bytes.subarray(at, at + size));
      rewriter.flush();
      best.set(name, Math.min(best.get(name) ?? Number.POSITIVE_INFINITY, performance.now() - began));
    }
  }
  const reference = best.get(ordinary) ?? Number.NaN;
  for (const [name, ms] of best) {
    console.log(
      `${size} bytes a piece  ${name.padEnd(40)} ${ms.toFixed(2)} ms/MiB  ${(reference / ms).toFixed(2)}`,
    );
  }
}
