"""Conjur's own client: logins, values, a batch, a list with annotations, a policy; and what is refused."""

import asyncio
import os
import tempfile
from urllib.parse import unquote

import conjur_api.providers.cert_authentication_strategy as by_certificate
from conjur_api import Client
from conjur_api.errors.errors import HttpStatusError
from conjur_api.models import ConjurConnectionInfo, CredentialsData, SslVerificationMode
from conjur_api.providers import AuthnAuthenticationStrategy, SimpleCredentialsProvider
from conjur_api.providers.jwt_authentication_strategy import JWTAuthenticationStrategy
from conjur_api.wrappers.http_wrapper import invoke_endpoint

URL, CA, HOST = os.environ["URL"], os.environ["CA"], os.environ["HOST"]
INFO = ConjurConnectionInfo(conjur_url=URL, account="lab", cert_file=CA, service_id="dev")


def client(strategy):
    return Client(INFO, authn_strategy=strategy, ssl_verification_mode=SslVerificationMode.CA_BUNDLE, async_mode=True)


def by_key(key):
    provider = SimpleCredentialsProvider()
    provider.save(CredentialsData(machine=URL, username=HOST, api_key=key))
    return client(AuthnAuthenticationStrategy(provider))


async def with_a_body(verb, endpoint, params, data, **rest):
    # A login by certificate has no body, and the client measures it all the same; and it encodes the host twice.
    params = {name: unquote(value) for name, value in params.items()}
    return await invoke_endpoint(verb, endpoint, params, data or "", **rest)


async def refused(call, status):
    try:
        await call
    except HttpStatusError as error:
        assert error.status == status, error.status
    else:
        raise AssertionError(f"not refused with {status}")


async def main():
    conjur = by_key(os.environ["KEY"])
    assert await conjur.get("apps/a") == b"first"
    await conjur.set("apps/a", "second")
    assert await conjur.get("apps/a") == b"second"
    assert await conjur.get("apps/a", version="1") == b"first"
    assert await conjur.get_many("apps/a", "apps/b") == {"apps/a": "second", "apps/b": "b"}
    await refused(conjur.get_many("apps/a", "apps/never"), 404)
    await refused(conjur.get_many("apps/a", "apps/forbidden"), 403)
    await refused(conjur.get_many("apps/a", "apps/binary"), 406)
    await refused(conjur.get("apps/never"), 404)
    await refused(conjur.get("apps/forbidden"), 403)
    names = await conjur.list({"kind": "variable", "limit": 2, "offset": 1})
    assert names == ["lab:variable:apps/b", "lab:variable:apps/binary"], names
    everything = await conjur.list({"kind": "variable", "inspect": True})
    marks = [each["annotations"] for each in everything if each["id"] == "lab:variable:apps/b"]
    assert marks[0][0]["name"] == "team" and marks[0][0]["value"] == "blue", marks
    assert not await conjur.resource_exists("variable", "apps/new/value")
    with tempfile.NamedTemporaryFile("w") as policy:
        policy.write("- !policy\n  id: new\n  body:\n  - !variable\n    id: value\n    annotations:\n      a: b\n  - !variable other\n")
        policy.flush()
        await conjur.load_policy_file("apps", policy.name)
        await refused(conjur.load_policy_file("never", policy.name), 404)
    assert await conjur.resource_exists("variable", "apps/new/value")
    assert await conjur.resource_exists("variable", "apps/new/other")
    await refused(conjur.get("apps/new/value"), 404)
    await refused(by_key("another").get("apps/a"), 401)
    assert await client(JWTAuthenticationStrategy(os.environ["JWT"])).get("apps/b") == b"b"
    await refused(client(JWTAuthenticationStrategy("another")).get("apps/b"), 401)
    by_certificate.invoke_endpoint = with_a_body
    for host in (HOST, None):
        strategy = by_certificate.CertAuthenticationStrategy(os.environ["CERT"], os.environ["CERT_KEY"], "dev", host)
        assert await client(strategy).get("apps/b") == b"b"


asyncio.run(main())
