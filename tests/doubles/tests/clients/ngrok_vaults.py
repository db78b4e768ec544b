"""ngrok's own client against our double: vaults, and secrets that are made, listed over pages, changed and removed."""

import os

import ngrok

URL = os.environ["URL"]
client = ngrok.Client(os.environ["KEY"], URL)

vaults = list(client.vaults.list())
assert [vault.name for vault in vaults] == [os.environ["VAULT"]], vaults
made = client.secrets.create(name="made", value="first", metadata="{}", description="d", vault_id=vaults[0].id)
assert (made.name, made.metadata, made.vault.id) == ("made", "{}", vaults[0].id), made

page = client.vaults.get_secrets_by_vault(vaults[0].id)
assert len(page.secrets) == 100 and page.next_page_uri is not None, page
names = [secret.name for secret in page]
assert len(names) == 151 and names[0] == "made", len(names)

client.secrets.update(id=made.id, value="second")
gone = [secret.id for secret in page.__class__(client, client.http_client.request("get", page.next_page_uri)).secrets]
client.secrets.delete(gone[-1])
try:
    client.secrets.delete(gone[-1])
except ngrok.NotFoundError as error:
    assert error.http_status_code == 404, error
else:
    raise AssertionError("a secret that is not there")
try:
    ngrok.Client("wrong", URL).vaults.list()
except ngrok.Error as error:
    assert error.http_status_code == 401, error
else:
    raise AssertionError("a wrong key")
