"""OpenStack's Keystone or Barbican on loopback, on SQLite in a folder.

serve.py keystone PORT           makes its database where there is none, with the user admin
serve.py barbican PORT KEYSTONE  the same, for tokens of the Keystone at that port

Neither waits for the disk: what they keep is for one run. The folder is the home, since Barbican's plugins read their settings from there and nowhere else. The password of the user
admin is in its file `password`.
"""

import base64
import os
import subprocess
import sys
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

HOME = Path(os.environ["HOME"])
PASSWORD = (HOME / "password").read_text()

KEYSTONE = """[database]
connection = sqlite:///{home}/keystone.db
sqlite_synchronous = false
[fernet_tokens]
key_repository = {home}/fernet
[credential]
key_repository = {home}/credential
[token]
provider = fernet
# Logins are many here, and passwords nobody's.
[identity]
password_hash_rounds = 4
"""

BARBICAN = """[DEFAULT]
db_auto_create = true
host_href = http://127.0.0.1:{port}
max_allowed_secret_in_bytes = 100000
max_allowed_request_size_in_bytes = 500000
[database]
connection = sqlite:///{home}/barbican.db
sqlite_synchronous = false
[simple_crypto_plugin]
kek = {kek}
[keystone_authtoken]
auth_type = password
auth_url = http://127.0.0.1:{keystone}/v3
www_authenticate_uri = http://127.0.0.1:{keystone}/v3
username = admin
password = {password}
project_name = admin
user_domain_name = Default
project_domain_name = Default
"""


def keystone(port):
    conf = HOME / "keystone.conf"
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = str(conf)
    if not conf.exists():
        conf.write_text(KEYSTONE.format(home=HOME))
        url = f"http://127.0.0.1:{port}/v3/"
        user = ["--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid())]
        urls = [each for kind in ("admin", "public", "internal") for each in (f"--bootstrap-{kind}-url", url)]
        for command in (
            ["db_sync"],
            ["fernet_setup", *user],
            ["credential_setup", *user],
            ["bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-region-id", "RegionOne", *urls],
        ):
            manage = "from keystone.cmd.manage import main; main()"
            subprocess.run([sys.executable, "-c", manage, "--config-file", str(conf), *command], check=True)
    from keystone.server.wsgi import initialize_public_application

    return initialize_public_application()


def barbican(port, keystone_port):
    folder = HOME / ".barbican"
    conf, paste = folder / "barbican.conf", folder / "barbican-api-paste.ini"
    if not conf.exists():
        folder.mkdir(exist_ok=True)
        shipped = Path(sys.prefix, "etc/barbican/barbican-api-paste.ini").read_text()
        # What is checked by default is no plugin of this version.
        paste.write_text(shipped.replace("backends = disable_by_file", "backends ="))
        kek = base64.b64encode(os.urandom(32)).decode()
        text = BARBICAN.format(home=HOME, port=port, keystone=keystone_port, kek=kek, password=PASSWORD)
        conf.write_text(text)
    from paste.deploy import loadapp

    return loadapp(f"config:{paste}")


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        # Without asking for a name.
        return self.client_address[0]


if __name__ == "__main__":
    kind, *ports = sys.argv[1:]
    # What is left of the arguments is for nobody else.
    sys.argv[1:] = []
    application = keystone(*ports) if kind == "keystone" else barbican(*ports)
    with make_server("127.0.0.1", int(ports[0]), application, Server, Handler) as server:
        server.serve_forever()
