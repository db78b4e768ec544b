"""Fortanix' own client against our double: a login, an opaque object, a secret that is exported."""

import os

from sdkms.v1 import ApiClient, AuthenticationApi, SecurityObjectsApi
from sdkms.v1.configuration import Configuration
from sdkms.v1.models.sobject_descriptor import SobjectDescriptor
from sdkms.v1.rest import ApiException


def client(key):
    configuration = Configuration()
    configuration.host = os.environ["URL"]
    configuration.app_api_key = key
    return ApiClient(configuration=configuration)


def refused(status, call, *arguments):
    try:
        call(*arguments)
    except ApiException as error:
        assert error.status == status, error
    else:
        raise AssertionError(f"{arguments} is not refused")


logged_in = client(os.environ["KEY"])
granted = AuthenticationApi(api_client=logged_in).authorize()
assert granted.token_type == "Bearer" and granted.expires_in == 600, granted
logged_in.configuration.api_key["Authorization"] = granted.access_token
logged_in.configuration.api_key_prefix["Authorization"] = "Bearer"

objects = SecurityObjectsApi(api_client=logged_in)
blob = objects.get_security_object_ex(SobjectDescriptor(name="blob"))
assert (str(blob.obj_type), bytes(blob.value)) == ("ObjectType.OPAQUE", b"\x00\xff"), blob
password = objects.get_security_object_ex(SobjectDescriptor(name="password"))
assert (str(password.obj_type), password.value) == ("ObjectType.SECRET", None), password
exported = objects.get_security_object_value_ex(SobjectDescriptor(kid=password.kid))
assert bytes(exported.value) == b"of a secret", exported

refused(404, objects.get_security_object_ex, SobjectDescriptor(name="missing"))
refused(403, objects.get_security_object_value_ex, SobjectDescriptor(name="kept"))
refused(401, AuthenticationApi(api_client=client("YXBwLTE6d3Jvbmc=")).authorize)
