"""Tokens of service accounts, and gates with the recipe for them, which fetch the API server's keys with a pod's own token."""

import shutil
import time

from gate import GOOD, RECIPES, Gate, Service, Trickle, cluster, tls
from kit import REPOSITORY, Wrong, eventually, expect
from web import claims, header

from .server import ISSUER, NAME

RECIPE = RECIPES / "kubernetes-sa.yaml"
CLUSTERS = REPOSITORY / "envoy" / "kubernetes" / "clusters.yaml"
SECRET = REPOSITORY / "envoy" / "kubernetes" / "token.yaml"
MOUNTED = "/var/run/secrets/kubernetes.io/serviceaccount"
# The longest token that TokenRequest gives, in seconds: 136 years.
LONGEST = 1 << 32
# The gate that finds the keys by discovery asks for them again after so many seconds, the least that there is.
ANEW = 60
# A gate fetches at once for three unknown key ids, and for one more each so many seconds (`unknown_kid_cooldown`).
COOLDOWN = 30
# The API server may take a token for so many seconds after its pod is gone.
REMEMBERED = 30
# Which key signs by which algorithm.
CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
ORDERS = ["orders"]


class Mount:
    """What the kubelet mounts into a pod: files behind a link that is turned over to new ones at once."""

    def __init__(self, folder, authority):
        self.folder, self.authority, self.number = folder / "mounted", authority, 0
        self.folder.mkdir()
        for name in ("token", "ca.crt"):
            (self.folder / name).symlink_to(f"..data/{name}")

    def put(self, token):
        """Another token in place of the one before."""
        self.number += 1
        fresh, before = self.folder / f"..{self.number}", self.folder / f"..{self.number - 1}"
        fresh.mkdir()
        (fresh / "token").write_text(token)
        shutil.copy(self.authority, fresh / "ca.crt")
        (self.folder / "..data_tmp").symlink_to(fresh.name)
        (self.folder / "..data_tmp").rename(self.folder / "..data")
        shutil.rmtree(before, ignore_errors=True)


class Tokens:
    """The service accounts `orders` and `other` of the namespace `shop`, `gate` beside them, and three gates."""

    def __init__(self, server, folder):
        self.server, self.folder, self.started = server, folder, []
        self.keys = ["rsa.1"]

    def stop(self):
        for part in reversed(self.started):
            part.stop()

    def begun(self, part):
        self.started.append(part)
        return part

    def start(self):
        """Everything but the gate that has no token."""
        server, folder = self.server, self.folder
        for name in ("gate", "orders", "other"):
            server.make("v1", "ServiceAccount", "shop", name)
        self.gate_pod = self.pod("gate-1", "gate")
        self.mount = Mount(folder, server.authority)
        self.renew()
        (folder / "token.yaml").write_text(SECRET.read_text().replace(MOUNTED, str(self.mount.folder)))
        text = CLUSTERS.read_text().replace(MOUNTED, str(self.mount.folder))
        text = text.replace("/etc/envoy/token.yaml", str(folder / "token.yaml")).replace("type: STRICT_DNS", "type: STATIC")
        text = text.replace(f"address: {NAME}, port_value: 443", f"address: 127.0.0.1, port_value: {server.port}")
        clusters = [text.split("clusters:\n")[1]]
        recipe = RECIPE.read_text()
        found = recipe.replace("remote_jwks:", "discovery:").replace("/openid/v1/jwks", "/.well-known/openid-configuration")
        at = '      http_uri: { uri: https://kubernetes.default.svc/.well-known'
        host = f'      jwks: {{ host: "127.0.0.1:{server.port}", cluster: kubernetes }}\n      cache_duration: {ANEW}s\n'
        found = found.replace(at, host + at)
        validation = {"validation_context": {"trusted_ca": {"filename": str(server.authority)}}}
        nobody = [cluster("kubernetes", server.port, **tls(NAME, validation))]
        service = self.begun(Service())
        self.gate = self.begun(Gate("gate", folder, service, recipe, clusters))
        self.finder = self.begun(Gate("finder", folder, service, found, clusters))
        self.nobody = self.begun(Gate("nobody", folder, service, recipe, nobody))
        self.gates = [self.gate, self.finder]
        eventually("its keys", lambda: self.finder.verdict(self.token())[0] == 200)
        eventually("its keys", lambda: self.gate.verdict(self.token())[0] == 200)
        self.trickle = self.begun(Trickle(self.gates, self.token(), self.token(["billing"])))

    # What rows are made of.

    def pod(self, name, account):
        spec = {"serviceAccountName": account, "containers": [{"name": "only", "image": "registry.example/only"}]}
        return self.server.make("v1", "Pod", "shop", name, spec=spec)

    def delete(self, pod):
        name = pod["metadata"]["name"]
        self.server.must("DELETE", f"/api/v1/namespaces/shop/pods/{name}")

    def renew(self):
        """The gate's own token, for the API server."""
        self.own = self.server.token("shop", "gate", bound=self.gate_pod)
        self.mount.put(self.own)

    def token(self, audiences=ORDERS, account="orders", **more):
        return self.server.token("shop", account, audiences, **more)

    def all(self, what, token, expected):
        for gate in self.gates:
            gate.always(f"{gate.name}: {what}", token, expected)

    def restart(self, *keys):
        """The API server goes on with these keys, and the kubelet brings the gate a token that it takes."""
        self.keys = list(keys)
        self.server.halt()
        self.server.start(self.keys)
        self.renew()

    # The rows.

    def rows(self):
        page = "[envoy/kubernetes/clusters.yaml](../envoy/kubernetes/clusters.yaml)"
        yield f"keys for nobody without credentials (`--anonymous-auth=false`); {page}", self.closed
        yield "`discovery`, with `jwks.host`", self.found
        yield "TokenRequest: audiences, accounts, pods", self.asked
        yield "TokenRequest: how long a token is good", self.lasting
        yield "a pod is deleted", self.deleted
        yield "the kubelet replaces the gate's own token", self.replaced
        yield "another key beside the first, which is removed later", self.rotated
        yield "another key in place of the one before; every algorithm", self.algorithms
        yield "the API server stopped, and started again", self.outage
        yield "requests all the while", self.trickle.said

    def closed(self):
        path = "/openid/v1/jwks"
        expect("without credentials", self.server.ask("GET", path, token="nothing").status, 401)
        expect("with the gate's token", self.server.ask("GET", path, token=self.own).status, 200)
        seen = self.nobody.verdict(self.token())
        expect("a gate without a token", seen[0], 503)
        self.all("a token", self.token(), GOOD)
        return (
            f"401 without, 200 with the token of any service account. A gate whose cluster shows none answers 503 "
            f"(`{seen[1]}`); one with that file has the keys"
        )

    def found(self):
        said = self.server.ask("GET", "/.well-known/openid-configuration", token=self.own).json()
        expect("its issuer", said["issuer"], ISSUER)
        expect("its jwks_uri", said["jwks_uri"], f"https://127.0.0.1:{self.server.port}/openid/v1/jwks")
        self.finder.always("a token", self.token(), GOOD)
        return "its `jwks_uri` is the API server's own address, with its port; a gate that names both has the keys"

    def asked(self):
        pod = self.pod("orders-1", "orders")
        self.all("bound to a pod", self.token(bound=pod), GOOD)
        self.all("for two audiences", self.token(["billing", "orders"]), GOOD)
        other = self.token(account="other")
        self.all("another account", other, (403, "claim_mismatch"))
        for what, token in {
            "for another audience": self.token(["billing"]),
            "for no audience": self.token([]),
            "the pod's own": self.server.token("shop", "orders", bound=pod),
        }.items():
            self.all(what, token, (401, "audience_mismatch"))
        lists = "a list" if isinstance(claims(other)["aud"], list) else "one text"
        typed = f"typ `{header(other)['typ']}`" if "typ" in header(other) else "no `typ`"
        return (
            f"{header(other)['alg']}, {typed}, `aud` is {lists}. One for `orders` passes, bound to a pod or not, and beside "
            "another audience; one for another audience, or for the API server, is refused (`audience_mismatch`), and another "
            "account gets 403 (`claim_mismatch`)"
        )

    def lasting(self):
        given = {}
        for seconds, expected in {600: GOOD, 3600: GOOD, 7200: "", 86400: "", LONGEST: ""}.items():
            token = self.token(seconds=seconds)
            given[seconds] = claims(token)["exp"] - claims(token)["iat"]
            self.all(f"{seconds} s", token, expected or (401, "lifetime_exceeded"))
        expect("what is given", given, {seconds: seconds for seconds in given})
        return f"what is asked for is given, up to {LONGEST} s (136 years); 3600 s pass, 7200 s and more do not (`lifetime_exceeded`)"

    def deleted(self):
        pod = self.pod("orders-2", "orders")
        token = self.token(bound=pod)
        expect("its TokenReview", self.server.review(token, ORDERS), True)
        self.delete(pod)
        # The API server remembers what it took.
        eventually("a TokenReview that says no", lambda: not self.server.review(token, ORDERS), REMEMBERED)
        self.all("its token", token, GOOD)
        left = claims(token)["exp"] - time.time()
        return f"TokenReview says no soon; the gate lets its token pass until it ends, here for {left / 60:.0f} minutes more"

    def replaced(self):
        before, path = self.own, "/openid/v1/jwks"
        pod, self.gate_pod = self.gate_pod, self.pod("gate-2", "gate")
        self.delete(pod)
        eventually("a 401", lambda: self.server.ask("GET", path, token=before).status == 401, REMEMBERED)
        self.renew()
        # Keys that only who shows the new one gets.
        self.restart("rsa.2", "rsa.1")
        self.all("a token of a new key", self.token(), GOOD)
        return "the API server refuses the one before, and the gate fetches keys with the new one, without a restart"

    def rotated(self):
        before = self.trickle.good
        new = self.token()
        if header(new)["kid"] == header(before)["kid"]:
            raise Wrong("the API server signs with the first key")
        self.all("a token of the second", new, GOOD)
        self.all("a token of the first", before, GOOD)
        self.trickle.good = new
        self.restart("rsa.2")
        took = self.finder.becomes(before, (401, "key_not_found"), GOOD, ANEW + 5)
        self.all("a token of the second", new, GOOD)
        return (
            f"tokens of both pass, of the second from its first on; with `cache_duration: {ANEW}s`, those of the first are "
            f"refused {took:.0f} s after its removal (`key_not_found`)"
        )

    def algorithms(self):
        times, first = [], time.monotonic()
        for name, curve in CURVES.items():
            before = self.trickle.good
            self.restart(f"{curve}.1", *self.keys[:1])
            token = self.token()
            expect("the algorithm", header(token)["alg"], name)
            began = time.monotonic()
            self.all(f"a token by {name}", token, GOOD)
            times.append(time.monotonic() - began)
            self.trickle.good = token
            self.all("a token of the key before", before, GOOD)
        before = self.trickle.good
        # The fourth new key of this row.
        time.sleep(max(0, first + COOLDOWN + 5 - time.monotonic()))
        self.trickle.pause(lambda: self.restart("rsa.3"), self.token)
        self.all("a token of the new one", self.trickle.good, GOOD)
        self.all("a token of the one before", before, (401, "key_not_found"))
        return (
            f"RS256, {', '.join(CURVES)}: passes from the first token on. In place of the one before: its tokens pass from the "
            "first on, those of the one before are refused then (`key_not_found`)"
        )

    def outage(self):
        token = self.trickle.good
        self.server.halt()
        self.all("a token while it is away", token, GOOD)
        time.sleep(ANEW / 2)
        self.all("a token while it is away", token, GOOD)
        self.server.start(self.keys)
        self.all("a token of afterwards", self.token(), GOOD)
        return f"tokens pass while it is away ({ANEW // 2} s), and those that it gives afterwards"
