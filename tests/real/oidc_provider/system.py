"""oidc-provider, and gates with both recipes for it: one that has its keys and `portcullis receive`'s list, and one that
asks it about each token."""

import concurrent.futures
import time

from gate import GOOD, RECIPES, Gate, Service, Trickle, cluster
from kit import Wrong, attempts, eventually, expect
from receiver import INTERVAL, Receiver
from web import claims, header

from .server import SECRET, Browser, Server, installed

VERSION = "9.13.3"
SYSTEM = f"oidc-provider {VERSION}"
ORDERS, BILLING = "https://orders.example.com/", "https://billing.example.com/"
OPAQUE, OTHER_OPAQUE = "urn:orders:opaque", "urn:billing:opaque"
ALGORITHMS = ["RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"]
# How soon keys are asked for again, the least that there is, and what the gate that asks believes an answer, in seconds.
CACHED, BELIEVED = 60, 30
REVOKED = (401, "revoked")


def rows(folder):
    """All rows; see the module."""
    stage = Stage(folder, installed())
    try:
        stage.start()
        yield from attempts(SYSTEM, stage.rows())
    finally:
        stage.stop()


class Stage:
    """The server, the receiver, both gates."""

    def __init__(self, folder, package):
        self.folder, self.package, self.started = folder, package, []
        self.background = concurrent.futures.ThreadPoolExecutor()

    def begun(self, part):
        self.started.append(part)
        return part

    def stop(self):
        for part in reversed(self.started):
            part.stop()
        self.background.shutdown()

    def start(self):
        # The server is told where the receiver is, and the receiver where the server is.
        self.server = Server(self.package, self.folder)
        self.receiver = Receiver(self.folder, self.server.base, ["web"])
        self.server.receiver = self.receiver.base
        self.begun(self.server).start()
        self.begun(self.receiver).start()
        service = self.begun(Service())
        clusters = [cluster("oidc-provider", self.server.port), cluster("receive", self.receiver.port)]

        def text(name):
            return (RECIPES / name).read_text().replace("https://op.example.com", self.server.base)

        recipe = text("oidc-provider.yaml").replace("remote_jwks:\n", f"remote_jwks:\n      cache_duration: {CACHED}s\n")
        self.gate = self.begun(Gate("gate", self.folder, service, recipe + self.receiver.revocation(), clusters))
        asking = text("introspection/oidc-provider.yaml")
        self.asking = self.begun(Gate("asking", self.folder, service, asking, clusters, INTROSPECTION_SECRET=SECRET))
        for gate, resource in ((self.gate, ORDERS), (self.asking, OPAQUE)):
            eventually("its keys", lambda gate=gate, resource=resource: gate.verdict(self.server.token(resource))[0] == 200)
        good = self.server.token(ORDERS)
        self.trickle = self.begun(Trickle([self.gate], good, good[:-8] + "AAAAAAAA"))

    # The rows.

    def rows(self):
        asking = "[introspection](../envoy/providers/introspection/oidc-provider.yaml)"
        # What takes its time goes on beside the others.
        revoked = self.background.submit(self.revoked)
        yield "client credentials: resources, scopes, every algorithm", self.granted
        yield "log-in with a code", self.log_in
        yield "a user logs out: a logout token for `portcullis receive`", self.log_out
        yield f"opaque tokens, {asking}", self.opaque
        yield "another key beside the first, which is removed later", self.rotated
        yield f"a token is revoked at `/token/revocation`, {asking}", revoked.result
        yield "another key in place of the one before", self.replaced
        yield "the server stopped, and started again", self.outage
        yield "requests all the while", self.trickle.said

    def granted(self):
        token = self.server.token(ORDERS)
        expect("the type", header(token)["typ"], "at+jwt")
        self.gate.always("a token", token, GOOD)
        self.gate.always("for another resource", self.server.token(BILLING), (401, "audience_mismatch"))
        self.gate.always("another scope", self.server.token(ORDERS, "orders.write"), (403, "scope_insufficient"))
        for name in ALGORITHMS:
            other = self.server.token(f"{ORDERS}?{name}")
            expect("the algorithm", header(other)["alg"], name)
            self.gate.always(f"a token by {name}", other, GOOD)
        secret = self.server.token(f"{ORDERS}?HS256")
        self.gate.always("a token by HS256", secret, (401, "algorithm_not_allowed"))
        return (
            f"RS256, {', '.join(ALGORITHMS)}: passes, with {', '.join(f'`{name}`' for name in sorted(claims(token)))}; HS256 is "
            "refused (`algorithm_not_allowed`), and so is one for another resource (`audience_mismatch`) or with another scope "
            "(403)"
        )

    def log_in(self):
        granted = Browser(self.server).log_in("alice", ORDERS)
        self.gate.always("the access token", granted["access_token"], GOOD)
        seen = {what: self.gate.verdict(granted[what]) for what in ("id_token", "refresh_token")}
        if any(status != 401 for status, _ in seen.values()):
            raise Wrong(f"{seen}")
        return (
            f"the access token passes; refused: the ID token (`{seen['id_token'][1]}`) and the refresh token "
            f"(`{seen['refresh_token'][1]}`)"
        )

    def log_out(self):
        browser = Browser(self.server)
        granted, other = browser.log_in("bob", ORDERS), Browser(self.server).log_in("carol", ORDERS)
        token = granted["access_token"]
        self.gate.always("a token", token, GOOD)
        browser.log_out(granted)
        took = self.gate.becomes(token, REVOKED, GOOD, INTERVAL + 1)
        self.gate.always("somebody else's", other["access_token"], GOOD)
        return f"all tokens of the user are refused {took:.2f} s later; somebody else's pass"

    def opaque(self):
        token = self.server.token(OPAQUE)
        self.asking.always("a token", token, GOOD)
        granted = Browser(self.server).log_in("dave", OPAQUE)
        self.asking.always("a user's token", granted["access_token"], GOOD)
        seen = {
            "a refresh token": self.asking.verdict(granted["refresh_token"]),
            "one for another resource": self.asking.verdict(self.server.token(OTHER_OPAQUE)),
            "one for none": self.asking.verdict(self.server.token(None)),
            "an ID token": self.asking.verdict(granted["id_token"]),
            "a JWT of another resource": self.asking.verdict(self.server.token(ORDERS)),
        }
        if any(status != 401 for status, _ in seen.values()):
            raise Wrong(f"{seen}")
        expect("at a gate that does not ask", self.gate.verdict(token), (401, "token_malformed"))
        refused = "; ".join(f"{what} (`{reason}`)" for what, (_, reason) in seen.items())
        return f"they pass where the server is asked; refused there: {refused}"

    def revoked(self):
        token, other = self.server.token(OPAQUE), self.server.token(OPAQUE)
        self.asking.always("a token", token, GOOD)
        expect("/token/revocation", self.server.post("/token/revocation", "svc", token=token).status, 200)
        took = self.asking.becomes(token, (401, "token_inactive"), GOOD, BELIEVED + 2)
        self.asking.always("another one", other, GOOD)
        return f"refused {took:.0f} s later (`token_inactive`), where an answer counts for {BELIEVED} s; another one passes"

    def rotated(self):
        before = self.trickle.good
        self.server.change("add")
        new = self.server.token(ORDERS)
        if header(new)["kid"] == header(before)["kid"]:
            raise Wrong("it signs with the first key")
        self.gate.always("a token of the second", new, GOOD)
        self.gate.always("a token of the first", before, GOOD)
        self.trickle.good = new
        self.server.change("drop")
        took = self.gate.becomes(before, (401, "key_not_found"), GOOD, CACHED + 5)
        return (
            f"tokens of both pass, of the second from its first on; with `cache_duration: {CACHED}s`, those of the first are "
            f"refused {took:.0f} s after its removal (`key_not_found`)"
        )

    def replaced(self):
        before = self.trickle.good
        self.trickle.pause(lambda: self.server.change("replace"), lambda: self.server.token(ORDERS))
        self.gate.always("a token of the new one", self.trickle.good, GOOD)
        self.gate.always("a token of the one before", before, (401, "key_not_found"))
        return "tokens of the new one pass from the first on; those of the one before are refused then (`key_not_found`)"

    def outage(self):
        token, opaque = self.trickle.good, self.server.token(OPAQUE)
        self.server.stop()
        self.gate.always("a token while it is away", token, GOOD)
        seen = self.asking.verdict(opaque)
        expect("an opaque token while it is away", seen[0], 503)
        self.server.start()
        self.gate.always("a token of afterwards", self.server.token(ORDERS), GOOD)
        again = self.server.token(OPAQUE)
        eventually("an opaque token", lambda: self.asking.verdict(again) == GOOD)
        # That nobody answered is remembered, too, for a moment.
        forgotten = (401, "token_inactive")
        eventually("the opaque token of before", lambda: self.asking.verdict(opaque) == forgotten)
        self.asking.always("the opaque token of before", opaque, forgotten)
        return (
            f"JWTs pass while it is away, an opaque token that is not known gets 503 (`{seen[1]}`); then those pass that it gives "
            "afterwards, and of opaque ones only those: its memory is gone"
        )
