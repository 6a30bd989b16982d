/** Connects to the URL it is given and prints why that failed, or the status. */

import { createTransport } from "../../../src/downstream/transport/pool.ts";
import { apiAt, LIMITS } from "../api-options.ts";

const baseUrl = process.argv[2] ?? "";
const api = apiAt(0, { baseUrl });
const transport = createTransport({ apis: [api], ...LIMITS });
transport.send(
  {
    target: { api, origin: new URL(baseUrl).origin, path: "/" },
    method: "GET",
    headers: [],
    body: undefined,
  },
  {
    head: (status) => console.log(status),
    chunk() {},
    end: () => void transport.destroy(),
    failed(error) {
      console.log(error.reason);
      void transport.destroy();
    },
  },
);
