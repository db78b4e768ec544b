"""azure-identity, azure-keyvault-* and azure-containerregistry against the double."""

import os

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.core.exceptions import ResourceExistsError
from azure.containerregistry import ContainerRegistryClient
from azure.identity import (
    CertificateCredential,
    ClientSecretCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from azure.keyvault.certificates import CertificateClient, CertificateContentType, CertificatePolicy
from azure.keyvault.keys import JsonWebKey, KeyClient
from azure.keyvault.secrets import SecretClient

VAULT, TENANT, CLIENT = (os.environ[name] for name in ("VAULT", "TENANT", "CLIENT"))
ENTRA = {"authority": VAULT, "disable_instance_discovery": True}


def secret_credential(secret=os.environ["SECRET"], client=CLIENT, tenant=TENANT):
    return ClientSecretCredential(tenant, client, secret, **ENTRA)


def certificate_credential():
    return CertificateCredential(TENANT, CLIENT, os.environ["CERTIFICATE"], **ENTRA)


def federated_credential():
    return WorkloadIdentityCredential(
        tenant_id=TENANT, client_id=CLIENT, token_file_path=os.environ["FEDERATED_TOKEN"], **ENTRA
    )


def machine_credential(client=None):
    # The client speaks to the machine by the environment; plain variables, so that it needs no TLS of its own.
    os.environ["IDENTITY_ENDPOINT"] = f"{VAULT}/msi/token"
    os.environ["IDENTITY_HEADER"] = "canary-of-the-header"
    return ManagedIdentityCredential(client_id=client) if client else ManagedIdentityCredential()


def client(credential, kind=SecretClient):
    return kind(VAULT, credential, verify_challenge_resource=False, retry_total=0)


def refuses(error, call):
    try:
        call()
    except error as refusal:
        return refusal
    raise AssertionError(f"{error} was expected")


# Every login is let in, and others are not.
secrets = client(secret_credential())
secrets.set_secret("login", "let in")
for credential in (certificate_credential(), federated_credential(), machine_credential(), machine_credential(CLIENT)):
    assert client(credential).get_secret("login").value == "let in", credential
for credential in (secret_credential("wrong"), secret_credential(client="wrong"), secret_credential(tenant="wrong")):
    refuses(ClientAuthenticationError, lambda: client(credential).get_secret("login"))
refuses(Exception, lambda: client(machine_credential("wrong")).get_secret("login"))

# Secrets and their versions, tags, types and times.
first = secrets.set_secret("versioned", "one", content_type="text/plain", tags={"team": "blue"})
second = secrets.set_secret("versioned", "two")
assert secrets.get_secret("versioned").value == "two"
read = secrets.get_secret("versioned", first.properties.version)
assert (read.value, read.properties.content_type, read.properties.tags) == ("one", "text/plain", {"team": "blue"})
assert read.properties.enabled and read.properties.created_on and read.name == "versioned"
assert {one.version for one in secrets.list_properties_of_secret_versions("versioned")} == {
    first.properties.version,
    second.properties.version,
}
assert refuses(ResourceNotFoundError, lambda: secrets.get_secret("missing")).error.code == "SecretNotFound"
refuses(ResourceNotFoundError, lambda: secrets.get_secret("versioned", "0" * 32))
refuses(HttpResponseError, lambda: secrets.get_secret("under_score"))
secrets.update_secret_properties("versioned", second.properties.version, enabled=False)
disabled = refuses(HttpResponseError, lambda: secrets.get_secret("versioned"))
assert disabled.status_code == 403 and disabled.error.innererror["code"] == "SecretDisabled", disabled.error

# Lists have pages.
for n in range(60):
    secrets.set_secret(f"many-{n}", "v", tags={"n": str(n)})
many = {one.name: one.tags for one in secrets.list_properties_of_secrets() if one.name.startswith("many-")}
assert len(many) == 60 and many["many-7"] == {"n": "7"}

# What is deleted can be recovered, and its name is taken until then.
secrets.set_secret("pushed", "before")
secrets.begin_delete_secret("pushed").wait()
refuses(ResourceNotFoundError, lambda: secrets.get_secret("pushed"))
conflict = refuses(ResourceExistsError, lambda: secrets.set_secret("pushed", "after"))
assert conflict.error.innererror["code"] == "ObjectIsDeletedButRecoverable"
assert secrets.get_deleted_secret("pushed").name == "pushed"
secrets.begin_recover_deleted_secret("pushed").wait()
assert secrets.get_secret("pushed").value == "before"
secrets.begin_delete_secret("pushed").wait()
secrets.purge_deleted_secret("pushed")
refuses(ResourceNotFoundError, lambda: secrets.get_deleted_secret("pushed"))

# Keys are imported whole and shown by their public half.
keys = client(secret_credential(), KeyClient)
number = b"\x01\x23\x45"
key = JsonWebKey(kty="RSA", n=b"\x81" * 256, e=b"\x01\x00\x01", d=number, p=number, q=number, dp=number, dq=number, qi=number)
keys.import_key("signing", key, tags={"a": "b"})
shown = keys.get_key("signing")
assert (bytes(shown.key.n), bytes(shown.key.e), shown.key.d) == (b"\x81" * 256, b"\x01\x00\x01", None)
assert shown.properties.tags == {"a": "b"} and shown.properties.version
assert refuses(ResourceNotFoundError, lambda: keys.get_key("missing")).error.code == "KeyNotFound"
keys.begin_delete_key("signing").wait()

# Certificates come with their key, which is a secret of the same name.
certificates = client(secret_credential(), CertificateClient)
with open(os.environ["CERTIFICATE"], "rb") as file:
    pem = file.read()
policy = CertificatePolicy(content_type=CertificateContentType.pem)
certificates.import_certificate("web", pem, policy=policy, tags={"a": "b"})
shown = certificates.get_certificate("web")
assert shown.cer[:1] == b"\x30" and shown.properties.tags == {"a": "b"}
assert "PRIVATE KEY" in secrets.get_secret("web").value
assert refuses(ResourceNotFoundError, lambda: certificates.get_certificate("missing")).error.code == "CertificateNotFound"

# A registry gives its token for one of a login, and for that one of a scope.
def registry(credential):
    return ContainerRegistryClient(VAULT, credential, audience="https://management.azure.com", retry_total=0)


assert list(registry(secret_credential()).list_repository_names()) == ["app"]
elsewhere = ContainerRegistryClient(VAULT, secret_credential(), audience="https://elsewhere.example", retry_total=0)
refuses(ClientAuthenticationError, lambda: list(elsewhere.list_repository_names()))

# Who does not trust the double's CA does not speak to it.
os.environ["REQUESTS_CA_BUNDLE"] = os.environ["OTHER_CA"]
refuses(Exception, lambda: client(secret_credential()).get_secret("login"))
