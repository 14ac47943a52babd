"""SPIRE from its Go module: servers with a bundle endpoint, an agent, and an OpenID discovery provider."""

import json
import os
from pathlib import Path

from kit import Program, certificate, eventually, free_port, go, run

# As programs/go.mod says.
VERSION = "1.13.3"
MODULE = "github.com/spiffe/spire"
# The bundle endpoint's word for how often to ask, in seconds.
HINT = 60
# How long a token is good, in seconds.
TTL = 60


def installed():
    """The folder of `spire-server`, `spire-agent` and `oidc-discovery-provider`."""
    programs = [f"{MODULE}/cmd/spire-server", f"{MODULE}/cmd/spire-agent", f"{MODULE}/support/oidc-discovery-provider"]
    folder = Path(__file__).resolve().parent / "programs"
    # Its database is SQLite.
    return go(f"spire-{VERSION}", folder, programs, flags=["-ldflags", "-s -w"], is_c=True)


class Spire:
    """A server of one trust domain. It signs tokens with a key of this kind."""

    def __init__(self, programs, folder, domain, key, is_web, ca_ttl="24h", issuer=None):
        self.programs, self.folder, self.domain = programs, folder / domain, domain
        self.folder.mkdir()
        self.port, self.bundle_port, self.socket = free_port(), free_port(), self.folder / "server.sock"
        self.parts, self.server = [], None
        profile = {"https_spiffe": {}}
        if is_web:
            self.authority = certificate(self.folder, f"bundle.{domain}")
            profile = {"https_web": {"serving_cert_file": {
                "cert_file_path": str(self.authority), "key_file_path": str(self.folder / "tls.key"), "file_sync_interval": "1h",
            }}}
        server = {
            "bind_address": "127.0.0.1", "bind_port": str(self.port), "socket_path": str(self.socket), "trust_domain": domain,
            "data_dir": str(self.folder), "log_level": "WARN", "ca_key_type": "ec-p256", "jwt_key_type": key,
            "ca_ttl": ca_ttl, "default_jwt_svid_ttl": f"{TTL}s", "default_x509_svid_ttl": "1m",
            "federation": {"bundle_endpoint": {
                "address": "127.0.0.1", "port": self.bundle_port, "refresh_hint": f"{HINT}s", "profile": profile,
            }},
        }
        if issuer:
            server["jwt_issuer"] = issuer
        database = {"database_type": "sqlite3", "connection_string": str(self.folder / "datastore.sqlite3")}
        self.write("server", {"server": server, "plugins": {
            "DataStore": {"sql": {"plugin_data": database}},
            "NodeAttestor": {"join_token": {"plugin_data": {}}},
            "KeyManager": {"disk": {"plugin_data": {"keys_path": str(self.folder / "keys.json")}}},
        }})

    def write(self, name, document):
        """A configuration: what HCL says, JSON may say."""
        (self.folder / f"{name}.conf").write_text(json.dumps(document))

    def begun(self, program, *arguments, name=None):
        log = self.folder / f"{name or program}.log"
        part = Program([self.programs / program, *arguments], log, is_heard=False)
        part.name = log
        return part

    def up(self, part, what, is_up):
        """Waits for a program, which must not end."""
        def probe():
            if part.child.poll() is not None:
                raise RuntimeError(f"{what}: {part.name.read_text(errors='replace')[-2000:]}")
            try:
                return is_up()
            except (RuntimeError, OSError):
                return False

        eventually(what, probe)

    def start(self):
        """Starts the server, again too."""
        self.server = self.begun("spire-server", "run", "-config", self.folder / "server.conf")
        self.up(self.server, "the server", lambda: self.call("healthcheck"))

    def halt(self):
        """Stops the server alone."""
        self.server.stop()

    def call(self, *arguments):
        """What `spire-server` says to a command."""
        return run(self.programs / "spire-server", *arguments, "-socketPath", self.socket)

    def agent(self):
        """Starts an agent, for which whoever runs this is a workload. Its socket."""
        (self.folder / "bootstrap.pem").write_text(self.call("bundle", "show", "-format", "pem"))
        parent = f"spiffe://{self.domain}/agent"
        token = self.call("token", "generate", "-spiffeID", parent).split()[1]
        selector = f"unix:uid:{os.getuid()}"
        self.call("entry", "create", "-parentID", parent, "-spiffeID", f"spiffe://{self.domain}/gate", "-selector", selector)
        socket = self.folder / "agent.sock"
        self.write("agent", {"agent": {
            "data_dir": str(self.folder / "agent"), "log_level": "WARN", "server_address": "127.0.0.1",
            "server_port": str(self.port), "socket_path": str(socket), "trust_domain": self.domain,
            "trust_bundle_path": str(self.folder / "bootstrap.pem"),
        }, "plugins": {
            "NodeAttestor": {"join_token": {"plugin_data": {}}},
            "KeyManager": {"memory": {"plugin_data": {}}},
            "WorkloadAttestor": {"unix": {"plugin_data": {}}},
        }})
        part = self.begun("spire-agent", "run", "-config", self.folder / "agent.conf", "-joinToken", token)
        self.parts.append(part)
        program = self.programs / "spire-agent"
        self.up(part, "the agent", lambda: run(program, "api", "fetch", "x509", "-socketPath", socket))
        return socket

    def discovery(self, name, issuer):
        """Starts the OpenID discovery provider under a name. Its port, and its authority."""
        place = self.folder / "discovery"
        place.mkdir()
        authority, port = certificate(place, name), free_port()
        self.write("discovery", {
            "log_level": "warn", "domains": [name], "jwt_issuer": issuer,
            "serving_cert_file": {
                "cert_file_path": str(authority), "key_file_path": str(place / "tls.key"), "addr": f"127.0.0.1:{port}",
            },
            "server_api": {"address": f"unix://{self.socket}", "poll_interval": "10s"},
        })
        part = self.begun("oidc-discovery-provider", "-config", self.folder / "discovery.conf")
        self.parts.append(part)
        return port, authority

    def token(self, audience="orders", workload="ns/shop/sa/web"):
        """A JWT-SVID."""
        return self.call(
            "jwt", "mint", "-spiffeID", f"spiffe://{self.domain}/{workload}",
            "-audience", f"spiffe://{self.domain}/{audience}",
        ).strip()

    def authorities(self, command, *more):
        """What the server says to a command about its keys for tokens."""
        return json.loads(self.call("localauthority", "jwt", command, *more, "-output", "json"))

    def stop(self):
        for part in [*reversed(self.parts), self.server]:
            if part:
                part.stop()
