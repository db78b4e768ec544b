"""Google's own client, google-cloud-secret-manager, and google-auth for each way to log in."""

import json
import os

import google.auth
import google.auth.transport.requests
import requests
from google.api_core import exceptions
from google.auth import aws, compute_engine, identity_pool
from google.cloud import secretmanager_v1 as secretmanager
from google.oauth2 import credentials as credentials_of_people
from google.oauth2 import service_account
from google.protobuf import field_mask_pb2

URL = os.environ["DOUBLE"]
SCOPE = ["https://www.googleapis.com/auth/cloud-platform"]
POOL = "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/p/providers/x"
CLUSTER = "https://container.googleapis.com/v1/projects/p-1/locations/europe-west1/clusters/c-1"
CLUSTER = "identitynamespace:p-1.svc.id.goog:" + CLUSTER
IMPERSONATION = URL + "/v1/projects/-/serviceAccounts/reader@p-1.iam.gserviceaccount.com:generateAccessToken"


def client(credentials):
    return secretmanager.SecretManagerServiceClient(
        credentials=credentials, transport="rest", client_options={"api_endpoint": URL}
    )


def refused(word, call, *arguments, **named):
    """The call is refused in this word of Google's APIs."""
    try:
        call(*arguments, **named)
    except exceptions.GoogleAPICallError as error:
        told = error.response.json()["error"]["status"]
        assert told == word, (told, word)
    else:
        raise AssertionError(f"{call} was not refused")


def key(text):
    return service_account.Credentials.from_service_account_info(json.loads(text), scopes=SCOPE)


def secrets(google, parent, is_regional):
    for left in list(google.list_secrets(parent=parent)):
        google.delete_secret(name=left.name)
    secret = {"labels": {"team": "blue"}, "annotations": {"a.b/c": "note"}}
    if not is_regional:
        secret["replication"] = {"automatic": {}}
    made = google.create_secret(parent=parent, secret_id="app_1", secret=secret)
    assert made.name.startswith("projects/123456789012/") and made.name.endswith("/secrets/app_1"), made.name
    refused("ALREADY_EXISTS", google.create_secret, parent=parent, secret_id="app_1", secret=secret)
    refused("INVALID_ARGUMENT", google.create_secret, parent=parent, secret_id="a b", secret=secret)
    refused("NOT_FOUND", google.access_secret_version, name=made.name + "/versions/latest")

    value = bytes(range(256))
    first = google.add_secret_version(parent=made.name, payload={"data": value})
    google.add_secret_version(parent=made.name, payload={"data": b"second"})
    answer = google.access_secret_version(name=first.name)
    assert answer.payload.data == value and answer.payload.data_crc32c > 0
    latest = google.access_secret_version(name=f"{parent}/secrets/app_1/versions/latest")
    assert latest.payload.data == b"second" and latest.name.endswith("/versions/2"), latest.name
    refused("INVALID_ARGUMENT", google.add_secret_version, parent=made.name, payload={"data": b""})
    refused(
        "INVALID_ARGUMENT",
        google.add_secret_version,
        parent=made.name,
        payload={"data": b"x", "data_crc32c": 1},
    )
    refused("NOT_FOUND", google.access_secret_version, name=made.name + "/versions/9")

    disabled = google.disable_secret_version(name=made.name + "/versions/2")
    assert disabled.state == secretmanager.SecretVersion.State.DISABLED
    refused("FAILED_PRECONDITION", google.access_secret_version, name=made.name + "/versions/latest")
    request = {"parent": made.name, "filter": "state:ENABLED"}
    assert [version.name[-1] for version in google.list_secret_versions(request=request)] == ["1"]
    google.destroy_secret_version(name=made.name + "/versions/2")
    refused("FAILED_PRECONDITION", google.enable_secret_version, name=made.name + "/versions/2")

    there = google.get_secret(name=made.name)
    assert there.etag.startswith('"') and there.annotations["a.b/c"] == "note"
    mask = field_mask_pb2.FieldMask(paths=["labels"])
    change = {"name": made.name, "labels": {"team": "red"}, "etag": there.etag}
    changed = google.update_secret(secret=change, update_mask=mask)
    assert dict(changed.labels) == {"team": "red"} and changed.etag != there.etag
    refused("FAILED_PRECONDITION", google.update_secret, secret=change, update_mask=mask)

    for number in range(25):
        more = {**secret, "labels": {"team": "blue" if number % 2 else "red"}}
        google.create_secret(parent=parent, secret_id=f"many-{number:02}", secret=more)
    names = [found.name.rsplit("/", 1)[1] for found in google.list_secrets(parent=parent)]
    assert len(names) == 26 and "many-24" in names, names
    request = {"parent": parent, "filter": "labels.team=blue AND name:many-0"}
    names = [found.name.rsplit("/", 1)[1] for found in google.list_secrets(request=request)]
    assert names == ["many-01", "many-03", "many-05", "many-07", "many-09"], names
    refused("INVALID_ARGUMENT", google.list_secrets, request={"parent": parent, "filter": "anything"})

    request = {"name": made.name, "etag": there.etag}
    refused("FAILED_PRECONDITION", google.delete_secret, request=request)
    google.delete_secret(request={"name": made.name, "etag": changed.etag})
    refused("NOT_FOUND", google.get_secret, name=made.name)
    refused("NOT_FOUND", google.delete_secret, name=made.name)


class Keys(aws.AwsSecurityCredentialsSupplier):
    def get_aws_security_credentials(self, context, request):
        return aws.AwsSecurityCredentials("AKIDCANARY", os.environ["AWS_KEY"], os.environ["AWS_SESSION"] or None)

    def get_aws_region(self, context, request):
        return "eu-west-1"


def federated(kind, audience=POOL, **more):
    return kind(
        audience=audience, token_url=URL + "/v1/token", scopes=SCOPE, service_account_impersonation_url=IMPERSONATION, **more
    )


def logins():
    request = google.auth.transport.requests.Request()
    wrong = key(os.environ["DELETED_KEY"])
    try:
        wrong.refresh(request)
    except google.auth.exceptions.RefreshError as error:
        assert "invalid_grant" in str(error)
    else:
        raise AssertionError("a key that was deleted bought a token")
    refused("UNAUTHENTICATED", client(wrong).get_secret, name="projects/p-1/secrets/a")
    bought = key(os.environ["KEY"])
    bought.refresh(request)
    assert bought.token.startswith("ya29.") and not bought.expired
    bought = credentials_of_people.Credentials(token=bought.token)
    assert requests.get(URL + "/v1/projects/p-1/secrets/a").status_code == 401

    jwt = "urn:ietf:params:oauth:token-type:jwt"
    subject = {"url": URL + "/subject?form=json", "headers": {"x-ask": "yes"}}
    subject["format"] = {"type": "json", "subject_token_field_name": "token"}
    for credentials in (
        key(os.environ["KEY"]),  # which signs for the API itself
        bought,
        compute_engine.Credentials(),
        federated(identity_pool.Credentials, subject_token_type=jwt, credential_source=subject),
        federated(identity_pool.Credentials, audience=CLUSTER, subject_token_type=jwt, credential_source=subject),
        credentials_of_people.Credentials(
            token=None,
            refresh_token="canary-of-a-person",
            token_uri=URL + "/token",
            client_id="id",
            client_secret="canary-of-gcloud",
        ),
        federated(
            aws.Credentials,
            subject_token_type="urn:ietf:params:aws:token-type:aws4_request",
            aws_security_credentials_supplier=Keys(),
        ),
    ):
        refused("NOT_FOUND", client(credentials).get_secret, name="projects/p-1/secrets/never-was")
    assert client(key(os.environ["KEY"])).transport.kind == "rest"


google_client = client(key(os.environ["KEY"]))
secrets(google_client, "projects/p-1", False)
secrets(google_client, "projects/123456789012/locations/europe-west1", True)
refused("PERMISSION_DENIED", google_client.get_secret, name="projects/another/secrets/a")
logins()
print("all of it works")
