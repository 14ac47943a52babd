"""What is around the proxies: an issuer of tokens, a service behind them, and one that is asked before everything."""

import base64
import http.server
import json
import ssl
import subprocess
import threading
import time

from kit import certificate, free_port, run

HOST = "idp.example"
ISSUER = f"https://{HOST}/"


def coded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def quiet(handler, port=0, **attributes):
    """A server of loopback that runs until the process ends."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    for name, value in attributes.items():
        setattr(server, name, value)
    return server


def serve(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()


class _Keys(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps(self.server.keys).encode() if self.path == "/.well-known/jwks.json" else b""
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Issuer:
    """It shows its key over HTTPS, and signs tokens by RS256."""

    def __init__(self, folder):
        self.folder = folder / "issuer"
        self.folder.mkdir()
        self.key = self.folder / "key.pem"
        run("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", self.key)
        modulus = run("openssl", "rsa", "-in", self.key, "-noout", "-modulus").split("=")[1].strip()
        public = {"kty": "RSA", "n": coded(bytes.fromhex(modulus)), "e": "AQAB", "kid": "one", "alg": "RS256", "use": "sig"}
        self.authority = certificate(self.folder, HOST)
        self.port = free_port()
        self.server = quiet(_Keys, self.port, keys={"keys": [public]})
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.authority, self.folder / "tls.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        serve(self.server)

    def token(self, scope="orders:read", audience="orders", **more):
        now = int(time.time())
        claims = {"iss": ISSUER, "sub": "alice", "aud": audience, "scope": scope, "iat": now, "exp": now + 3600, **more}
        header = {"alg": "RS256", "kid": "one", "typ": "JWT"}
        signed = ".".join(coded(json.dumps(part).encode()) for part in (header, claims))
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self.key], input=signed.encode(), capture_output=True, check=True,
        ).stdout
        return f"{signed}.{coded(signature)}"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class _Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        seen = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.path, seen))
        body = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_OPTIONS = do_DELETE = answer

    def log_message(self, *_):
        pass


class Echo:
    """It answers 200 with the headers that came."""

    def __init__(self):
        self.server = quiet(_Echo, seen=[])
        self.seen = self.server.seen
        self.port = self.server.server_address[1]
        serve(self.server)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
