"""python-gitlab against our double: variables of a project and a group, by environment, in pages; and their deploy tokens."""

import os

import gitlab

URL, TOKEN = os.environ["URL"], os.environ["TOKEN"]
client = gitlab.Gitlab(URL, private_token=TOKEN)
project, group = client.projects.get("1", lazy=True), client.groups.get("7", lazy=True)

assert project.variables.get("A", filter={"environment_scope": "prod"}).value == "of prod"
assert project.variables.get("A", filter={"environment_scope": "*"}).value == "of all"
try:
    project.variables.get("A")
except gitlab.exceptions.GitlabGetError as error:
    assert error.response_code == 409, error
else:
    raise AssertionError("two variables of one name")
for missing in (project, group):
    try:
        missing.variables.get("MISSING")
    except gitlab.exceptions.GitlabGetError as error:
        assert error.response_code == 404 and "Not Found" in str(error.error_message), error
    else:
        raise AssertionError("a variable that is not there")

assert len(group.variables.list(get_all=True)) == 250
assert len(group.variables.list(page=2, per_page=100, get_all=False)) == 100
hidden = project.variables.get("HIDDEN")
assert hidden.value is None and hidden.hidden is True

made = project.variables.create({"key": "NEW", "value": "v", "description": "d"})
assert (made.value, made.environment_scope, made.description) == ("v", "*", "d")
made.value = "w"
made.save()
assert project.variables.get("NEW").value == "w"
made.delete()
assert [found.full_path for found in project.groups.list(get_all=True)] == ["top"]

for owner in (project, group):
    asked = {"name": "n", "scopes": ["read_registry"], "expires_at": "2099-01-31T12:00:00Z"}
    token = owner.deploytokens.create(asked)
    assert token.token and token.username == f"gitlab+deploy-token-{token.id}" and not token.revoked
    assert owner.deploytokens.create({**asked, "username": "puller"}).username == "puller"
    assert len(owner.deploytokens.list(get_all=True)) == 2
    token.delete()
    assert [one.id for one in owner.deploytokens.list(get_all=True)] != [token.id]
    try:
        token.delete()
    except gitlab.exceptions.GitlabDeleteError as error:
        assert error.response_code == 404, error
    else:
        raise AssertionError("a token that is gone")

try:
    gitlab.Gitlab(URL, private_token="wrong").projects.get("1", lazy=True).variables.list(get_all=True)
except gitlab.exceptions.GitlabAuthenticationError:
    pass
else:
    raise AssertionError("a wrong token")
