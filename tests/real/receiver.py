"""`portcullis receive` beside a provider, and what a gate asks it for."""

import json
import os
import re
import secrets
import textwrap

from kit import Program, eventually, free_port, portcullis
from web import ask

# How often a gate asks for the list, in seconds.
INTERVAL = 1


class Receiver:
    """`portcullis receive` for an issuer on loopback, whose clients these are."""

    def __init__(self, folder, issuer, audiences):
        self.folder, self.port, self.program = folder, free_port(), None
        self.base = f"http://127.0.0.1:{self.port}"
        self.secret = secrets.token_hex(32)
        self.tool = portcullis()
        configuration = {
            "listen": f"127.0.0.1:{self.port}",
            "database": str(folder / "receive.redb"),
            "admin": {"token": {"environment_variable": "RECEIVE_ADMIN_TOKEN"}},
            "issuers": [{"issuer": issuer, "audiences": audiences, "discovery": {}, "insecure_http": True}],
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

    def revocation(self):
        """What a gate's configuration says of its list."""
        return textwrap.dedent(f"""
            revocation:
              lists:
                - name: receive
                  http_uri: {{ uri: {self.base}/revoked.json, cluster: receive, timeout: 5s }}
                  poll_interval: {INTERVAL}s
        """)
