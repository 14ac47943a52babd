"""Keycloak, and two gates with the recipe for it that ask `portcullis receive` for what its logouts ended: whoever is logged
out is out at both, within the interval and a second, and nobody else is."""

import threading
import time

from gate import EVERY_WORKER, GOOD, Service
from kit import Wrong, attempts, eventually, expect, span
from receiver import INTERVAL, Receiver
from web import ask, claims, forged, header

from .gates import gates
from .install import VERSION, installed
from .server import PASSWORD, Browser, Keycloak

SYSTEM = f"Keycloak {VERSION}"
# A logout has ended a token within so many seconds of Keycloak's answer to it.
IN_TIME = INTERVAL + 1
# The gates ask for Keycloak's keys again after so many: its answers say `no-cache`.
KEYS_ANEW = 60
# How often a logout is tried.
ROUNDS = 5
# What a realm can be told to sign with, and by which kind of key.
ALGORITHMS = {
    "RS256": None,
    "RS384": ("rsa-generated", {"algorithm": "RS384"}),
    "RS512": ("rsa-generated", {"algorithm": "RS512"}),
    "PS256": ("rsa-generated", {"algorithm": "PS256"}),
    "PS384": ("rsa-generated", {"algorithm": "PS384"}),
    "PS512": ("rsa-generated", {"algorithm": "PS512"}),
    "ES256": ("ecdsa-generated", {"ecdsaEllipticCurveKey": "P-256"}),
    "ES384": ("ecdsa-generated", {"ecdsaEllipticCurveKey": "P-384"}),
    "ES512": ("ecdsa-generated", {"ecdsaEllipticCurveKey": "P-521"}),
    "EdDSA": ("eddsa-generated", {"eddsaEllipticCurveKey": "Ed25519"}),
}
# For how long a gate that asks Keycloak believes its answer: introspection.cache.active.
CACHED = 30
ALL_SESSIONS = "an administrator ends all sessions of the realm"
PUSHED = "an administrator sets and pushes the realm's `notBefore`"
REVOKED = (401, "revoked")


def rows(folder):
    """All rows; see the module."""
    stage = Stage(folder, Keycloak(installed(), folder))
    try:
        stage.start()
        yield from attempts(SYSTEM, stage.rows())
    finally:
        stage.stop()


class Trickle:
    """Requests of somebody who is never logged out, to each gate in turn, with a token that is soon replaced; and beside
    each one with a token that was ended."""

    def __init__(self, keycloak, all_gates, ended):
        self.keycloak, self.gates, self.ended = keycloak, all_gates, ended
        self.sent, self.refused, self.wrong, self.renewed = 0, 0, [], 0
        self.granted = keycloak.grant("web", "somebody-else")
        self.is_away, self.is_over, self.is_paused = False, threading.Event(), False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.is_over.wait(0.05):
            if self.is_paused:
                continue
            if not self.is_away and self.sent % 20 == 0:
                self._renew()
            gate = self.gates[self.sent % len(self.gates)]
            self.sent += 1
            try:
                seen = gate.verdict(self.granted["access_token"])
                if seen != GOOD:
                    self.wrong.append(f"{gate.name}: {seen}")
                if self.ended:
                    token, _ = self.ended[self.sent % len(self.ended)]
                    self.refused += 1
                    if (seen := gate.verdict(token))[0] != 401:
                        self.wrong.append(f"{gate.name}: {seen} to a token that was ended")
            except OSError as error:
                self.wrong.append(f"{gate.name}: {error}")

    def _renew(self):
        try:
            form = {"grant_type": "refresh_token", "client_id": "web", "refresh_token": self.granted["refresh_token"]}
            answer = ask("POST", f"{self.keycloak.oidc}/token", form=form)
            # Its session may be gone, while what it was given is good.
            self.granted = answer.json() if answer.status == 200 else self.keycloak.grant("web", "somebody-else")
            self.renewed += 1
        except (OSError, RuntimeError) as error:
            self.wrong.append(f"no other token: {error}")

    def with_another_token(self):
        """Returns when it goes on with a token that was made after the call."""
        until = self.renewed + 2
        eventually("another token", lambda: self.renewed >= until)

    def stop(self):
        self.is_over.set()
        self.thread.join()


class Stage:
    """The realm, the receiver, both gates, and everything that is tried with them."""

    def __init__(self, folder, keycloak):
        self.folder, self.keycloak, self.started, self.people, self.ended = folder, keycloak, [keycloak], 0, []

    def start(self):
        keycloak = self.keycloak
        keycloak.start()
        self.service = self.begun(Service())
        clients = ["web", "app", "kept"] + [f"web-{name}" for name in ALGORITHMS]
        self.receiver = Receiver(self.folder, keycloak.issuer, clients)
        keycloak.realm()
        first = keycloak.admin("GET", "/demo/components?type=org.keycloak.keys.KeyProvider")
        self.first_key = next(key["id"] for key in first if key["providerId"] == "rsa-generated")
        for name, kind in ALGORITHMS.items():
            if kind:
                keycloak.key(name, kind[0], 50, **kind[1])
            signed = {f"{of}.signed.response.alg": name for of in ("access.token", "id.token")}
            self.client(f"web-{name}", True, **signed)
        self.client("web", True)
        self.client("app", False)
        keycloak.client("light", **{"client.use.lightweight.access.token.enabled": "true"})
        self.client("web-HS256", True, **{"access.token.signed.response.alg": "HS256"})
        # Its logout tokens come here, and are sent on by hand.
        keycloak.client("kept", **{
            "backchannel.logout.url": f"http://127.0.0.1:{self.service.port}/",
            "backchannel.logout.session.required": "true",
        })
        keycloak.user("somebody-else")
        self.begun(self.receiver).start()
        self.gates = []
        for gate in gates(self.folder, keycloak, self.receiver, self.service):
            self.gates.append(self.begun(gate))
        self.asking = self.gates.pop()
        self.trickle = self.begun(Trickle(keycloak, self.gates, self.ended))

    def begun(self, part):
        self.started.append(part)
        return part

    def stop(self):
        for part in reversed(self.started):
            part.stop()

    def client(self, name, is_session_required, **attributes):
        self.keycloak.client(name, **{
            "backchannel.logout.url": f"{self.receiver.base}/backchannel-logout",
            "backchannel.logout.session.required": str(is_session_required).lower(), **attributes,
        })

    def rows(self):
        """What is tried, and what tries it."""
        yield "log-in with a code and with a password", self.log_in
        yield "its logout token", self.logout_token
        for what, act in {
            "a user logs out (`end_session`)": lambda visit: visit.browser.log_out(visit.granted),
            "a client logs its user out, with the refresh token": self.log_out_by_client,
            "an administrator ends a session": lambda visit: self.keycloak.admin("DELETE", f"/demo/sessions/{visit.sid}"),
        }.items():
            yield f"{what}; on", lambda act=act: self.logout(act)
        yield "an administrator logs a user out; on", lambda: self.logout(self.log_out_by_admin, is_all=True)
        yield "a user logs out; off", lambda: self.cutoff(lambda visit: visit.browser.log_out(visit.granted))
        yield "an administrator logs a user out; off", lambda: self.cutoff(self.log_out_by_admin)
        for what, act in self.silent().items():
            yield what, lambda act=act: self.nothing(act)
        yield "every algorithm, of access and ID tokens", self.algorithms
        asking = "[introspection](../envoy/providers/introspection/keycloak.yaml)"
        yield f"lightweight access tokens, and {asking}", self.introspection
        yield "the receiver killed and started again, between two logouts", lambda: self.restarted(self.receiver.kill)
        yield "the receiver stopped and started again, between two logouts", lambda: self.restarted(self.receiver.stop)
        yield "a logout while the receiver is down", self.missed
        yield "Keycloak stopped and started again, and the receiver while it was away", self.outage
        yield "another key beside the first, which is removed later", self.rotation
        yield "another key in place of the one before", self.replaced
        yield "all tokens that were ended, once more", self.still_ended
        yield "requests all the while, of somebody else, and of those who were logged out", self.nobody_else

    # What rows are made of.

    def visit(self, client="web"):
        """Somebody new has logged in, and the token passes."""
        self.people += 1
        name = f"person-{self.people}"
        visit = Visit(self.keycloak, self.keycloak.user(name), name, client)
        expect("a new token", self.verdicts(visit.token), [GOOD, GOOD])
        return visit

    def verdicts(self, token):
        return [gate.verdict(token) for gate in self.gates]

    def ends(self, *tokens):
        """Both gates refuse all of them, soon, whichever worker is asked: after how many seconds from now."""
        began = time.monotonic()
        took = in_a_row = 0
        while in_a_row < EVERY_WORKER:
            seen = [verdict for token in tokens for verdict in self.verdicts(token)]
            if all(verdict == REVOKED for verdict in seen):
                in_a_row += 1
                continue
            took, in_a_row = time.monotonic() - began, 0
            if wrong := [verdict for verdict in seen if verdict not in (GOOD, REVOKED)]:
                raise Wrong(f"a token that was ended: {wrong}")
            if took > 10 * IN_TIME:
                raise Wrong(f"it passes, {took:.1f} s later: {seen}")
        if took > IN_TIME:
            raise Wrong(f"refused, but only after {took:.2f} s")
        self.ended.extend((token, time.monotonic()) for token in tokens)
        return took

    def log_out_by_client(self, visit):
        form = {"client_id": visit.client, "refresh_token": visit.granted["refresh_token"]}
        expect("the logout", ask("POST", f"{self.keycloak.oidc}/logout", form=form).status, 204)

    def log_out_by_admin(self, visit):
        self.keycloak.admin("POST", f"/demo/users/{visit.id}/logout")

    def by_hand(self, visit):
        """A cut-off for the user, as docs/receive.md adds one."""
        now = int(time.time())
        document = {"cutoffs": [{"sub": visit.id, "issued_before": now, "until": now + 86400}]}
        expect("/revocations", self.receiver.add(document).status, 200)
        self.ends(visit.token)

    # The rows.

    def log_in(self):
        visit = self.visit()
        by_password = self.keycloak.grant("web", visit.name)
        expect("by password", self.verdicts(by_password["access_token"]), [GOOD, GOOD])
        refused = {}
        for what in ("id_token", "refresh_token"):
            seen = self.verdicts(by_password[what])
            if any(status != 401 for status, _ in seen):
                raise Wrong(f"{what}: {seen}")
            refused[what] = seen[0][1]
        self.keycloak.user("nobody", is_writer=False)
        seen = self.verdicts(self.keycloak.grant("web", "nobody")["access_token"])
        if any(status != 403 for status, _ in seen):
            raise Wrong(f"without the role: {seen}")
        return (
            f"the access token passes at both gates; refused: the ID token (`{refused['id_token']}`), the refresh token "
            f"(`{refused['refresh_token']}`), and a user without the role (403)"
        )

    def logout_token(self):
        visit = self.visit("kept")
        visit.browser.log_out(visit.granted)
        token = eventually("a logout token", lambda: self.service.logout_tokens)[0]
        said = claims(token)
        expect("its session", said.get("sid"), visit.sid)
        expect("nonce", "nonce" in said, False)
        seen = self.verdicts(token)
        if any(status != 401 for status, _ in seen):
            raise Wrong(f"at the gates: {seen}")

        def send():
            return ask("POST", f"{self.receiver.base}/backchannel-logout", form={"logout_token": token}).status

        expect("the first time", send(), 200)
        took = self.ends(visit.token)
        again = send()
        expect("sent again", again, 400)
        return (
            f"`typ: {header(token).get('typ')}`, good for {said['exp'] - said['iat']} s, with {listed(said)}; refused "
            f"at both gates (`{seen[0][1]}`); sent to the receiver: 200, and the access token refused {took:.2f} s later; "
            f"sent again: {again}"
        )

    def logout(self, act, is_all=False):
        """A logout that names the session: others of the same user go on, but where all of them are ended."""
        times = []
        for _ in range(ROUNDS):
            visit = self.visit()
            other = self.keycloak.grant("web", visit.name)["access_token"]
            expect("a second session", self.verdicts(other), [GOOD, GOOD])
            act(visit)
            times.append(self.ends(visit.token, other) if is_all else self.ends(visit.token))
            if not is_all:
                expect("another session of the same user", self.verdicts(other), [GOOD, GOOD])
            if not any(entry.get("sid") == visit.sid for entry in self.receiver.list()["entries"]):
                raise Wrong("the list does not name the session")
        of = "the tokens of all of the user's sessions are" if is_all else "the session's token is"
        others = "" if is_all else "; the same user's other session goes on"
        return f"{of} refused at both gates {span(times)} later{others}"

    def cutoff(self, act):
        """A logout that names the user alone: all that was issued before is ended, and what comes later is not."""
        times = []
        for _ in range(ROUNDS):
            visit = self.visit("app")
            other = self.keycloak.grant("web", visit.name)["access_token"]
            expect("a second session", self.verdicts(other), [GOOD, GOOD])
            act(visit)
            times.append(self.ends(visit.token, other))
            cutoffs = [cutoff for cutoff in self.receiver.list()["cutoffs"] if cutoff.get("sub") == visit.id]
            expect("cut-offs of the user", len(cutoffs), 1)
            while time.time() < cutoffs[0]["issued_before"]:
                time.sleep(0.05)
            expect("a later log-in", self.verdicts(visit.again()), [GOOD, GOOD])
        return (
            f"all tokens of the user are refused at both gates {span(times)} later; one of a log-in in the next second "
            "passes"
        )

    def silent(self):
        """What Keycloak sends nothing for."""
        def revoke(what):
            def act(visit):
                form = {"client_id": visit.client, "token": visit.granted[what]}
                expect("/revoke", ask("POST", f"{self.keycloak.oidc}/revoke", form=form).status, 200)
            return act

        def admin(method, path, document=None):
            return lambda visit: self.keycloak.admin(method, path.format(visit.id), document)

        def push(_):
            self.keycloak.admin("PUT", "/demo", {"notBefore": int(time.time()) - 1})
            self.keycloak.admin("POST", "/demo/push-revocation")
            self.keycloak.admin("PUT", "/demo", {"notBefore": 0})

        password = {"type": "password", "value": PASSWORD[::-1], "temporary": False}
        return {
            "the access token is revoked at `/revoke`": revoke("access_token"),
            "the refresh token is revoked at `/revoke`": revoke("refresh_token"),
            "the user is disabled": admin("PUT", "/demo/users/{}", {"enabled": False}),
            "an administrator sets another password": admin("PUT", "/demo/users/{}/reset-password", password),
            "the user is deleted": admin("DELETE", "/demo/users/{}"),
            ALL_SESSIONS: admin("POST", "/demo/logout-all"),
            PUSHED: push,
        }

    def nothing(self, act):
        visit = self.visit()
        before = self.receiver.events()
        act(visit)
        time.sleep(IN_TIME + 1)
        expect("events at the receiver", self.receiver.events(), before)
        expect("the token", self.verdicts(visit.token), [GOOD, GOOD])
        self.by_hand(visit)
        return "no logout token comes, and the access token passes; a cut-off by hand ends it"

    def algorithms(self):
        times = []
        for name in ALGORITHMS:
            visit = self.visit(f"web-{name}")
            expect("the access token's algorithm", header(visit.token)["alg"], name)
            expect("the ID token's algorithm", header(visit.granted["id_token"])["alg"], name)
            visit.browser.log_out(visit.granted)
            times.append(self.ends(visit.token))
        symmetric = self.keycloak.grant("web-HS256", "somebody-else")["access_token"]
        seen = self.verdicts(symmetric)
        expect("HS256", seen, [(401, "algorithm_not_allowed")] * 2)
        return f"{', '.join(ALGORITHMS)}: passes, and a logout ends it ({span(times)}); HS256 is refused (`{seen[0][1]}`)"

    def introspection(self):
        """What a gate is told that asks Keycloak about each token, again after CACHED seconds."""
        ends = {"the user logs out": lambda visit: visit.browser.log_out(visit.granted), **self.silent()}
        # These are about everybody's tokens.
        ends.pop(PUSHED)
        end_all = ends.pop(ALL_SESSIONS)
        visits = {what: self.light() for what in ends}
        other = self.light()
        for what in ("id_token", "refresh_token"):
            seen = self.asking.verdict(other.granted[what])
            if seen[0] != 401:
                raise Wrong(f"{what}: {seen}")
        for what, act in ends.items():
            act(visits[what])
        passing = self.still_active(visits)
        if "the user logs out" in passing:
            raise Wrong(f"a token passes {CACHED + 1} s after the logout")
        expect("another token", self.asking.verdict(other.token), GOOD)
        end_all(other)
        passing += self.still_active({ALL_SESSIONS: other})
        refused = [what for what in [*ends, ALL_SESSIONS] if what not in passing]
        return (
            f"they pass, ID and refresh tokens do not; refused (`token_inactive`) {CACHED} s later at the latest, where "
            f"{'; '.join(refused)}. Active all the same, where {'; '.join(passing) or 'none of that'}"
        )

    def still_active(self, visits):
        """Which of these tokens a gate lets pass when it has asked about them again."""
        began = time.monotonic()
        passing = dict(visits)
        while passing and time.monotonic() - began < CACHED + 1:
            for what, visit in list(passing.items()):
                if (seen := self.asking.verdict(visit.token)) != GOOD:
                    expect(f"{what}: the token", seen, (401, "token_inactive"))
                    del passing[what]
            time.sleep(0.1)
        return list(passing)

    def light(self):
        """Somebody who has logged in where access tokens are lightweight."""
        self.people += 1
        name = f"person-{self.people}"
        visit = Visit(self.keycloak, self.keycloak.user(name), name, "light")
        expect("a lightweight token, introspected", self.asking.verdict(visit.token), GOOD)
        expect("a lightweight token, not introspected", [status for status, _ in self.verdicts(visit.token)], [401] * 2)
        return visit

    def restarted(self, end):
        """Ended right after a logout, and started again; then another logout, at once."""
        times, ready = [], []
        for _ in range(ROUNDS):
            visit, another = self.visit(), self.visit()
            visit.browser.log_out(visit.granted)
            end()
            began = time.monotonic()
            self.receiver.start()
            ready.append(time.monotonic() - began)
            another.browser.log_out(another.granted)
            times.append(self.ends(visit.token, another.token))
        self.still_ended()
        return (
            f"{ROUNDS} times: it is back in {span(ready)}; the logout just before and the one just after end their tokens "
            f"{span(times)} later, and none that was ended passes"
        )

    def missed(self):
        visit, other = self.visit(), self.visit()
        self.receiver.kill()
        visit.browser.log_out(visit.granted)
        expect("a token while it is down", self.verdicts(other.token), [GOOD, GOOD])
        self.still_ended()
        self.receiver.start()
        time.sleep(4 * IN_TIME)
        expect("the token of the logout", self.verdicts(visit.token), [GOOD, GOOD])
        self.by_hand(visit)
        expect("another token", self.verdicts(other.token), [GOOD, GOOD])
        return "Keycloak does not send its token again: the access token passes until a cut-off by hand ends it"

    def outage(self):
        visit, other = self.visit(), self.visit()
        self.trickle.is_away = True
        self.keycloak.stop()
        try:
            self.receiver.kill()
            self.receiver.start()
            time.sleep(IN_TIME)
            expect("a token while it is away", self.verdicts(visit.token), [GOOD, GOOD])
            self.still_ended()
        finally:
            self.keycloak.start()
            self.trickle.is_away = False
        self.trickle.with_another_token()
        visit.browser.log_out(visit.granted)
        took = self.ends(visit.token)
        expect("another token", self.verdicts(other.token), [GOOD, GOOD])
        return (
            "tokens pass while it is away, and those that were ended do not; then a user who had logged in before logs out, "
            f"and is refused {took:.2f} s later"
        )

    def rotation(self):
        visit = self.visit()
        # A gate whose last fetch failed, as during the outage, does not say that there is no such key; it tries again soon.
        made_up = forged(visit.token, "made-up")
        eventually("a fetch of keys", lambda: all(seen == (401, "key_not_found") for seen in self.verdicts(made_up)))
        self.second_key = self.keycloak.key("second", "rsa-generated", 200)
        new = self.visit()
        if header(new.token)["kid"] == header(visit.token)["kid"]:
            raise Wrong("Keycloak signs with the first key")
        self.trickle.with_another_token()
        expect("a token of the first key", self.verdicts(visit.token), [GOOD, GOOD])
        new.browser.log_out(new.granted)
        times = [self.ends(new.token)]
        self.keycloak.admin("DELETE", f"/demo/components/{self.first_key}")
        began = time.monotonic()
        seen = self.verdicts(visit.token)
        while GOOD in seen:
            if time.monotonic() - began > KEYS_ANEW + 10:
                raise Wrong(f"a token of a key that was removed passes after {KEYS_ANEW + 10} s")
            time.sleep(0.2)
            seen = self.verdicts(visit.token)
        took = time.monotonic() - began
        if any(status != 401 for status, _ in seen):
            raise Wrong(f"a token of a key that was removed: {seen}")
        later = self.visit()
        later.browser.log_out(later.granted)
        times.append(self.ends(later.token))
        return (
            f"tokens of both pass while both are listed; {took:.0f} s after its removal those of the first are refused "
            f"(`{seen[0][1]}`); logouts that the new key signs end their tokens ({span(times)})"
        )

    def replaced(self):
        before = self.visit()
        # What it holds now is no longer good then.
        self.trickle.is_paused = True
        time.sleep(0.2)
        self.keycloak.key("third", "rsa-generated", 300)
        self.keycloak.admin("DELETE", f"/demo/components/{self.second_key}")
        self.trickle.granted = self.keycloak.grant("web", "somebody-else")
        self.trickle.is_paused = False
        visit = self.visit()
        if header(visit.token)["kid"] == header(before.token)["kid"]:
            raise Wrong("Keycloak signs with the key before")
        self.trickle.with_another_token()
        visit.browser.log_out(visit.granted)
        took = self.ends(visit.token)
        seen = self.verdicts(before.token)
        if any(status != 401 for status, _ in seen):
            raise Wrong(f"a token of the key before: {seen}")
        return (
            f"tokens of the new one pass from the first on; those of the one before are refused then (`{seen[0][1]}`); a "
            f"logout that the new key signs ends its token ({took:.2f} s)"
        )

    def still_ended(self):
        for number, (token, since) in enumerate(self.ended):
            seen = self.verdicts(token)
            if any(status != 401 for status, _ in seen):
                ago = time.monotonic() - since
                raise Wrong(f"the token {number} of {len(self.ended)}, which was refused {ago:.1f} s ago, passes: {seen}")
        return f"{len(self.ended)} tokens, at both gates: refused"

    def nobody_else(self):
        self.trickle.stop()
        if self.trickle.wrong:
            raise Wrong(f"{len(self.trickle.wrong)} of {self.trickle.sent}: {self.trickle.wrong[:5]}")
        return (
            f"{self.trickle.sent} requests with {self.trickle.renewed} tokens, all of which pass; {self.trickle.refused} "
            "with a token that was ended, none of which does"
        )


class Visit:
    """Somebody who has logged in with a browser."""

    def __init__(self, keycloak, identity, name, client):
        self.id, self.name, self.client = identity, name, client
        self.browser = Browser(keycloak)
        self.granted = self.browser.log_in(client, name)
        self.token = self.granted["access_token"]
        self.sid = claims(self.token)["sid"]

    def again(self):
        """An access token of another log-in."""
        return self.browser.log_in(self.client, self.name)["access_token"]


def listed(said):
    return ", ".join(f"`{name}`" for name in said if name not in ("exp", "iat"))
