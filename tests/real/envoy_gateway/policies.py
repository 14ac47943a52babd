"""A policy for all routes of a gateway: requests, modules that cannot be had, and configurations that cannot be used."""

import re

from kit import REPOSITORY, Wrong, eventually, expect, run
from kubernetes.server import documents

from .gateway import GATEWAY, POLICY
from .shop import Door, send, status
from .steps import MISTAKE, NOBODYS, PORTCULLIS, SAID, Steps, changed, page, parts, read

SLICE = """
apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: shop
spec: {{ ports: [{{ name: http, port: 8080, targetPort: 9080 }}] }}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-1
  namespace: shop
  labels: {{ kubernetes.io/service-name: {name} }}
addressType: IPv4
ports: [{{ name: http, port: 9080, protocol: TCP }}]
endpoints: [{{ addresses: [{address}], conditions: {{ ready: true }} }}]
"""
# So many requests come through where routes and filters fall apart for a moment; more is another thing.
AT_THE_MOST = 20


def moment(passed):
    """What came through at that moment."""
    return f"{passed} requests without a token came through when it changed" if passed else "no request came through"


class Policies(Steps):
    """From the empty cluster on."""

    def rows(self):
        yield f"an empty cluster: {page('start.yaml')}", self.started
        yield f"{page('identity-provider.yaml')}, {page('gateway.yaml')}, and then a route", self.one_policy
        yield "requests", self.requests
        yield page("connection-manager.yaml"), self.managed
        yield "`sha256`: which sum it is", self.pinned
        yield "an image that is not in the registry", self.no_image
        yield "a configuration with a mistake in it", self.mistaken
        yield "the same, as the first change since the proxy started", self.mistaken_at_first

    def started(self):
        before = self.here.cluster.apply(documents(read("identity-provider.yaml"))[0])
        expect("a manifest before the namespace is there", before.status, 404)
        self.applied("start.yaml")
        for name, address in self.here.services.items():
            self.gateway.apply(SLICE.format(name=name, address=address))
        self.gateway.has("Accepted=True", GATEWAY, "GatewayClass", None, "envoy-gateway")
        self.proxy.renew()
        self.gateway.has("Programmed=True", GATEWAY, "Gateway", "shop", "gateway")
        return (
            "before it, 404 for whatever goes into the namespace `shop`. Then the class is `Accepted`, and the gateway is "
            "`Programmed` once its proxy runs"
        )

    def one_policy(self):
        self.applied("identity-provider.yaml", "gateway.yaml")
        self.gateway.has("Accepted=True", *PORTCULLIS)
        self.becomes("the gate", "/.well-known/jwks.json", 401, host=NOBODYS)
        line = self.proxy.told('provider "corp": 1 key')
        route = parts(read("shop.yaml"), "HTTPRoute", "orders")[0]
        with Door("/orders/1") as door:
            self.gateway.apply(route)
            self.becomes("the route", "/orders/1", 200, self.reader)
        tried = door.kept_shut("a new route")
        said = re.search(r"portcullis: .*", line)[0].split(" (")[0]
        return (
            "`Accepted`; without a token, 401 at the host that nobody asks for; the log of the proxy says "
            f"`{said[:70]}`. Then a route is new: {tried} requests without a token meanwhile, none of which came through"
        )

    def requests(self, escaped=307):
        reader, writer = self.reader, self.token(scope="orders:write")
        seen = send("/orders/1", reader, x_user="mallory")
        expect("a token", (seen.status, seen.seen["headers"].get("x-user")), (200, "alice"))
        expect("the token at the service", "authorization" in seen.seen["headers"], False)
        self.tries(
            ("no token", 401, "GET", "/orders/1", None, {}),
            ("somebody else's audience", 401, "GET", "/orders/1", self.token(aud="billing", scope="orders:read"), {}),
            ("an ID token", 401, "GET", "/orders/1", self.token(nonce="1"), {}),
            ("one that ran out", 401, "GET", "/orders/1", self.token(exp=1_700_000_000, scope="orders:read"), {}),
            ("one of another issuer", 401, "GET", "/orders/1", self.token(iss="https://other.example/", scope="orders:read"), {}),
            ("a reader who writes", 403, "POST", "/orders", reader, {}),
            ("a writer", 200, "POST", "/orders", writer, {}),
            ("an escaped slash", escaped, "GET", "/orders%2f1", reader, {}),
        )
        return (
            "with a token: 200, `x-user` is its `sub` whatever the client writes, and the token does not reach the service. 401 "
            "without one, for another audience or issuer, run out, and for an ID token; 403 without the scope. `%2f` is redirected "
            "to `/`, as Envoy Gateway comes"
        )

    def managed(self):
        dot = status("/orders/1", self.reader, host="shop.example.")
        expect("a dot behind the host, before", dot, 404)
        self.applied("connection-manager.yaml")
        self.gateway.has("Programmed=True", POLICY, "EnvoyPatchPolicy", "shop", "portcullis-connection-manager")
        for host in ("shop.example:8080", "shop.example."):
            self.becomes(host, "/orders/1", 200, self.reader, host=host)
            expect(f"{host} without a token", status("/orders/1", host=host), 401)
        expect("an escaped slash", status("/orders%2f1", self.reader), 400)
        return (
            "`Programmed`; `shop.example.`, which got 404, and `shop.example:8080` are judged as `shop.example`; `%2f` gets 400"
        )

    def pinned(self):
        text = read("gateway.yaml")
        place = "          url: registry.example/portcullis:0.1.0\n"
        own = self.here.digest.removeprefix("sha256:")
        expect("whether `make image` prints the registry's digest", own in self.here.given["image"], True)
        self.gateway.apply(changed(text, place, f"{place}          sha256: {own}\n"))
        self.gateway.has("Accepted=True", *PORTCULLIS)
        self.becomes("the gate", "/orders/1", 200, self.reader)
        module = run("sha256sum", REPOSITORY / "dist" / "portcullis.wasm").split()[0]
        said = self.failed(changed(text, place, f"{place}          sha256: {module}\n"))
        return f"the image's digest, as `make image` prints it and the registry says it, is taken. The module's own sum: {said}"

    def no_image(self):
        return self.failed(changed(read("gateway.yaml"), "portcullis:0.1.0", "portcullis:0.1.1"))

    def failed(self, text):
        """Applies a policy whose module cannot be had, and mends it: what came of it. Routes and filters come to a proxy by
        two ways: at either change they may fall apart for a moment."""
        with Door("/orders/1") as door:
            self.gateway.apply(text)
            said = self.gateway.has("Accepted=False", *PORTCULLIS)
            self.becomes("the route", "/orders/1", 500, self.reader)
        with Door("/orders/1") as failing:
            expect("the route, later", status("/orders/1"), 500)
        failing.kept_shut("a module that cannot be had")
        self.mended()
        if (passed := door.statuses().get(200, 0)) > AT_THE_MOST:
            raise Wrong(f"{door.statuses()} when the policy came")
        said = re.sub(r"[0-9a-f]{64}", "…", said)
        return f"`Accepted` is false (`{said}`), and every route of the policy gets 500 until it is mended; {moment(passed)}"

    def gauges(self):
        return {line.rpartition(" ")[2] for line in self.proxy.metrics() if "configuration_refused" in line}

    def mistaken(self):
        catalog = parts(read("shop.yaml"), "HTTPRoute", "catalog")[0]
        since = len(self.proxy.log())
        with Door("/orders/1", "/catalog/1") as door:
            self.gateway.apply(changed(read("gateway.yaml"), *MISTAKE))
            line = self.proxy.told(SAID, since)
            self.proxy.told("the last good configuration", since)
            self.gateway.has("Accepted=True", *PORTCULLIS)
            self.gateway.apply(catalog)
            self.becomes("a route that is new", "/catalog/1", 401)
            expect("a token, by the last good one", status("/orders/1", self.reader), 200)
            eventually("the gauge", lambda: self.gauges() == {"1"}, 30)
            self.proxy.restart()
            self.becomes("a fresh proxy", "/orders/1", 503, self.reader)
            expect("a fresh proxy, without a token", status("/catalog/1"), 503)
        tried = door.kept_shut("a configuration that cannot be used")
        self.mended()
        # The virtual machine that set it has gone when the listener of before has, a minute later.
        eventually("the gauge", lambda: self.gauges() <= {"0"}, 90)
        said = line.partition("portcullis: ")[2].strip()
        return (
            f"`Accepted` all the same, and the log of the proxy says `{said}`. The last good one stays in force, for a route that is "
            f"new, too; a fresh proxy answers 503. {tried} requests without a token, none of which came through. "
            "`portcullis_configuration_refused` is 1 until it is mended, and at most a minute more"
        )

    def mistaken_at_first(self):
        self.proxy.restart()
        self.becomes("the gate", "/orders/1", 200, self.reader)
        since = len(self.proxy.log())
        with Door("/orders/1", "/catalog/1") as door:
            self.gateway.apply(changed(read("gateway.yaml"), *MISTAKE))
            self.proxy.told(SAID, since)
            self.proxy.told("the last good configuration", since)
            eventually("the gauge", lambda: self.gauges() == {"1"}, 30)
            expect("a token, by the last good one", status("/orders/1", self.reader), 200)
        tried = door.kept_shut("a configuration that cannot be used")
        self.mended()
        return (
            "the last good one stays in force: Envoy has made another virtual machine, which finds it in the shared data of this "
            f"policy. {tried} requests without a token, none of which came through"
        )
