"""Alibaba's own client of KMS: values, versions, batches, descriptions and lists, and what is refused. Its credentials by
OIDC take a key from STS."""

import os

from alibabacloud_credentials.client import Client as CredentialClient
from alibabacloud_credentials.models import Config as CredentialConfig
from alibabacloud_credentials.provider import oidc
from alibabacloud_kms20160120 import models
from alibabacloud_kms20160120.client import Client
from alibabacloud_tea_openapi.utils_models import Config

HOST = os.environ["HOST"]


def client(**login):
    return Client(Config(endpoint=HOST, protocol="http", **login))


def refused(call, request, status, code):
    try:
        call(request)
    except Exception as error:
        assert (error.code, error.data.get("statusCode", status)) == (code, status), (error.code, error.data)
    else:
        raise AssertionError(f"not refused with {code}")


def value(kms, name, **version):
    return kms.get_secret_value(models.GetSecretValueRequest(secret_name=name, **version)).body


kms = client(access_key_id=os.environ["ID"], access_key_secret=os.environ["SECRET"])
assert value(kms, "app/db").secret_data == "second"
assert value(kms, "app/db").version_stages.version_stage == ["ACSCurrent"]
assert value(kms, "app/db", version_id="v1").secret_data == "first"
assert value(kms, "app/db", version_stage="ACSPrevious").version_id == "v1"
wanted = models.GetSecretValueRequest
refused(kms.get_secret_value, wanted(secret_name="never"), 404, "Forbidden.ResourceNotFound")
refused(kms.get_secret_value, wanted(secret_name="app/db", version_id="v9"), 404, "Forbidden.ResourceNotFound")
refused(kms.get_secret_value, wanted(secret_name="forbidden"), 403, "Forbidden.NoPermission")
refused(kms.get_secret_value, wanted(secret_name="deleted"), 409, "Rejected.ResourceInDeleteWindow")
refused(kms.get_secret_value, wanted(secret_name="a b"), 400, "InvalidParameter")

entry = models.BatchGetSecretValueRequestSecretsList
entries = [entry(secret_name="app/db"), entry(secret_name="tagged", version_id="v1"), entry(secret_name="never")]
batch = kms.batch_get_secret_value(models.BatchGetSecretValueRequest(secrets_list=entries)).body
assert [(one.secret_name, one.secret_data) for one in batch.secret_values] == [("app/db", "second"), ("tagged", "t")]
assert [(one.secret_name, one.code) for one in batch.errors] == [("never", "Forbidden.ResourceNotFound")]

described = kms.describe_secret(models.DescribeSecretRequest(secret_name="tagged", fetch_tags="true")).body
assert [(tag.tag_key, tag.tag_value) for tag in described.tags.tag] == [("team", "blue")]
versions = kms.list_secret_version_ids(models.ListSecretVersionIdsRequest(secret_name="app/db")).body
assert [one.version_id for one in versions.version_ids.version_id] == ["v1", "v2"]
page = kms.list_secrets(models.ListSecretsRequest(page_number=2, page_size=2, fetch_tags="true")).body
assert ([one.secret_name for one in page.secret_list.secret], page.total_count) == (["forbidden", "tagged"], 4), page
assert page.secret_list.secret[1].tags.tag[0].tag_value == "blue"

another = client(access_key_id=os.environ["ID"], access_key_secret="another")
refused(another.get_secret_value, wanted(secret_name="app/db"), 400, "SignatureDoesNotMatch")
another = client(access_key_id="another", access_key_secret=os.environ["SECRET"])
refused(another.get_secret_value, wanted(secret_name="app/db"), 404, "InvalidAccessKeyId.NotFound")

# This client speaks to STS by https only; what it sends is the same.
send = oidc.TeaCore.do_action


def in_the_open(request, *rest):
    request.protocol = "http"
    return send(request, *rest)


oidc.TeaCore.do_action = in_the_open
lent = CredentialConfig(
    type="oidc_role_arn",
    role_arn=os.environ["ROLE"],
    oidc_provider_arn=os.environ["PROVIDER"],
    oidc_token_file_path=os.environ["TOKEN_FILE"],
    role_session_name="lab",
    sts_endpoint=HOST,
)
assert value(client(credential=CredentialClient(lent)), "app/db").secret_data == "second"
