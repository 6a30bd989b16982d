/** What every credential is opened with, whatever its sources, where a test does not say otherwise. */

export const SETTINGS = {
  sendCertificateChain: false,
  production: false,
  federationAudience: "api://AzureADTokenExchange",
  issuerTimeoutMs: 10_000,
} as const;
