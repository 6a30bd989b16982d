"""Prints who a user is, as the API says: python3 me.py graph https://graph.microsoft.com/v1.0/me < token"""

import json
import sys

from obo import Gateway, Refused

api, url = sys.argv[1:3]
token = sys.stdin.read().strip()
try:
    answer = Gateway().call("GET", url, api, token)
    print(json.dumps({"status": answer.status_code, "content": answer.json()}))
except Refused as refused:
    print(
        json.dumps(
            {
                "status": refused.status,
                "code": refused.code,
                "challenge": refused.challenge,
                "claims": refused.problem.get("claims"),
            }
        )
    )
    sys.exit(1)
