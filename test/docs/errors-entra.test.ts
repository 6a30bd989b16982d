import { readFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { AADSTS } from "../../src/exchange/entra/codes.ts";
import { errorsPage, PAGE } from "./errors-entra.ts";

test("the page of Entra's numbers is as the table has it", () => {
  expect(readFileSync(PAGE, "utf8")).toBe(errorsPage());
});

test("the page has a row for each number", () => {
  const rows = readFileSync(PAGE, "utf8")
    .split("\n")
    .filter((line) => /^\| \d+ \|/.test(line));
  expect(rows).toHaveLength(AADSTS.flatMap(({ numbers }) => numbers).length);
});
