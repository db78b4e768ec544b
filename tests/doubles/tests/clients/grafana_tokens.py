"""grafana-client against our double: service accounts by their names and in pages, and their tokens."""

import os

from grafana_client import GrafanaApi, TokenAuth
from grafana_client.client import GrafanaClientError, GrafanaUnauthorizedError

URL = os.environ["URL"]
BY_TOKEN, BY_USER = TokenAuth(os.environ["TOKEN"]), ("admin", "canary-of-the-password")


def accounts(credential):
    return GrafanaApi.from_url(URL, credential=credential).serviceaccount


def refused(error, call, *arguments):
    try:
        call(*arguments)
    except error as refusal:
        return refusal.status_code, refusal.response["message"]
    raise AssertionError(f"{arguments} is not refused")


for n, credential in enumerate((BY_TOKEN, BY_USER)):
    client = accounts(credential)
    made = client.create({"name": f"robot-{n}", "role": "Viewer"})
    assert made["name"] == f"robot-{n}" and made["login"] and not made["isDisabled"], made
    assert client.get(made["id"])["id"] == client.search_one(f"robot-{n}")["id"] == made["id"]
    first, second = (client.create_token(made["id"], {"name": name, "secondsToLive": 60}) for name in "ab")
    assert first["key"] != second["key"] and (first["name"], second["name"]) == ("a", "b")
    assert [token["name"] for token in client.get_tokens(made["id"])] == ["a", "b"]
    client.delete_token(made["id"], first["id"])
    assert [token["id"] for token in client.get_tokens(made["id"])] == [second["id"]]
    gone = refused(GrafanaClientError, client.delete_token, made["id"], first["id"])
    assert gone == (404, "service account token not found"), gone

last = accounts(BY_USER).search_one("robot-1")["id"]
accounts(BY_TOKEN).delete(last)
missing = refused(GrafanaClientError, accounts(BY_TOKEN).get_tokens, last)
assert missing == (404, "service account not found"), missing

for n in range(23):
    accounts(BY_TOKEN).create({"name": f"many-{n}", "role": "Viewer"})
pages = accounts(BY_TOKEN).search("many-", perpage=10)
assert [len(page["serviceAccounts"]) for page in pages] == [10, 10, 3, 0] and pages[0]["totalCount"] == 23

for credential in (TokenAuth("glsa_wrong"), ("admin", "wrong"), ("nobody", "canary-of-the-password")):
    told = refused(GrafanaUnauthorizedError, accounts(credential).search_one, "robot-0")
    assert told == (401, "Invalid API key"), told
