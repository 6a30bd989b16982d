"""Calls APIs on behalf of users from Python: tokens come from the local API of obo-gateway beside this program.

Needs requests. The gateway listens at LOCAL_PORT of the same machine or pod; OBO_GATEWAY_URL names another address.
"""

import os
import time

import requests

DEFAULT_URL = "http://127.0.0.1:5178"


class Refused(Exception):
    """The gateway refused. `answer` is what this program's own caller should see: status, challenge, problem."""

    def __init__(self, answer):
        problem = answer.json()
        super().__init__(f"{problem['code']}: {problem['detail']}")
        self.answer = answer
        self.status = answer.status_code
        self.code = problem["code"]
        self.problem = problem
        # What a front end needs to sign its user in again: pass both on.
        self.challenge = answer.headers.get("WWW-Authenticate")
        self.retry_after = answer.headers.get("Retry-After")


class Gateway:
    def __init__(self, url=None, timeout=15):
        self.url = (url or os.environ.get("OBO_GATEWAY_URL") or DEFAULT_URL).rstrip("/")
        self.timeout = timeout
        # One session keeps its connections; the gateway keeps the tokens, so nothing is cached here.
        self.session = requests.Session()
        # No proxy of the environment stands between two programs of one machine.
        self.session.trust_env = False

    def authorization(self, api, user_token, claims=None):
        """The field Authorization for an API, as the user. `claims`: of a challenge of the API, decoded JSON."""
        options = {} if claims is None else {"optionsOverride.AcquireTokenOptions.Claims": claims}
        answer = self.session.get(
            f"{self.url}/AuthorizationHeader/{api}",
            params=options,
            headers={"Authorization": f"Bearer {user_token}"},
            timeout=self.timeout,
        )
        if answer.status_code != 200:
            raise Refused(answer)
        return answer.json()["authorizationHeader"]

    def validate(self, user_token):
        """Claims of a genuine token."""
        answer = self.session.get(
            f"{self.url}/Validate",
            headers={"Authorization": f"Bearer {user_token}"},
            timeout=self.timeout,
        )
        if answer.status_code != 200:
            raise Refused(answer)
        return answer.json()["claims"]

    def call(self, method, url, api, user_token, attempts=2, **options):
        """Calls an API as the user, and again where the gateway asks for a moment of patience (503, 429)."""
        for attempt in range(1, attempts + 1):
            try:
                headers = {**options.pop("headers", {}), "Authorization": self.authorization(api, user_token)}
                return requests.request(method, url, headers=headers, timeout=self.timeout, **options)
            except Refused as refused:
                wait = float(refused.retry_after or 0)
                if attempt == attempts or refused.retry_after is None or wait > self.timeout:
                    raise
                time.sleep(wait)
        raise AssertionError("attempts must be at least 1")
