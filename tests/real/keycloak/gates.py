"""Envoys with a recipe for Keycloak, a service behind them, and the receiver whose list they ask for."""

import http.client
import http.server
import json
import os
import re
import secrets
import textwrap
import threading
import urllib.parse

from kit import REPOSITORY, Program, envoy, eventually, free_port, portcullis

from .server import API_SECRET, ask

RECIPES = REPOSITORY / "envoy" / "providers"
TEMPLATE = REPOSITORY / "tests" / "real" / "keycloak" / "envoy.yaml"
# How often a gate asks for the list, in seconds.
INTERVAL = 1
WORKERS = 2


class _Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.logout_tokens += urllib.parse.parse_qs(form).get("logout_token", [])
        self.do_GET()

    def log_message(self, *_):
        pass


class Service:
    """What is behind the gates: it answers 200. Logout tokens that are sent to it are kept."""

    def __init__(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Service)
        self.server.daemon_threads = True
        self.logout_tokens = self.server.logout_tokens = []
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Receiver:
    """`portcullis receive` for the realm."""

    def __init__(self, folder, keycloak, audiences):
        self.folder, self.port, self.program = folder, free_port(), None
        self.base = f"http://127.0.0.1:{self.port}"
        self.secret = secrets.token_hex(32)
        self.tool = portcullis()
        configuration = {
            "listen": f"127.0.0.1:{self.port}",
            "database": str(folder / "receive.redb"),
            "admin": {"token": {"environment_variable": "RECEIVE_ADMIN_TOKEN"}},
            "issuers": [{"issuer": keycloak.issuer, "audiences": audiences, "discovery": {}, "insecure_http": True}],
        }
        (folder / "receive.yaml").write_text(json.dumps(configuration))

    def start(self):
        command = [self.tool, "receive", "--config", self.folder / "receive.yaml"]
        environment = {**os.environ, "RECEIVE_ADMIN_TOKEN": self.secret}
        self.program = Program(command, self.folder / "receive.log", is_heard=False, env=environment)

        def is_up():
            if self.program.child.poll() is not None:
                raise RuntimeError((self.folder / "receive.log").read_text(errors="replace")[-3000:])
            try:
                return ask("GET", f"{self.base}/healthz").status == 200
            except OSError:
                return False

        eventually("the receiver", is_up)

    def kill(self):
        """At once, with no chance to write anything."""
        self.program.child.kill()
        self.program.child.wait()

    def stop(self):
        if self.program:
            self.program.stop()

    def list(self):
        """The list as it is served."""
        return ask("GET", f"{self.base}/revoked.json").json()

    def events(self):
        """How many events came, by outcome."""
        text = ask("GET", f"{self.base}/metrics").body.decode()
        counted = re.findall(r'^portcullis_receive_events_total\{(.*)\} (\d+)$', text, re.MULTILINE)
        sums = {}
        for labels, number in counted:
            outcome = re.search(r'outcome="([^"]+)"', labels)[1]
            sums[outcome] = sums.get(outcome, 0) + int(number)
        return sums

    def add(self, document):
        """An entry by hand."""
        return ask("POST", f"{self.base}/revocations", document=document, token=self.secret)


class Gate:
    """An Envoy with the recipe, its addresses replaced, and with what comes after it."""

    def __init__(self, name, folder, binary, recipe, after, keycloak, receiver, service):
        self.name, self.port = name, free_port()
        recipe = recipe.read_text().replace("https://keycloak.example.com", keycloak.base) + after
        text = TEMPLATE.read_text()
        for word, value in {
            "GATE_PORT": self.port, "UPSTREAM_PORT": service.port, "KEYCLOAK_PORT": keycloak.port,
            "RECEIVE_PORT": receiver.port, "SECRET_OF_API": API_SECRET, "MODULE": REPOSITORY / "dist" / "portcullis.wasm",
        }.items():
            text = text.replace(word, str(value))
        indent = re.search(r"^( *)RECIPE$", text, re.MULTILINE)[1]
        text = text.replace(f"{indent}RECIPE", textwrap.indent(recipe, indent))
        path = folder / f"{name}.yaml"
        path.write_text(text)
        command = [
            binary, "--config-path", path, "--concurrency", WORKERS, "--use-dynamic-base-id", "--log-level", "warning",
            "--component-log-level", "wasm:info",
        ]
        self.log = folder / f"{name}.log"
        self.program = Program(command, self.log, is_heard=False)

        def is_up():
            if self.program.child.poll() is not None:
                raise RuntimeError(self.log.read_text(errors="replace")[-3000:])
            try:
                return self.verdict(None)[0] == 401
            except OSError:
                return False

        eventually(name, is_up)

    def verdict(self, token):
        """The status and, of a refusal, the reason. A connection of its own: any worker may have it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            connection.request("GET", "/orders/1", headers=headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status, (answer.headers.get("x-details") or "").removeprefix("portcullis_")
        finally:
            connection.close()

    def stop(self):
        self.program.stop()


def gates(folder, keycloak, receiver, service):
    """Two that ask for the receiver's list, and one that asks Keycloak about each token; one after the other."""
    binary = envoy()
    revocation = textwrap.dedent(f"""
        revocation:
          lists:
            - name: receive
              http_uri: {{ uri: {receiver.base}/revoked.json, cluster: receive, timeout: 5s }}
              poll_interval: {INTERVAL}s
    """)
    recipe, asking = RECIPES / "keycloak.yaml", RECIPES / "introspection" / "keycloak.yaml"
    for name, recipe, after in (("gate-1", recipe, revocation), ("gate-2", recipe, revocation), ("gate-asks", asking, "")):
        yield Gate(name, folder, binary, recipe, after, keycloak, receiver, service)
