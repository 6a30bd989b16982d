"""MSAL Python against the emulator: reads what to do from standard input, writes what it got to standard output."""

import json
import sys

import msal


def perform(facts, check):
    application = msal.ConfidentialClientApplication(
        facts["clientId"],
        authority=facts["authorityHost"] + check.get("tenantId", facts["tenantId"]),
        client_credential=check["credential"],
        client_capabilities=["cp1"],
        # The host is in no list of Microsoft's, and nobody outside is to be asked about it.
        instance_discovery=False,
    )
    if "assertion" in check:
        return application.acquire_token_on_behalf_of(check["assertion"], check["scopes"])
    return application.acquire_token_for_client(check["scopes"])


def sign_in(facts):
    """Writes the address that a browser has to open, reads the answer that it brings back, and renews the token."""
    application = msal.PublicClientApplication(
        facts["publicClientId"],
        authority=facts["authorityHost"] + facts["tenantId"],
        client_capabilities=["cp1"],
        instance_discovery=False,
    )
    scopes = [facts["scope"]]
    flow = application.initiate_auth_code_flow(scopes, redirect_uri="http://localhost:5822")
    print(json.dumps({"url": flow["auth_uri"]}), flush=True)
    signed_in = application.acquire_token_by_auth_code_flow(flow, json.loads(sys.stdin.readline()))
    (account,) = application.get_accounts()
    renewed = application.acquire_token_silent_with_error(scopes, account, force_refresh=True)
    challenged = application.acquire_token_silent_with_error(
        scopes, account, claims_challenge='{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
    )
    json.dump({"signed_in": signed_in, "renewed": renewed, "challenged": challenged}, sys.stdout)


def main():
    work = json.loads(sys.stdin.readline())
    if "sign_in" in work:
        sign_in(work["facts"])
    else:
        json.dump([perform(work["facts"], check) for check in work["checks"]], sys.stdout)


main()
