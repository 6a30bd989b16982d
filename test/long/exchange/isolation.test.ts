/** Interleavings of several users' calls by the dozen; test/exchange/isolation.test.ts runs a few of them. */

import { describe } from "@jest/globals";
import { describeInterleavings } from "../../exchange/interleavings.ts";

describe("whatever happens to others, a user sees what that user would see alone", () =>
  describeInterleavings(40));
