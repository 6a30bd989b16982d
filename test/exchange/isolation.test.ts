/** A few of the interleavings of which test/long/exchange/isolation.test.ts runs many. */

import { describe } from "@jest/globals";
import { describeInterleavings } from "./interleavings.ts";

describe("whatever happens to others, a user sees what that user would see alone", () =>
  describeInterleavings(6));
