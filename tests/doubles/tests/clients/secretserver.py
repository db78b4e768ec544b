"""Delinea's own client against our double: logins, a secret by number and by path, its file; and through Platform."""

import os

from delinea.secrets.server import (
    DomainPasswordGrantAuthorizer,
    PasswordGrantAuthorizer,
    SecretServer,
    SecretServerClientError,
    ServerSecret,
)

URL, NAME, PASSWORD = os.environ["URL"], os.environ["NAME"], os.environ["PASSWORD"]
plain = SecretServer(URL, PasswordGrantAuthorizer(URL, NAME, PASSWORD))
of_domain = SecretServer(URL, DomainPasswordGrantAuthorizer(URL, NAME, os.environ["DOMAIN"], PASSWORD))

through_platform = SecretServer(
    os.environ["PLATFORM"], PasswordGrantAuthorizer(os.environ["PLATFORM"], NAME, PASSWORD)
)

for client in (plain, of_domain, through_platform):
    secret = ServerSecret(**client.get_secret(int(os.environ["ID"]), fetch_file_attachments=False))
    assert (secret.name, secret.folder_id, secret.fields["password"].value) == ("db", 73, "of the field"), secret
    assert secret.fields["data"].value == '{"user":"app"}' and secret.fields["data"].field_name == "Data"
by_path = ServerSecret(**plain.get_secret_by_path("/app/db", fetch_file_attachments=False))
assert by_path.id == int(os.environ["ID"])
whole = plain.get_secret(by_path.id)
files = [item for item in whole["items"] if item["isFile"]]
assert files[0]["itemValue"].content == b"of the file", files


def refused(call, *arguments):
    try:
        call(*arguments)
    except SecretServerClientError as error:
        return error.message
    raise AssertionError(f"{arguments} is not refused")


assert refused(plain.get_secret, 999) == "what is wrong"
wrong = SecretServer(URL, PasswordGrantAuthorizer(URL, NAME, "wrong"))
assert refused(wrong.get_secret, by_path.id) == "Login failed."
