"""The shop of envoy/envoy-gateway: its services, its identity provider, and requests through the gateway."""

import base64
import http.client
import http.server
import json
import subprocess
import threading
import time

from kit import Wrong, free_port, run

HOST = "shop.example"
ISSUER = "https://idp.example/"
# Where the container of a gateway listens for its port 80.
PORT = 10080


def _encode(content):
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _serve(address, handler, **more):
    server = http.server.ThreadingHTTPServer(address, handler)
    server.daemon_threads = True
    for name, value in more.items():
        setattr(server, name, value)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


class _Keys(_Handler):
    def do_GET(self):
        self.server.asked += 1
        known = self.path == "/.well-known/jwks.json"
        self.answer(200 if known else 404, {"keys": [self.server.key]} if known else {})


class _Service(_Handler):
    """Says at which address it was asked, and for what."""

    def do_GET(self):
        headers = {name.lower(): value for name, value in self.headers.items()}
        if self.path.startswith("/check"):
            self.server.checked.append(headers)
        self.answer(200, {"at": self.request.getsockname()[0], "headers": headers})

    do_POST = do_DELETE = do_HEAD = do_GET


class Provider:
    """Signs tokens, and serves the key to them."""

    def __init__(self, folder):
        self.key = folder / "idp.key"
        run("openssl", "genrsa", "-out", self.key, "2048")
        modulus = run("openssl", "rsa", "-in", self.key, "-noout", "-modulus").strip().partition("=")[2]
        key = {"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", "e": "AQAB", "n": _encode(bytes.fromhex(modulus))}
        self.port = free_port()
        self.server = _serve(("127.0.0.1", self.port), _Keys, key=key, asked=0)

    def token(self, **claims):
        now = int(time.time())
        told = {"iss": ISSUER, "sub": "alice", "aud": "orders", "iat": now, "exp": now + 3600, **claims}
        told = {name: value for name, value in told.items() if value is not None}
        said = f"{_encode({'alg': 'RS256', 'typ': 'JWT', 'kid': '1'})}.{_encode(told)}"
        signing = ["openssl", "dgst", "-sha256", "-sign", str(self.key)]
        signature = subprocess.run(signing, input=said.encode(), capture_output=True, check=True).stdout
        return f"{said}.{_encode(signature)}"


def services():
    """Starts what is behind the gateway, at every address of this network; what it was asked to check, as an ext_authz."""
    return _serve(("0.0.0.0", 9080), _Service, checked=[]).checked


class Seen:
    """What came of a request: its status and headers, and what the service saw of it, if it saw any."""

    def __init__(self, answer, body):
        self.status, self.headers, self.body, self.seen = answer.status, answer.headers, body, None
        if self.status == 200 and body.startswith(b'{"at"'):
            self.seen = json.loads(body)


def send(path, token=None, method="GET", host=HOST, port=PORT, connection=None, **headers):
    """One request through the gateway, over a connection of its own unless one is given."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    used = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        used.request(method, path, headers={"Host": host, **headers})
        answer = used.getresponse()
        return Seen(answer, answer.read())
    finally:
        if not connection:
            used.close()


def status(path, token=None, **more):
    """The status of a request; 0 where no connection was to be had."""
    try:
        return send(path, token, **more).status
    except (OSError, http.client.HTTPException):
        return 0


class Door:
    """Somebody without a token, who tries all the while whether a path is open: on a connection that stays, and on new ones."""

    def __init__(self, *paths, token=None):
        self.paths, self.token, self.tried, self.is_over = paths, token, [], threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(stays,), daemon=True) for stays in (False, True)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        for thread in self.threads:
            thread.join()

    def _run(self, stays):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30) if stays else None
        while not self.is_over.wait(0.004):
            for path in self.paths:
                at, seen = time.monotonic(), 0
                try:
                    seen = send(path, self.token, connection=connection).status
                except (OSError, http.client.HTTPException):
                    if connection:
                        connection.close()
                self.tried.append((at, seen))

    def statuses(self):
        """How many of which."""
        counted = {}
        for _, seen in sorted(self.tried):
            counted[seen] = counted.get(seen, 0) + 1
        return counted

    def open_for(self):
        """From the first request that came through to the last one, in seconds; nothing where none did."""
        times = [at for at, seen in self.tried if seen == 200]
        return max(times) - min(times) if times else None

    def kept_shut(self, what):
        """Says how many tried, where none came through."""
        counted = self.statuses()
        if counted.get(200):
            raise Wrong(f"{what}: open for {self.open_for():.2f} s, {counted}")
        return sum(counted.values())
