"""Infisical's own SDK against our double: logins, folders, imports, references, and changes."""

import os

from infisical_sdk import InfisicalSDKClient
from infisical_sdk.infisical_requests import APIError

URL = os.environ["URL"]
client = InfisicalSDKClient(host=URL, cache_ttl=None)
client.auth.universal_auth.login(client_id=os.environ["CLIENT_ID"], client_secret=os.environ["CLIENT_SECRET"])
place = {"project_slug": "shop", "environment_slug": "dev"}
secrets = client.secrets


def refused(status, call):
    try:
        call()
    except APIError as error:
        assert error.status_code == status, error
    else:
        raise AssertionError(f"no {status}")


def get(name, path="/", **more):
    return secrets.get_secret_by_name(secret_name=name, secret_path=path, **place, **more)


assert get("A").secretValue == "a"
assert get("B", "/sub").secretValue == "b"
assert get("URL").secretValue == "pg://a"
assert get("URL", expand_secret_references=False).secretValue == "pg://${A}"
assert get("SHARED").secretValue == "s"
assert get("A", view_secret_value=False).secretValue != "a"
refused(404, lambda: get("MISSING"))
refused(404, lambda: get("A", "/nowhere"))

listed = secrets.list_secrets(secret_path="/", recursive=True, **place)
assert sorted(secret.secretKey for secret in listed.secrets) == ["A", "B", "SHARED", "URL"]
assert [secret["secretKey"] for found in listed.imports for secret in found.secrets] == ["SHARED"]

change = {"project_id": os.environ["PROJECT"], "environment_slug": "dev", "secret_path": "/"}
secrets.create_secret_by_name(secret_name="NEW", secret_value="v", **change)
assert get("NEW").secretValue == "v"
secrets.update_secret_by_name(current_secret_name="NEW", secret_value="w", **change)
assert (get("NEW").secretValue, get("NEW").version) == ("w", 2)
secrets.delete_secret_by_name(secret_name="NEW", **change)
refused(404, lambda: get("NEW"))

refused(401, lambda: InfisicalSDKClient(host=URL).auth.universal_auth.login(client_id="x", client_secret="y"))
