"""SPIRE, and gates with the recipe for it: by the bundle endpoint under both of its profiles, and by OpenID discovery."""

import http.server
import ssl
import threading
import time

from gate import EVERY_WORKER, GOOD, RECIPES, Gate, Service, Trickle, cluster, tls
from kit import REPOSITORY, Wrong, attempts, eventually, expect
from web import ask, claims, header

from .server import HINT, VERSION, Spire, installed

SYSTEM = f"SPIRE {VERSION}"
RECIPE = RECIPES / "spire.yaml"
CLUSTERS = REPOSITORY / "envoy" / "spire" / "clusters.yaml"
# The recipe's `cache_duration`, in seconds: what is not listed any more is refused then.
CACHED = 60
# How long authorities last where they are to change often, in seconds, and how long that is watched.
BRIEF, WATCHED = 120, 300
DOMAIN = "example.org"
ISSUER = f"https://oidc.{DOMAIN}"
# Trust domains with other kinds of keys.
OTHERS = {"rsa.example": ("rsa-2048", "RS256"), "p384.example": ("ec-p384", "ES384")}
# How long the server is away, in seconds.
AWAY = 20
# How much later than SPIRE another endpoint has a key, and how soon it is accepted at the latest, in seconds.
LATE, ACCEPTED = 10, 16


def rows(folder):
    """All rows; see the module."""
    stage = Stage(folder, installed())
    try:
        stage.start()
        yield from attempts(SYSTEM, stage.rows())
    finally:
        stage.stop()


class Behind:
    """A bundle endpoint that has what the server's own had when it was last looked at."""

    def __init__(self, server):
        self.server, self.body = server, b""
        self.trust = ssl.create_default_context(cafile=server.authority)
        # It is reached by address here.
        self.trust.check_hostname = False
        self.look()
        behind = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(behind.body)))
                self.end_headers()
                self.wfile.write(behind.body)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        shown.load_cert_chain(server.authority, server.folder / "tls.key")
        self.http.socket = shown.wrap_socket(self.http.socket, server_side=True)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def look(self):
        """Has what the server has now."""
        self.body = ask("GET", f"https://127.0.0.1:{self.server.bundle_port}/", trust=self.trust).body

    def stop(self):
        self.http.shutdown()
        self.http.server_close()


class Stage:
    """Three trust domains. The first has two gates, and authorities that soon end; the others have one each."""

    def __init__(self, folder, programs):
        self.folder, self.programs, self.started = folder, programs, []

    def begun(self, part):
        self.started.append(part)
        return part

    def stop(self):
        for part in reversed(self.started):
            part.stop()

    def start(self):
        self.service = self.begun(Service())
        own = Spire(self.programs, self.folder, DOMAIN, "ec-p256", is_web=False, ca_ttl=f"{BRIEF}s", issuer=ISSUER)
        self.own = self.begun(own)
        own.start()
        self.others, self.web = {}, {}
        for domain, (key, _) in OTHERS.items():
            self.others[domain] = self.begun(Spire(self.programs, self.folder, domain, key, is_web=True))
            self.others[domain].start()
            self.web[domain] = self.begun(self.by_web(self.others[domain]))
        self.bundle = self.begun(self.by_spiffe(own))
        self.finder = self.begun(self.by_discovery(own))
        self.gates = [self.bundle, self.finder]
        pairs = [(self.bundle, own), (self.finder, own), *((self.web[name], self.others[name]) for name in OTHERS)]
        for gate, server in pairs:
            eventually("its keys", lambda gate=gate, server=server: gate.verdict(server.token())[0] == 200)
        self.trickle = self.begun(Trickle(self.gates, own.token(), self.others["rsa.example"].token()))

    def by_web(self, server, name=None, port=None):
        """A gate for a bundle endpoint that is like any other host."""
        validation = {"validation_context": {"trusted_ca": {"filename": str(server.authority)}}}
        clusters = [cluster("spire-bundle", port or server.bundle_port, **tls(f"bundle.{server.domain}", validation))]
        recipe = RECIPE.read_text().replace(DOMAIN, server.domain)
        return Gate(name or server.domain, self.folder, self.service, recipe, clusters)

    def by_spiffe(self, server):
        """A gate that gets the trust domain's authorities from the agent."""
        text = CLUSTERS.read_text().replace("type: STRICT_DNS", "type: STATIC")
        text = text.replace("/run/spire/agent.sock", str(server.agent()))
        here = f"address: 127.0.0.1, port_value: {server.bundle_port}"
        text = text.replace("address: bundle.example.org, port_value: 443", here)
        return Gate("bundle", self.folder, self.service, RECIPE.read_text(), [text.split("clusters:\n")[1]])

    def by_discovery(self, server):
        """A gate that finds the keys as the recipe's head says."""
        port, authority = server.discovery(f"oidc.{DOMAIN}", ISSUER)
        validation = {"validation_context": {"trusted_ca": {"filename": str(authority)}}}
        text = RECIPE.read_text().replace("      format: spiffe\n", "")
        text = text.replace("remote_jwks:", f"issuer: {ISSUER}\n    discovery:")
        text = text.replace("https://bundle.example.org/,", f"{ISSUER}/.well-known/openid-configuration,")
        clusters = [cluster("spire-bundle", port, **tls(f"oidc.{DOMAIN}", validation))]
        return Gate("finder", self.folder, self.service, text, clusters)

    def all(self, what, token, expected):
        for gate in self.gates:
            gate.always(f"{gate.name}: {what}", token, expected)

    # The rows.

    def rows(self):
        page = "[envoy/spire/clusters.yaml](../envoy/spire/clusters.yaml)"
        yield f"the bundle endpoint (`https_spiffe`), with {page}; `discovery`", self.own_domain
        yield "the bundle endpoint (`https_web`); every algorithm", self.other_domains
        yield f"an authority is prepared, activated, tainted and revoked (`refresh_hint` {HINT} s)", self.revoked
        yield f"a bundle endpoint that has a key {LATE} s late", self.late
        yield f"authorities of {BRIEF} s, watched for {WATCHED} s", self.brief
        yield "the server stopped, and started again", self.outage
        yield "requests all the while", self.trickle.said

    def own_domain(self):
        token = self.own.token()
        said = claims(token)
        expect("its issuer", said["iss"], ISSUER)
        self.all("a token", token, GOOD)
        self.all("for another audience", self.own.token("billing"), (401, "audience_mismatch"))
        self.all("another workload", self.own.token(workload="ns/shop/sa/batch"), (403, "claim_mismatch"))
        foreign = self.others["rsa.example"].token()
        seen = {gate.name: gate.verdict(foreign) for gate in self.gates}
        if any(status != 401 for status, _ in seen.values()):
            raise Wrong(f"a token of another trust domain: {seen}")
        return (
            f"{header(token)['alg']}, `typ: {header(token)['typ']}`, with {', '.join(f'`{name}`' for name in sorted(said))}; one "
            "for `orders` passes at both gates, one for another audience (`audience_mismatch`) or of another trust domain does "
            f"not (`{seen['bundle'][1]}`), and another workload gets 403 (`claim_mismatch`)"
        )

    def other_domains(self):
        for domain, (_, algorithm) in OTHERS.items():
            server, gate = self.others[domain], self.web[domain]
            token = server.token()
            expect("the algorithm", header(token)["alg"], algorithm)
            expect("iss", "iss" in claims(token), False)
            gate.always("a token", token, GOOD)
            gate.always("for another audience", server.token("billing"), (401, "audience_mismatch"))
            status, _ = gate.verdict(self.own.token())
            expect("of another trust domain", status, 401)
        names = ", ".join(name for _, name in OTHERS.values())
        return f"{names}, and ES256 above: passes, without `iss`; other audiences and domains do not"

    def revoked(self):
        server, gate = self.others["rsa.example"], self.web["rsa.example"]
        before = server.token()
        prepared = server.authorities("prepare")["prepared_authority"]["authority_id"]
        server.authorities("activate", "-authorityID", prepared)
        after = server.token()
        if header(after)["kid"] == header(before)["kid"]:
            raise Wrong("it signs with the first")
        gate.always("a token of the second", after, GOOD)
        gate.always("a token of the first", before, GOOD)
        first = server.authorities("show")["old"]["authority_id"]
        server.authorities("taint", "-authorityID", first)
        tainted = time.monotonic()
        while time.monotonic() - tainted < 10:
            gate.always("a token of the first, tainted", before, GOOD)
            time.sleep(1)
        server.authorities("revoke", "-authorityID", first)
        # The token itself ends, too: what must be seen is that its key is gone.
        began, took, in_a_row = time.monotonic(), 0, 0
        while in_a_row < EVERY_WORKER:
            seen = gate.verdict(before)
            if seen == (401, "key_not_found"):
                in_a_row += 1
                continue
            took, in_a_row = time.monotonic() - began, 0
            if took > CACHED + 5 or seen not in (GOOD, (401, "expired")):
                raise Wrong(f"{took:.0f} s after it was revoked: {seen}")
            time.sleep(0.1)
        gate.always("a token of the second", server.token(), GOOD)
        return (
            "tokens of the second pass from the first on, beside those of the first; tainted, these go on (it does not show in "
            f"the bundle); revoked, they are refused {took:.0f} s later (`key_not_found`)"
        )

    def late(self):
        server = self.others["p384.example"]
        behind = self.begun(Behind(server))
        gate = self.begun(self.by_web(server, "late", behind.port))
        before = server.token()
        eventually("its keys", lambda: gate.verdict(before) == GOOD)
        prepared = server.authorities("prepare")["prepared_authority"]["authority_id"]
        server.authorities("activate", "-authorityID", prepared)
        token, began = server.token(), time.monotonic()
        expect("a token of a key that is not there yet", gate.verdict(token), (401, "key_not_found"))
        there = threading.Timer(LATE, behind.look)
        there.start()
        gate.becomes(token, GOOD, (401, "key_not_found"), ACCEPTED)
        took = time.monotonic() - began
        there.join()
        gate.always("a token of the key before", before, GOOD)
        return f"a token of it is refused (`key_not_found`), and passes {took:.0f} s after it was first seen"

    def brief(self):
        began, keys, given = time.monotonic(), set(), 0
        while time.monotonic() - began < WATCHED:
            token = self.own.token()
            self.trickle.good = token
            keys.add(header(token)["kid"])
            given += 1
            for gate in self.gates:
                expect(f"{gate.name}, {time.monotonic() - began:.0f} s on: token {given}", gate.verdict(token), GOOD)
            time.sleep(0.5)
        if len(keys) < 3:
            raise Wrong(f"only {len(keys)} keys in {WATCHED} s")
        return f"{given} tokens, each of which passes at both gates at once, of {len(keys)} keys"

    def outage(self):
        self.trickle.good = token = self.own.token()
        self.own.halt()
        began = time.monotonic()
        while time.monotonic() - began < AWAY:
            self.all("a token while it is away", token, GOOD)
            time.sleep(1)
        self.own.start()
        self.trickle.good = token = self.own.token()
        self.all("a token of afterwards", token, GOOD)
        # Until the keys that it had before are to be had anew, over a connection that is.
        began = time.monotonic()
        while time.monotonic() - began < CACHED + 5:
            self.trickle.good = token = self.own.token()
            self.all("a token of afterwards", token, GOOD)
            time.sleep(1)
        return (
            f"tokens pass while it is away ({AWAY} s), and those that it gives afterwards; keys come over a connection that is new"
        )
