"""PyGithub against our double: an App's key signs for a token of its installation, and no other key does."""

import os

from github import Auth, Github, GithubException, GithubIntegration

URL, APP, KEY, INSTALLATION = (os.environ[name] for name in ("URL", "APP", "KEY", "INSTALLATION"))
AT_ONCE = {"base_url": URL, "retry": None, "seconds_between_requests": None, "seconds_between_writes": None}


def token(app=APP, key=KEY, installation=INSTALLATION):
    integration = GithubIntegration(auth=Auth.AppAuth(app, key), **AT_ONCE)
    return integration.get_access_token(int(installation), permissions={"contents": "read"})


def refused(**by):
    try:
        token(**by)
    except GithubException as error:
        return error.status
    raise AssertionError(f"{by} is not refused")


given = token()
assert (given.token, given.permissions, given.expires_at.year) == ("ghs_canary", {"contents": "read"}, 2099), given
assert given.repository_selection == "all"
installed = Auth.AppAuth(APP, KEY).get_installation_auth(int(INSTALLATION))
assert Github(auth=installed, **AT_ONCE).requester.auth.token == "ghs_canary"

assert refused(key=os.environ["OTHER_KEY"]) == 401
assert refused(app="4321") == 401
assert refused(installation="8765") == 404
