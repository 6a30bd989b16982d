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


def main():
    work = json.load(sys.stdin)
    json.dump([perform(work["facts"], check) for check in work["checks"]], sys.stdout)


main()
