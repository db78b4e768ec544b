"""The vendor's Connect client against our server: what it reads, writes and is refused."""

import os

from onepasswordconnectsdk.client import new_client
from onepasswordconnectsdk.errors import FailedToRetrieveItemException, FailedToRetrieveVaultException
from onepasswordconnectsdk.models import Field, Item, ItemVault

url = os.environ["CONNECT_URL"]
client = new_client(url, "canary-token")

vault = client.get_vault_by_title("prod")
assert vault.name == "prod"
assert client.get_vault(vault.id).id == vault.id
assert [v.name for v in client.get_vaults()] == ["prod"]

# Read by title and by id; fields by label; files by their content.
item = client.get_item("db credentials", "prod")
assert {f.label: f.value for f in item.fields} == {"username": "admin", "password": "canary é\n"}
assert client.get_item(item.id, vault.id).title == "db credentials"
files = client.get_files(item.id, vault.id)
assert [f.name for f in files] == ["ca.bin"]
assert client.get_file_content(files[0].id, item.id, vault.id, files[0].content_path) == b"\x00\xff"
assert [i.title for i in client.get_items(vault.id)] == ["db credentials"]
assert client.get_items(vault.id, 'title eq "nobody"') == []

# Written, read back, changed, deleted.
made = client.create_item(
    vault.id,
    Item(title="made", category="SERVER", vault=ItemVault(id=vault.id), tags=["ours"],
         fields=[Field(label="password", type="CONCEALED", value="one")]),
)
read = client.get_item("made", "prod")
assert (read.id, read.version, read.tags) == (made.id, 1, ["ours"]), read
read.fields[0].value = "two"
assert client.update_item(read.id, vault.id, read).version == 2
assert client.get_item_by_id(read.id, vault.id).fields[0].value == "two"
client.delete_item(read.id, vault.id)
try:
    client.get_item_by_id(read.id, vault.id)
    raise AssertionError("it is deleted")
except FailedToRetrieveItemException as refused:
    assert refused.status_code == 404

# Nobody else is let in.
try:
    new_client(url, "another").get_vaults()
    raise AssertionError("a wrong token is let in")
except FailedToRetrieveVaultException:
    pass
