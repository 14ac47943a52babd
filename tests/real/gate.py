"""An Envoy with a recipe, a service behind it, and requests that go on while something else is tried."""

import http.client
import http.server
import json
import re
import textwrap
import threading
import time
import urllib.parse

from kit import REPOSITORY, Program, Wrong, envoy, eventually, free_port

RECIPES = REPOSITORY / "envoy" / "providers"
TEMPLATE = REPOSITORY / "tests" / "real" / "envoy.yaml"
WORKERS = 2
# So many verdicts in a row are those of every worker: each connection is some worker's.
EVERY_WORKER = 16
GOOD = (200, "")


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


def cluster(name, port, **more):
    """A cluster of one port of loopback."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": name, "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
        **more,
    }


def tls(sni, validation):
    """What makes a cluster one of HTTPS: the name that its server shows, and by what the certificate is checked."""
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": validation, **({"sni": sni, "auto_sni_san_validation": True} if sni else {}),
    }
    return {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context}}


def listed(clusters):
    """Clusters, of which some are lists in YAML already, as what `clusters:` has in Envoy's file."""
    return "".join(each if isinstance(each, str) else f"  - {json.dumps(each)}\n" for each in clusters)


class Gate:
    """An Envoy with a recipe, or another configuration, in YAML. `environment` is what the filter sees of one."""

    def __init__(self, name, folder, service, configuration, clusters, path="/orders/1", **environment):
        self.name, self.port, self.path = name, free_port(), path
        text = TEMPLATE.read_text()
        for word, value in {
            "GATE_PORT": self.port, "MODULE": REPOSITORY / "dist" / "portcullis.wasm",
            "ENVIRONMENT": json.dumps(environment), "CLUSTERS": listed([cluster("upstream", service.port), *clusters]),
        }.items():
            text = text.replace(word, str(value))
        indent = re.search(r"^( *)RECIPE$", text, re.MULTILINE)[1]
        text = text.replace(f"{indent}RECIPE", textwrap.indent(configuration, indent))
        file = folder / f"{name}.yaml"
        file.write_text(text)
        command = [
            envoy(), "--config-path", file, "--concurrency", WORKERS, "--use-dynamic-base-id", "--log-level", "warning",
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
            connection.request("GET", self.path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status, (answer.headers.get("x-details") or "").removeprefix("portcullis_")
        finally:
            connection.close()

    def always(self, what, token, expected):
        """Every worker says so, at once."""
        for _ in range(EVERY_WORKER):
            if (seen := self.verdict(token)) != expected:
                raise Wrong(f"{what}: {seen}, not {expected}")
        return f"`{expected[1]}`" if expected[1] else "passes"

    def becomes(self, token, expected, meanwhile, seconds):
        """Every worker says so within so many seconds: after how many it did. Until then it may say `meanwhile`."""
        began, took, in_a_row = time.monotonic(), 0, 0
        while in_a_row < EVERY_WORKER:
            seen = self.verdict(token)
            if seen == expected:
                in_a_row += 1
                continue
            took, in_a_row = time.monotonic() - began, 0
            if seen != meanwhile or took > seconds:
                raise Wrong(f"{seen}, not {expected}, {took:.1f} s later")
            time.sleep(0.02)
        return took

    def stop(self):
        self.program.stop()


class Trickle:
    """Requests all the while, to each gate in turn: with a token that must pass, and with one that must not."""

    def __init__(self, gates, good, bad):
        self.gates, self.good, self.bad = gates, good, bad
        self.sent, self.wrong, self.is_over, self.is_paused = 0, [], threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.is_over.wait(0.05):
            if self.is_paused.is_set():
                continue
            gate = self.gates[self.sent % len(self.gates)]
            self.sent += 1
            try:
                good, seen = self.good, gate.verdict(self.good)
                # Another one may have taken its place while it was on its way.
                if seen != GOOD and good == self.good and not self.is_paused.is_set():
                    self.wrong.append(f"{gate.name}: {seen}")
                if (seen := gate.verdict(self.bad))[0] != 401:
                    self.wrong.append(f"{gate.name}: {seen} to what must be refused")
            except OSError as error:
                self.wrong.append(f"{gate.name}: {error}")

    def pause(self, act, another):
        """Does what ends the token that must pass, and goes on with another one."""
        self.is_paused.set()
        act()
        self.good = another()
        self.is_paused.clear()

    def stop(self):
        self.is_over.set()
        self.thread.join()

    def said(self):
        """What came of them, at the end."""
        self.stop()
        if self.wrong:
            raise Wrong(f"{len(self.wrong)} of {self.sent}: {self.wrong[:5]}")
        return f"{self.sent} with a token that is good pass; {self.sent} with one that is not are refused"
