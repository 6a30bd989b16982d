// Calls the sidecar provider of @microsoft/agents-hosting as its own users do; SIDECAR_URL says where the sidecar is.
// Arguments: the service, a method of the provider, and the method's arguments. Prints { value } or { error }.

import hosting from "@microsoft/agents-hosting";

const [serviceName, method, ...args] = process.argv.slice(2);
const provider = new hosting.SidecarAuthProvider({ serviceName, retryCount: 0 });
try {
  console.log(JSON.stringify({ value: await provider[method](...args) }));
} catch (error) {
  console.log(JSON.stringify({ error: error.message }));
}
