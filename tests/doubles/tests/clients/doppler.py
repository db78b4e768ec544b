"""Doppler's own command line against our double: it downloads, lists, reads, sets and deletes."""

import json
import os
import subprocess
import tempfile

import doppler_cli

URL, TOKEN = os.environ["URL"], os.environ["TOKEN"]
DOPPLER = os.path.join(os.path.dirname(doppler_cli.__file__), "bin", "doppler")
PLACE = ["--project", "auth-api", "--config", "dev"]


def doppler(*args, token=TOKEN, fails=False):
    with tempfile.TemporaryDirectory() as home:
        environment = {"HOME": home, "PATH": os.environ.get("PATH", ""), "NO_PROXY": "*"}
        command = [DOPPLER, *args, "--api-host", URL, "--token", token, "--no-check-version", "--no-read-env"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode != 0) == fails, (args, done.stdout, done.stderr)
    return done.stdout if not fails else done.stderr


def download(*more):
    return doppler("secrets", "download", "--no-file", "--no-fallback", *more, *PLACE)


assert json.loads(download())["API_KEY"] == "k"
assert json.loads(download("--format", "json", "--name-transformer", "camel"))["apiKey"] == "k"
assert 'API_KEY="k"' in download("--format", "env")
assert json.loads(doppler("secrets", "get", "API_KEY", "--json", *PLACE))["API_KEY"]["computed"] == "k"
assert "API_KEY" in doppler("secrets", "--only-names", *PLACE)
doppler("secrets", "set", "NEW=value", *PLACE)
assert json.loads(download())["NEW"] == "value"
doppler("secrets", "delete", "NEW", "--yes", *PLACE)
assert "NEW" not in json.loads(download())
doppler("secrets", "get", "MISSING", *PLACE, fails=True)
assert "Invalid Auth token" in doppler("secrets", "download", "--no-file", "--no-fallback", *PLACE, token="dp.st.dev.wrong", fails=True)
