"""The manifests of envoy/envoy-gateway, one way after the other, and what the page says of each."""

import json
import re

from kit import REPOSITORY, Wrong, eventually, expect, run
from kubernetes.server import Head, documents

from .gateway import GATEWAY, MANIFESTS, POLICY
from .shop import Door, send, status

PORTCULLIS = (POLICY, "EnvoyExtensionPolicy", "shop", "portcullis")
# The host of identity-provider.yaml's route.
NOBODYS = "keys.invalid"
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
# A mistake in a configuration, and what is said of it.
MISTAKE = ("audiences:", "audience:")
SAID = "providers.corp.audience"


def read(name):
    return (MANIFESTS / name).read_text()


def parts(text, kind, name=None):
    """The documents of a kind."""
    heads = [(Head.of(part), part) for part in documents(text)]
    return [part for head, part in heads if head.kind == kind and name in (None, head.name)]


def changed(text, one, other):
    """The text with one thing for another, which must be there."""
    if one not in text:
        raise RuntimeError(f"there is no {one!r} to change")
    return text.replace(one, other)


class Policies:
    """One cluster, in which one thing is tried after the other."""

    def __init__(self, here, services):
        self.here, self.services = here, services
        self.gateway, self.proxy, self.provider = here.gateway, here.proxy, here.provider
        self.reader = self.token(scope="openid orders:read")

    def rows(self):
        page = "[{0}](../envoy/envoy-gateway/{0})".format
        yield f"an empty cluster: {page('start.yaml')}", self.started
        yield f"{page('identity-provider.yaml')}, {page('gateway.yaml')}, and then a route", self.one_policy
        yield "requests", self.requests
        yield page("connection-manager.yaml"), self.managed
        yield "`sha256`: which sum it is", self.pinned
        yield "an image that is not in the registry", self.no_image
        yield "a configuration with a mistake in it", self.mistaken
        yield "metrics, with the tags of start.yaml", self.measured
        yield "`kubectl delete` of the policy, under routes", self.deleted
        yield "routes and their policies at once, with nothing before them", self.unguarded
        yield f"{page('closed.yaml')}, {page('shop.yaml')}, and then {page('open.yaml')}", self.guarded

    # What the rows are made of.

    def token(self, **claims):
        return self.provider.token(**claims)

    def applied(self, *names):
        for name in names:
            self.gateway.apply(read(name))

    def becomes(self, what, path, expected, token=None, **more):
        """Waits until a request gets a status."""
        try:
            eventually(what, lambda: status(path, token, **more) == expected, 60)
        except RuntimeError as error:
            raise Wrong(f"{error}: {status(path, token, **more)}, not {expected}") from None

    def gone(self, text):
        for document in documents(text):
            self.gateway.delete(*Head.of(document))

    def tries(self, *tried):
        """Requests and what each must get: status, method, path, token, and headers besides."""
        for what, expected, method, path, token, headers in tried:
            host = headers.pop("host", None)
            seen = send(path, token, method, **({"host": host} if host else {}), **headers)
            expect(what, seen.status, expected)

    # The rows.

    def started(self):
        before = self.here.cluster.apply(documents(read("identity-provider.yaml"))[0])
        expect("a manifest before the namespace is there", before.status, 404)
        self.applied("start.yaml")
        for name, address in self.services.items():
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

    def requests(self):
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
            ("an escaped slash, as Envoy Gateway comes", 307, "GET", "/orders%2f1", reader, {}),
        )
        return (
            "with a token: 200, `x-user` is its `sub` whatever the client writes, and the token does not reach the service. 401 "
            "without one, for another audience or issuer, run out, and for an ID token; 403 without the scope. `%2f` is redirected to `/`, as Envoy Gateway comes"
        )

    def managed(self):
        before = {host: status("/orders/1", self.reader, host=host) for host in ("shop.example:8080", "shop.example.")}
        self.applied("connection-manager.yaml")
        self.gateway.has("Programmed=True", POLICY, "EnvoyPatchPolicy", "shop", "portcullis-connection-manager")
        for host in before:
            self.becomes(host, "/orders/1", 200, self.reader, host=host)
            expect(f"{host} without a token", status("/orders/1", host=host), 401)
        expect("an escaped slash", status("/orders%2f1", self.reader), 400)
        return f"`Programmed`; {before} before, and 200 with a token, 401 without one, for both then; `%2f` gets 400"

    def pinned(self):
        text = read("gateway.yaml")
        own = self.here.digest.removeprefix("sha256:")
        expect("the digest that `make image` prints", self.here.given["image"], self.here.digest)
        place = "          url: registry.example/portcullis:0.1.0\n"
        self.gateway.apply(changed(text, place, f"{place}          sha256: {own}\n"))
        self.gateway.has("Accepted=True", *PORTCULLIS)
        self.becomes("the gate", "/orders/1", 200, self.reader)
        module = run("sha256sum", REPOSITORY / "dist" / "portcullis.wasm").split()[0]
        with Door("/orders/1") as door:
            self.gateway.apply(changed(text, place, f"{place}          sha256: {module}\n"))
            said = self.gateway.has("Accepted=False", *PORTCULLIS)
            self.becomes("the route", "/orders/1", 500, self.reader)
        door.kept_shut("the module's own sum")
        self.applied("gateway.yaml")
        self.gateway.has("Accepted=True", *PORTCULLIS)
        self.becomes("the gate", "/orders/1", 200, self.reader)
        return (
            "the image's digest, as `make image` prints it and the registry says it, is taken. The module's own sum is not: "
            f"`Accepted` is false (`{said}`), and every route of the policy gets 500 until it is mended"
        )

    def no_image(self):
        with Door("/orders/1") as door:
            self.gateway.apply(changed(read("gateway.yaml"), "portcullis:0.1.0", "portcullis:0.1.1"))
            said = self.gateway.has("Accepted=False", *PORTCULLIS)
            self.becomes("the route", "/orders/1", 500, self.reader)
            self.applied("gateway.yaml")
            self.gateway.has("Accepted=True", *PORTCULLIS)
            self.becomes("the gate", "/orders/1", 200, self.reader)
        door.kept_shut("an image that is not there")
        return f"`Accepted` is false (`{said}`), and 500 until it is mended: nothing is open"

    def gauge(self):
        return {line.rpartition(" ")[2] for line in self.proxy.metrics() if "configuration_refused" in line}

    def mistaken(self):
        text = changed(read("gateway.yaml"), *MISTAKE)
        catalog = parts(read("shop.yaml"), "HTTPRoute", "catalog")[0]
        since = len(self.proxy.log())
        with Door("/orders/1", "/catalog/1") as door:
            self.gateway.apply(text)
            line = self.proxy.told(SAID, since)
            self.gateway.has("Accepted=True", *PORTCULLIS)
            expect("a token, by the last good one", status("/orders/1", self.reader), 200)
            self.gateway.apply(catalog)
            self.becomes("a route that is new", "/catalog/1", 200, self.reader)
            expect("the gauge", self.gauge(), {"1"})
            self.proxy.restart()
            self.becomes("a fresh proxy", "/orders/1", 503, self.reader)
            expect("a fresh proxy, without a token", status("/catalog/1"), 503)
        tried = door.kept_shut("a configuration that cannot be used")
        self.applied("gateway.yaml")
        self.becomes("the gate", "/orders/1", 200, self.reader)
        eventually("the gauge", lambda: self.gauge() == {"0"}, 30)
        said = re.search(r"portcullis: .*", line)[0]
        return (
            f"`Accepted` all the same; the proxy's log: `{said[:160]}`. The last good one stays in force, for a route that is new, "
            f"too; a fresh proxy answers 503. {tried} requests without a token, none of which came through; "
            "`portcullis_configuration_refused` is 1 until it is mended"
        )

    def measured(self):
        seen = self.proxy.metrics()
        names = sorted({re.split(r"[{ ]", line)[0] for line in seen})
        labels = sorted({label for line in seen for label in re.findall(r'[{,]([a-z_]+)="', line)})
        if not any('portcullis_requests{' in line and 'reason="token_missing"' in line for line in seen):
            raise Wrong(f"no portcullis_requests with labels: {seen[:5]}")
        return f"at port 19001, `/stats/prometheus`: {len(names)} of `{names[0].split('_portcullis')[0]}_portcullis_…`, with labels {', '.join(labels)}"

    def deleted(self):
        with Door("/orders/1") as door:
            self.gateway.delete(*PORTCULLIS)
            self.becomes("the route", "/orders/1", 200)
            self.applied("gateway.yaml")
            self.becomes("the gate", "/orders/1", 401)
        if not door.open_for():
            raise Wrong("nothing was open")
        return "**opens**: 200 without a token until it is applied again"

    def unguarded(self):
        return "todo"

    def guarded(self):
        return "todo"
