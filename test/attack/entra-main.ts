/** Entra as a process: the emulator, with the priority of the gateway and its API. */

import { startEmulator } from "../emulator/emulator.ts";
import { type Acts, answerBy, answerKind, type Facts, type Question } from "./entra.ts";
import type { WantedToken } from "./scenario.ts";

const [, , newcomers = "0"] = process.argv;
const say = (kind: string, value: unknown) => {
  // The run has ended, or was killed.
  if (process.connected) process.send?.({ kind, value });
};

try {
  const emulator = await startEmulator();
  const end = () => void emulator.close().then(() => process.exit(0));
  process.once("disconnect", end);
  // The run has gone while the emulator started.
  if (!process.connected) end();
  const mint = ({ user, ...others }: WantedToken = {}) =>
    emulator.mintUserToken({ user: user ?? emulator.addUser(), ...others });
  const acts: Acts = {
    addUsers: (count) => Array.from({ length: count }, () => emulator.addUser().objectId),
    mintTokens: (wanted) => wanted.map(mint),
    delayTokens(ms) {
      emulator.faults.inject({ endpoint: "token", behaviour: { kind: "delay", ms } });
    },
    refuse({ users, ...refusal }) {
      for (const user of users) emulator.refuse({ user, ...refusal });
    },
    revokeSessions: (user) => emulator.revokeSessions(user),
    async rollKeys() {
      const { activeKid } = await emulator.rollKeys({ publish: false });
      emulator.publishKey(activeKid);
    },
    keyReads: () => emulator.requests.counts.keys,
    tokenRequests(user) {
      const { objectId } = emulator.user(user);
      return emulator.requests.token.filter(({ userObjectId }) => userObjectId === objectId).length;
    },
  };
  process.on("message", ({ question }: { readonly question?: Question }) => {
    if (question !== undefined)
      void answerBy(acts, question).then((answer) => say(answerKind(question.id), answer));
  });
  const facts: Facts = {
    token: mint(),
    newcomers: Array.from({ length: Number(newcomers) }, () => mint()),
    env: {
      NODE_EXTRA_CA_CERTS: emulator.files.caCertificate,
      AZURE_TENANT_ID: emulator.tenantId,
      AZURE_CLIENT_ID: emulator.clientId,
      AZURE_AUTHORITY_HOST: emulator.authorityHost,
      AZURE_CLIENT_CERTIFICATE_PATH: emulator.files.clientCertificate,
    },
  };
  say("facts", facts);
} catch (error) {
  say("failed", error instanceof Error ? error.stack : String(error));
}
