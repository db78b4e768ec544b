"""Cloudsmith's own client against our double: a token of the cluster buys one of a service, and nothing else does."""

import json
import os

import cloudsmith_api
from cloudsmith_api.rest import ApiException

configuration = cloudsmith_api.Configuration()
configuration.host = os.environ["URL"]
client = cloudsmith_api.OpenidApi(cloudsmith_api.ApiClient(configuration))


def bought(organisation="org", service="robot", shown=os.environ["BELIEVED"]):
    asked = cloudsmith_api.OidcRequest(oidc_token=shown, service_slug=service)
    return client.openid_create(organisation, data=asked).token


def refused(**asked):
    try:
        bought(**asked)
    except ApiException as error:
        return error.status, json.loads(error.body)["detail"]
    raise AssertionError(f"{asked} is not refused")


assert bought() == os.environ["GIVEN"]
assert refused(shown="h.another.cluster") == (422, "Invalid OIDC token.")
assert refused(service="nobody") == (422, "Invalid OIDC token.")
assert refused(organisation="nowhere") == (404, "Not found.")
