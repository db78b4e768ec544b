"""hvac, boto3 and google-auth against the double of Vault and of the clouds around it."""

import json
import os
import time

import boto3
import google.auth.jwt
import hvac
import requests
from botocore.config import Config
from botocore.exceptions import ClientError
from google.auth import compute_engine, impersonated_credentials
from google.auth.transport.requests import Request
from google.oauth2 import credentials, service_account, sts

URL = os.environ["VAULT"]
KEY = "AKIDEXAMPLE"
SECRET = "canary-of-the-test"
ROLE = "arn:aws:iam::123456789012:role/app"


def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except hvac.exceptions.InvalidRequest:
        return
    raise AssertionError("it was let in")


def reads(client):
    answer = client.secrets.kv.v2.read_secret_version(path="app", mount_point="secret", raise_on_deleted_version=True)
    assert answer["data"]["data"] == {"password": SECRET}, answer
    assert answer["data"]["metadata"]["version"] == 1, answer
    try:
        client.secrets.kv.v2.read_secret_version(path="nothing", mount_point="secret", raise_on_deleted_version=True)
    except hvac.exceptions.InvalidPath:
        pass
    else:
        raise AssertionError("it is there")


# Users.
for login in (lambda c: c.auth.ldap.login, lambda c: c.auth.userpass.login):
    client = hvac.Client(url=URL)
    refused(login(client), username="app", password="wrong")
    refused(login(client), username="nobody", password=SECRET)
    login(client)(username="app", password=SECRET)
    reads(client)
client.auth.token.renew_self()
assert client.auth.token.lookup_self()["data"]["id"] == client.token
token = client.token
client.auth.token.revoke_self()
try:
    reads(hvac.Client(url=URL, token=token))
except hvac.exceptions.Forbidden:
    pass
else:
    raise AssertionError("a revoked token reads")

# AWS: hvac has a signature of its own, and boto3 that of AWS.
aws = hvac.Client(url=URL)
login = {"header_value": "vault.example.com", "role": "app"}
for region in ("us-east-1", "eu-west-1"):
    aws.auth.aws.iam_login(KEY, SECRET, region=region, **login)
    reads(aws)
refused(aws.auth.aws.iam_login, KEY, "wrong", region="us-east-1", **login)
refused(aws.auth.aws.iam_login, KEY, SECRET, header_value="another", role="app", region="us-east-1")
refused(aws.auth.aws.iam_login, KEY, SECRET, header_value="vault.example.com", role="other", region="us-east-1")

config = Config(retries={"max_attempts": 1})
boto = boto3.client(
    "sts", region_name="eu-west-1", endpoint_url=f"{URL}/sts/", config=config,
    aws_access_key_id=KEY, aws_secret_access_key=SECRET,
)
given = boto.assume_role(RoleArn=ROLE, RoleSessionName="test", ExternalId="of the other account")["Credentials"]
aws.auth.aws.iam_login(
    given["AccessKeyId"], given["SecretAccessKey"], session_token=given["SessionToken"],
    header_value="vault.example.com", role="assumed", region="us-east-1",
)
reads(aws)
for wrong in ({"ExternalId": "wrong"}, {}):
    try:
        boto.assume_role(RoleArn=ROLE, RoleSessionName="test", **wrong)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "AccessDenied", error
    else:
        raise AssertionError("it was let in")
of_token = boto.assume_role_with_web_identity(RoleArn=f"{ROLE}-of-token", RoleSessionName="test", WebIdentityToken=SECRET)
assert of_token["Credentials"]["SessionToken"]

# Google: a key file signs here, a token of Kubernetes is changed, and the metadata server speaks for the machine.
client = hvac.Client(url=URL)
info = json.loads(os.environ["KEY_FILE"])
signer = service_account.Credentials.from_service_account_info(info).signer


def signed(**claims):
    claims = {"sub": info["client_email"], "exp": int(time.time()) + 600, **claims}
    return google.auth.jwt.encode(signer, claims).decode()


client.auth.gcp.login(role="google", jwt=signed(aud="vault/google"))
reads(client)
refused(client.auth.gcp.login, role="google", jwt=signed(aud="vault/other"))
refused(client.auth.gcp.login, role="google", jwt=signed(aud="vault/google", exp=int(time.time()) + 3600))
refused(client.auth.gcp.login, role="google", jwt=signed(aud="vault/google")[:-8] + "AAAAAAAA")
refused(client.auth.gcp.login, role="other", jwt=signed(aud="vault/other"))

exchange = sts.Client(f"{URL}/google-sts/v1/token")
cluster = "https://container.googleapis.com/v1/projects/p/locations/l/clusters/c"
changed = exchange.exchange_token(
    Request(),
    "urn:ietf:params:oauth:grant-type:token-exchange",
    SECRET,
    "urn:ietf:params:oauth:token-type:jwt",
    audience=f"identitynamespace:p.svc.id.goog:{cluster}",
    scopes=["https://www.googleapis.com/auth/cloud-platform"],
    requested_token_type="urn:ietf:params:oauth:token-type:access_token",
)
acting = impersonated_credentials.Credentials(
    source_credentials=credentials.Credentials(token=changed["access_token"]),
    target_principal=info["client_email"],
    target_scopes=["https://www.googleapis.com/auth/cloud-platform"],
    iam_endpoint_override=f"{URL}/google-iam/v1/projects/-/serviceAccounts/{info['client_email']}:generateAccessToken",
)
acting.refresh(Request())
assert acting.token and acting.token != changed["access_token"]
# google-auth has no call for signJwt: it is made as Google documents it.
payload = json.dumps({"sub": info["client_email"], "aud": "vault/google", "exp": int(time.time()) + 600})
answer = requests.post(
    f"{URL}/google-iam/v1/projects/-/serviceAccounts/{info['client_email']}:signJwt",
    headers={"Authorization": f"Bearer {acting.token}"},
    json={"payload": payload},
    timeout=10,
)
client.auth.gcp.login(role="google", jwt=answer.json()["signedJwt"])

# GCE_METADATA_HOST leads here.
machine = compute_engine.IDTokenCredentials(Request(), "http://vault/machine", use_metadata_identity_endpoint=True)
machine.refresh(Request())
client.auth.gcp.login(role="machine", jwt=machine.token)
reads(client)
