"""Akeyless's own SDK against our double: a login, items of several kinds, pages, and changes."""

import os

import akeyless

api = akeyless.V2Api(akeyless.ApiClient(akeyless.Configuration(host=os.environ["URL"])))
token = api.auth(akeyless.Auth(access_id=os.environ["ACCESS_ID"], access_key=os.environ["ACCESS_KEY"])).token


def refused(status, call):
    try:
        call()
    except akeyless.ApiException as error:
        assert error.status == status, error
    else:
        raise AssertionError(f"no {status}")


def value(name, **more):
    return api.get_secret_value(akeyless.GetSecretValue(names=[name], token=token, **more))


assert value("/app/a")["/app/a"] == "second"
assert value("/app/a", version=1)["/app/a"] == "first"
refused(404, lambda: value("/app/missing"))
item = api.describe_item(akeyless.DescribeItem(name="/app/a", token=token))
assert (item.item_name, item.item_type, item.last_version) == ("/app/a", "STATIC_SECRET", 2)
refused(404, lambda: api.describe_item(akeyless.DescribeItem(name="/app/missing", token=token)))
dynamic = api.get_dynamic_secret_value(akeyless.GetDynamicSecretValue(name="/dynamic", token=token))
assert dynamic["user"] == "u"
rotated = api.get_rotated_secret_value(akeyless.GetRotatedSecretValue(names="/rotated", token=token))
assert rotated["value"]["payload"] == "p"
certificate = api.get_certificate_value(akeyless.GetCertificateValue(name="/certificate", token=token))
assert certificate.certificate_pem == "c"

found, page = [], None
while page != "":
    listed = api.list_items(akeyless.ListItems(token=token, auto_pagination="disabled", pagination_token=page, filter="/list/"))
    found += [item.item_name for item in listed.items]
    page = listed.next_page or ""
assert len(found) == len(set(found)) == 25, found
tagged = api.list_items(akeyless.ListItems(token=token, tag="blue", minimal_view=False))
assert [item.item_name for item in tagged.items] == ["/app/a"]

api.create_secret(akeyless.CreateSecret(name="/new", value="v", tags=["mine"], token=token))
refused(409, lambda: api.create_secret(akeyless.CreateSecret(name="/new", value="v", token=token)))
api.update_secret_val(akeyless.UpdateSecretVal(name="/new", value="w", token=token))
api.update_item(akeyless.UpdateItem(name="/new", add_tag=["more"], token=token))
assert value("/new")["/new"] == "w"
assert api.describe_item(akeyless.DescribeItem(name="/new", token=token)).item_tags == ["mine", "more"]
api.delete_item(akeyless.DeleteItem(name="/new", token=token))
refused(404, lambda: value("/new"))

refused(401, lambda: api.auth(akeyless.Auth(access_id="p-x", access_key="wrong")))
refused(401, lambda: api.describe_item(akeyless.DescribeItem(name="/app/a", token="t-wrong")))
