"""What is tried with every authorization server: a gate with the recipe for its JWTs, which also asks `portcullis receive`
what was revoked, and another one with the recipe that asks the server about each token."""

import concurrent.futures
import time

from gate import GOOD, RECIPES, Gate, Service, Trickle, cluster
from kit import Wrong, attempts, eventually, expect, span
from receiver import INTERVAL, Receiver
from web import claims, header

# How soon keys are asked for again, the least that there is, and for how long the gate that asks believes an answer, in
# seconds.
CACHED, BELIEVED = 60, 30
# The gate asks at once for a few key ids that are new, and for another one after so many seconds at the latest.
REFILLED = 35
# How soon a gate asks a server that was away again, in seconds.
AWAKE = 15
REVOKED, INACTIVE, NO_KEY = (401, "revoked"), (401, "token_inactive"), (401, "key_not_found")


class Stage:
    """A server, the receiver, both gates.

    A server has `base`, `port`, `secret` (of its client `gate`), `algorithms` (besides the first), and facts: `logs_out` (it
    sends logout tokens), `remembers` (opaque tokens, when it is started again), `signs_by_newest` (of its keys, whatever is
    asked for). What its operators and clients do is `start`, `stop`, `change` (of keys: `add` one before the others, `drop` the
    oldest, `replace` all), `token` (`resource` is `orders`, `other` or none), `log_in` (somebody's browser, which has what was
    `granted`, and `log_out`) and `revoke`.
    """

    def __init__(self, folder, system, recipe, host, server):
        self.folder, self.system, self.recipe, self.host, self.server = folder, system, recipe, host, server
        self.started, self.background = [], concurrent.futures.ThreadPoolExecutor()

    def run(self):
        """All rows."""
        try:
            self.start()
            yield from attempts(self.system, self.rows())
        finally:
            for part in reversed(self.started):
                part.stop()
            self.background.shutdown()

    def begun(self, part):
        self.started.append(part)
        return part

    def start(self):
        server = self.server
        self.receiver = Receiver(self.folder, server.issuer, ["web"])
        # Where it sends logout tokens.
        server.receiver = self.receiver.base
        self.begun(server).start()
        self.begun(self.receiver).start()
        service = self.begun(Service())
        clusters = [cluster(self.recipe, server.port), cluster("receive", self.receiver.port)]
        if server.admin_port != server.port:
            clusters.append(cluster(f"{self.recipe}-admin", server.admin_port))

        def text(name):
            return server.placed((RECIPES / name).read_text().replace(self.host, server.base))

        recipe = text(f"{self.recipe}.yaml").replace("remote_jwks:\n", f"remote_jwks:\n      cache_duration: {CACHED}s\n")
        self.gate = self.begun(Gate("gate", self.folder, service, recipe + self.receiver.revocation(), clusters))
        asking = text(f"introspection/{self.recipe}.yaml")
        self.asking = self.begun(Gate("asking", self.folder, service, asking, clusters, INTROSPECTION_SECRET=server.secret))
        for gate, is_opaque in ((self.gate, False), (self.asking, True)):
            eventually("its answer", lambda gate=gate, is_opaque=is_opaque: self.passes(gate, is_opaque))
        good = server.token()
        self.trickle = self.begun(Trickle([self.gate], good, good[:-8] + "AAAAAAAA"))

    def passes(self, gate, is_opaque):
        return gate.verdict(self.server.token(is_opaque=is_opaque)) == GOOD

    # The rows.

    def rows(self):
        asking = f"[introspection](../envoy/providers/introspection/{self.recipe}.yaml)"
        # What takes its time goes on beside the others.
        revoked = self.background.submit(self.revoked)
        every = "" if self.server.signs_by_newest else ", every algorithm"
        yield f"client credentials: audiences, scopes{every}", self.granted
        yield "log-in with a code", self.log_in
        if self.server.logs_out:
            yield "a user logs out: a logout token for `portcullis receive`", self.log_out
        yield f"opaque tokens, {asking}", self.opaque
        yield "another key beside the first, which is removed later", self.rotated
        yield f"a token is revoked at the server, {asking}", revoked.result
        yield "another key in place of the one before", self.replaced
        yield "the server stopped, and started again", self.outage
        if self.server.signs_by_newest:
            yield "another key for every algorithm, one after the other", self.algorithms
        yield "requests all the while", self.trickle.said

    def granted(self):
        token = self.server.token()
        self.gate.always("a token", token, GOOD)
        refused = {}
        for what, other, expected in (
            ("for another audience", self.server.token("other"), (401, "audience_mismatch")),
            ("with another scope", self.server.token(scope="orders.write"), (403, "scope_insufficient")),
            *self.server.more_refused(),
        ):
            self.gate.always(what, other, expected)
            refused[what] = expected[1]
        others = [] if self.server.signs_by_newest else self.server.algorithms
        for name in others:
            other = self.server.token(algorithm=name)
            expect("the algorithm", header(other)["alg"], name)
            self.gate.always(f"a token by {name}", other, GOOD)
        names = ", ".join([header(token)["alg"], *others])
        typed = f"`typ: {header(token)['typ']}`" if "typ" in header(token) else "no `typ`"
        said = ", ".join(f"`{name}`" for name in sorted(claims(token)))
        seen = "; ".join(f"{what} (`{reason}`)" for what, reason in refused.items())
        return f"{names}: passes; {typed}, with {said}. Refused: one {seen}"

    def log_in(self):
        granted = self.server.log_in("alice").granted
        self.gate.always("the access token", granted["access_token"], GOOD)
        seen = {what: self.gate.verdict(granted[what]) for what in ("id_token", "refresh_token")}
        if any(status != 401 for status, _ in seen.values()):
            raise Wrong(f"{seen}")
        return (
            f"the access token passes; refused: the ID token (`{seen['id_token'][1]}`) and the refresh token "
            f"(`{seen['refresh_token'][1]}`)"
        )

    def log_out(self):
        browser, other = self.server.log_in("bob"), self.server.log_in("carol")
        token = browser.granted["access_token"]
        self.gate.always("a token", token, GOOD)
        browser.log_out()
        took = self.gate.becomes(token, REVOKED, GOOD, INTERVAL + 1)
        self.gate.always("somebody else's", other.granted["access_token"], GOOD)
        return f"the user's token is refused {took:.2f} s later; somebody else's passes"

    def opaque(self):
        token = self.server.token(is_opaque=True)
        self.asking.always("a token", token, GOOD)
        granted = self.server.log_in("dave", is_opaque=True).granted
        self.asking.always("a user's token", granted["access_token"], GOOD)
        expect("at a gate that does not ask", self.gate.verdict(token), (401, "token_malformed"))
        tokens = {
            "a refresh token": granted["refresh_token"], "an ID token": granted["id_token"],
            "one for another audience": self.server.token("other", is_opaque=True),
            "one for none": self.server.token(None, is_opaque=True),
        }
        seen = {what: self.asking.verdict(one) for what, one in tokens.items()}
        if any(status != 401 for status, _ in seen.values()):
            raise Wrong(f"{seen}")
        refused = "; ".join(f"{what} (`{reason}`)" for what, (_, reason) in seen.items())
        return f"they pass where the server is asked; refused there: {refused}"

    def revoked(self):
        token, other = (self.server.token(is_opaque=True) for _ in range(2))
        self.asking.always("a token", token, GOOD)
        self.server.revoke(token)
        took = self.asking.becomes(token, INACTIVE, GOOD, BELIEVED + 2)
        self.asking.always("another one", other, GOOD)
        return f"refused {took:.0f} s later (`{INACTIVE[1]}`), where an answer counts for {BELIEVED} s; another one passes"

    def rotated(self):
        before = self.trickle.good
        self.server.change("add")
        new = self.server.token()
        if header(new)["kid"] == header(before)["kid"]:
            raise Wrong("it signs with the first key")
        self.gate.always("a token of the second", new, GOOD)
        self.gate.always("a token of the first", before, GOOD)
        self.trickle.good = new
        self.server.change("drop")
        took = self.gate.becomes(before, NO_KEY, GOOD, CACHED + 5)
        return (
            f"tokens of both pass, of the second from its first on; with `cache_duration: {CACHED}s`, those of the first are "
            f"refused {took:.0f} s after its removal (`{NO_KEY[1]}`)"
        )

    def replaced(self):
        before = self.trickle.good
        self.trickle.pause(lambda: self.server.change("replace"), self.server.token)
        self.gate.always("a token of the new one", self.trickle.good, GOOD)
        self.gate.always("a token of the one before", before, NO_KEY)
        return f"tokens of the new one pass from the first on; those of the one before are refused then (`{NO_KEY[1]}`)"

    def algorithms(self):
        times = []
        for name in self.server.algorithms:
            token = self.server.token(algorithm=name)
            expect("the algorithm", header(token)["alg"], name)
            times.append(self.gate.becomes(token, GOOD, (503, "keys_unavailable"), REFILLED))
        when = f"{span(times)} after the key is there" if max(times) > 0 else "from the first on"
        return f"{', '.join(self.server.algorithms)}: tokens pass {when}"

    def outage(self):
        token, opaque = self.trickle.good, self.server.token(is_opaque=True)
        self.server.stop()
        began = time.monotonic()
        self.gate.always("a token while it is away", token, GOOD)
        seen = self.asking.verdict(opaque)
        expect("an opaque token while it is away", seen[0], 503)
        self.server.start()
        away = time.monotonic() - began
        self.gate.always("a token of afterwards", self.server.token(), GOOD)
        again = self.server.token(is_opaque=True)
        # That nobody answered is remembered, for a moment, by each worker.
        kept = GOOD if self.server.remembers else INACTIVE
        self.asking.becomes(again, GOOD, seen, AWAKE)
        self.asking.becomes(opaque, kept, seen, AWAKE)
        self.gate.always("a token of before", token, GOOD)
        before = "the one of before among them" if self.server.remembers else "not the one of before: its memory is gone"
        return (
            f"JWTs pass while it is away ({away:.0f} s), an opaque token that is not known gets 503 (`{seen[1]}`); then those "
            f"pass that it gives afterwards, and opaque ones, {before}"
        )
