"""Logins by NTLM as pyspnego takes them, and behind them an answer that tells who asked for what.

The first segment of a path says how the server is: /ntlm and /negotiate name the login so, /closing closes the connection
after its challenge, /anew never goes on with what was begun, and /open wants no login. The last is what is asked for; there is no
/missing. Each request is a line of JSON in the log.
"""

import base64
import hashlib
import http.server
import json
import os
import ssl

import spnego
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from spnego._ntlm_raw.messages import Authenticate, AvId, NTClientChallengeV2
from spnego.channel_bindings import GssChannelBindings
from spnego.exceptions import SpnegoError

PORT, LOG = os.environ["PORT_FILE"], os.environ["LOG_FILE"]
CERTIFICATE, KEY = os.environ.get("CERTIFICATE"), os.environ.get("KEY")


def channel():
    """The channel that a login must hold for: of the certificate that is served, or of BOUND_TO in its place."""
    path = os.environ.get("BOUND_TO") or CERTIFICATE
    if not path:
        return None
    with open(path, "rb") as file:
        certificate = x509.load_pem_x509_certificate(file.read())
    hashed = hashlib.new(certificate.signature_hash_algorithm.name, certificate.public_bytes(Encoding.DER))
    return GssChannelBindings(application_data=b"tls-server-end-point:" + hashed.digest())


CHANNEL = channel()


def told(token):
    """What a last message says of itself."""
    message = Authenticate.unpack(token)
    said = NTClientChallengeV2.unpack(message.nt_challenge_response[16:]).av_pairs
    channel = said.get(AvId.channel_bindings, bytes(16))
    return {
        "user": message.user_name,
        "domain": message.domain_name,
        "target": said.get(AvId.target_name),
        "covered": message.mic not in (None, bytes(16)),
        "bound": channel != bytes(16),
    }


class Acceptor(http.server.BaseHTTPRequestHandler):
    """One for each connection, and so are its login and who it is."""

    protocol_version = "HTTP/1.1"
    login = who = None

    def do(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        _, self.how, *_, asked = self.path.partition("?")[0].split("/")
        self.told = {}
        challenge = None if self.how == "open" else self.challenge()
        if challenge is not None:
            ends = {"Connection": "close"} if self.how == "closing" else {}
            return self.answer(401, "no", {"WWW-Authenticate": challenge, **ends})
        found = {"who": self.who, "asked": asked, "other": self.headers.get("X-Other")}
        self.answer(404 if asked == "missing" else 200, json.dumps(found))

    def challenge(self):
        """What the login still takes; None where it is done."""
        name = "Negotiate" if self.how == "negotiate" else "NTLM"
        given, _, token = self.headers.get("Authorization", "").partition(" ")
        if given != name or self.how == "anew":
            return name
        token = base64.b64decode(token)
        if self.login is None:
            self.login = spnego.server(protocol="ntlm", channel_bindings=CHANNEL)
        else:
            self.told = told(token)
        try:
            answer = self.login.step(token)
        except SpnegoError:
            self.login = None
            return name
        if not self.login.complete:
            return f"{name} {base64.b64encode(answer).decode()}"
        self.who = self.login.client_principal
        return None

    def answer(self, status, text, headers={}):
        line = {"connection": self.client_address[1], "method": self.command, "status": status, "body": self.body}
        with open(LOG, "a") as log:
            log.write(json.dumps({**line, **self.told}) + "\n")
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_PUT = do_DELETE = do

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Acceptor)
if CERTIFICATE:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE, KEY)
    # Whoever offers to speak HTTP/2 is taken at their word.
    tls.set_alpn_protocols(["h2", "http/1.1"])
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
with open(f"{PORT}.new", "w") as file:
    file.write(str(server.server_port))
os.rename(f"{PORT}.new", PORT)
server.serve_forever()
