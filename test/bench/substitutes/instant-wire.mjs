/** In place of `exchange/entra/msal.js`: every exchange is granted at once, so that a hundred thousand users are there in a minute. */

let serial = 0;

export const loadMsal = async () => {};

export const createMsalWire = () => async () => {
  serial += 1;
  const text = JSON.stringify({
    token_type: "Bearer",
    expires_in: 3600,
    ext_expires_in: 3600,
    access_token: `${serial}.`.padEnd(1_900, "abcdefghijklmnopqrstuvwxyz012345"),
  });
  return { status: 200, headers: new Headers(), text };
};
