"""The manifests of envoy/envoy-gateway, one way after the other, and what the page says of each."""

import re

from kit import REPOSITORY, Skip, Wrong, eventually, expect, run
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
EXT_AUTH = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata:
  name: asked
  namespace: shop
spec:
  targetRefs:
    - { group: gateway.networking.k8s.io, kind: HTTPRoute, name: orders }
  extAuth:
    headersToExtAuth: [x-user]
    http:
      path: /check
      backendRefs:
        - { name: payments, port: 8080 }
"""
# As the page has it.
ORDER = """  filterOrder:
    - { name: envoy.filters.http.wasm, before: envoy.filters.http.ext_authz }
"""
# A mistake in a configuration, and what is said of it.
MISTAKE = ("audiences:", "audience:")
SAID = "providers.corp.audience"


# So many requests come through where routes and filters fall apart for a moment; more is another thing.
AT_THE_MOST = 20


def moment(passed):
    """What came through at that moment."""
    return f"{passed} requests without a token came through when it changed" if passed else "no request came through"


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
        yield "the same as the first change since the proxy started", self.mistaken_at_first
        yield "metrics, with the tags of start.yaml and without", self.measured
        yield "no `logging` in the EnvoyProxy", self.silent
        yield "a listener with a `hostname`", self.named_listener
        yield "the provider's cluster in the EnvoyProxy's `bootstrap`", self.own_cluster
        yield "`mergeBackends` in the EnvoyProxy", self.merged
        yield "an `extAuth` beside the gate, and `filterOrder`", self.ordered
        yield page("module.yaml") + ", in two steps", self.module
        yield "the module's file is not in the proxy", self.no_module
        yield "`kubectl delete` of the policy, under routes", self.deleted
        yield "a policy of its own for a route, beside the gateway's", self.beside
        yield "routes and their policies at once, on a fresh proxy", self.unguarded
        yield f"{page('closed.yaml')}, {page('shop.yaml')}, then {page('open.yaml')}, on a fresh proxy", self.guarded
        yield "the way back: `kubectl delete` of open.yaml", self.rolled_back

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
        dot = status("/orders/1", self.reader, host="shop.example.")
        expect("a dot behind the host, before", dot, 404)
        self.applied("connection-manager.yaml")
        self.gateway.has("Programmed=True", POLICY, "EnvoyPatchPolicy", "shop", "portcullis-connection-manager")
        for host in ("shop.example:8080", "shop.example."):
            self.becomes(host, "/orders/1", 200, self.reader, host=host)
            expect(f"{host} without a token", status("/orders/1", host=host), 401)
        expect("an escaped slash", status("/orders%2f1", self.reader), 400)
        return "`Programmed`; `shop.example.`, which got 404, and `shop.example:8080` are judged as `shop.example`; `%2f` gets 400"

    def pinned(self):
        text = read("gateway.yaml")
        place = "          url: registry.example/portcullis:0.1.0\n"
        expect("the digest that `make image` prints", self.here.given["image"], self.here.digest)
        own = self.here.digest.removeprefix("sha256:")
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

    def mended(self):
        self.applied("gateway.yaml")
        self.gateway.has("Accepted=True", *PORTCULLIS)
        self.becomes("the gate", "/orders/1", 200, self.reader)

    def gauges(self):
        return {line.rpartition(" ")[2] for line in self.proxy.metrics() if "configuration_refused" in line}

    def mistaken(self):
        catalog = parts(read("shop.yaml"), "HTTPRoute", "catalog")[0]
        # A change before: see the next row.
        self.gateway.apply(changed(read("gateway.yaml"), "/healthz", "/health"))
        self.mended()
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
            self.becomes("the routes", "/orders/1", 503, self.reader)
        tried = door.kept_shut("a configuration that cannot be used")
        self.mended()
        return (
            "503 `configuration_refused`: Envoy has made another virtual machine, which knows no last good one. "
            f"{tried} requests without a token, none of which came through"
        )

    def measured(self):
        with_tags = self.names('portcullis_requests{decision="deny",provider="corp",reason="token_missing",instance="portcullis"}')
        bare = self.proxy_of("  # envoy/stats_tags.yaml")
        self.gateway.apply(bare)
        self.proxy.renew()
        self.becomes("the gate", "/orders/1", 401)
        without = self.names("portcullis_requests_decision_deny_provider_corp_reason_token_missing_instance_portcullis{}")
        self.original()
        return f"`/stats/prometheus` at port 19001 has `{with_tags}`; without the tags `{without}`"

    def names(self, wanted):
        """Waits for a metric, which must be there."""
        self.becomes("a refusal", "/orders/1", 401)
        try:
            eventually(wanted, lambda: any(line.startswith(wanted) for line in self.proxy.metrics()), 20)
        except RuntimeError as error:
            raise Wrong(f"{error}; there are {self.proxy.metrics()[:9]}") from None
        return wanted

    def proxy_of(self, until=None, more=""):
        """The EnvoyProxy of start.yaml: up to some words of it, or with more in its `spec`."""
        text = parts(read("start.yaml"), "EnvoyProxy")[0]
        if until:
            text = text[:text.index(until)]
        return changed(text, "\nspec:\n", f"\nspec:\n{more}")

    def original(self):
        """The proxy as start.yaml has it, fresh."""
        self.gateway.apply(self.proxy_of())
        self.proxy.renew()
        self.mended()

    def silent(self):
        self.gateway.apply(changed(self.proxy_of(), ", wasm: info", ""))
        self.proxy.renew()
        self.becomes("the gate", "/orders/1", 200, self.reader)
        expect("the log", ['"corp": 1 key' in self.proxy.log(), "portcullis: audit" in self.proxy.log()], [False, False])
        self.gateway.apply(changed(read("gateway.yaml"), *MISTAKE))
        self.proxy.told(SAID)
        self.original()
        return "no word of keys and no audit line: they are of level `info`, and Envoy Gateway's own is `warn`. Errors are there"

    def named_listener(self):
        text = parts(read("start.yaml"), "Gateway")[0]
        plain = "    - { name: http, port: 80, protocol: HTTP }"
        named = "    - { name: http, port: 80, protocol: HTTP, hostname: shop.example }"
        self.gateway.apply(changed(text, plain, named))
        self.gateway.has("Accepted=False", GATEWAY, "HTTPRoute", "shop", "idp-keys")
        reason = self.gateway.conditions(GATEWAY, "HTTPRoute", "shop", "idp-keys")["Accepted"][1]
        self.proxy.restart()
        line = self.proxy.told("fetching keys failed")
        self.becomes("a token", "/orders/1", 503, self.reader)
        self.gateway.apply(changed(text, plain, f"{named}\n    - {{ name: keys, port: 80, protocol: HTTP, hostname: {NOBODYS} }}"))
        self.becomes("a token", "/orders/1", 200, self.reader)
        self.gateway.apply(text)
        self.gateway.has("Accepted=True", GATEWAY, "HTTPRoute", "shop", "idp-keys")
        said = re.search(r"the cluster .*? endpoint", line)[0]
        return (
            f"the route of identity-provider.yaml is not accepted (`{reason}`), and a fresh proxy answers 503 (`{said}`); with a "
            "listener for `keys.invalid` beside it, tokens pass"
        )

    def own_cluster(self):
        patch = re.search(r"```text\n(      - op: add\n        path: /static_resources/clusters/-\n.*?)```", read("README.md"), re.DOTALL)[1]
        self.gateway.apply(self.proxy_of().rstrip("\n") + "\n" + patch)
        self.proxy.renew()
        self.gateway.apply(changed(read("gateway.yaml"), "cluster: httproute/shop/idp-keys/rule/0", "cluster: idp"))
        self.gateway.delete(GATEWAY, "HTTPRoute", "shop", "idp-keys")
        self.becomes("a token", "/orders/1", 200, self.reader)
        self.proxy.restart()
        self.becomes("a token", "/orders/1", 200, self.reader)
        self.applied("identity-provider.yaml")
        self.original()
        return "with the patch of the page, and `cluster: idp` in the policy, tokens pass without identity-provider.yaml"

    def merged(self):
        self.gateway.apply(self.proxy_of(more="  mergeBackends: {}\n"))
        eventually("another cluster", lambda: "backend/shop/idp/0/http::" in self.proxy.admin("/clusters").body.decode(), 30)
        self.proxy.restart()
        self.becomes("a token", "/orders/1", 503, self.reader)
        text = read("gateway.yaml")
        self.gateway.apply(changed(text, "cluster: httproute/shop/idp-keys/rule/0", "cluster: backend/shop/idp/0/http"))
        self.becomes("a token", "/orders/1", 200, self.reader)
        self.gateway.apply(self.proxy_of())
        eventually("the cluster", lambda: "httproute/shop/idp-keys/rule/0::" in self.proxy.admin("/clusters").body.decode(), 30)
        self.mended()
        return "the cluster is called `backend/shop/idp/0/http` then, and 503 until the policy says so, too"

    def ordered(self):
        checked = self.here.checked
        self.gateway.apply(EXT_AUTH)
        self.gateway.has("Accepted=True", POLICY, "SecurityPolicy", "shop", "asked")

        def seen(token):
            checked.clear()
            send("/orders/1", token, x_user="mallory")
            return [headers.get("x-user") for headers in checked]

        eventually("the service to be asked", lambda: seen(self.reader), 30)
        expect("asked before the gate", (seen(None), seen(self.reader)), (["mallory"], ["mallory"]))
        self.gateway.apply(self.proxy_of(more=ORDER))
        eventually("the service to be asked later", lambda: seen(None) == [], 30)
        expect("asked behind the gate", seen(self.reader), ["alice"])
        self.gateway.delete(POLICY, "SecurityPolicy", "shop", "asked")
        self.gateway.apply(self.proxy_of())
        self.mended()
        return (
            "the service is asked before the gate, of requests without a token, too, and sees the client's own `x-user`; with "
            "`filterOrder` as in the page it is asked behind the gate, of those that passed, and sees the token's"
        )

    def module(self):
        if not (REPOSITORY / "dist" / "libportcullis.so").exists():
            raise Skip("`make native` builds what this needs")
        text, plugin = read("module.yaml"), read("gateway.yaml")
        self.gateway.apply(parts(text, "EnvoyProxy")[0])
        self.proxy.renew()
        self.mended()
        alone = parts(text, "EnvoyExtensionPolicy")[0]
        with Door("/orders/1") as door:
            self.gateway.apply(self.both())
            eventually("the module", lambda: any("dynamicmodulescustom" in line for line in self.proxy.metrics()), 30)
            self.gateway.apply(alone)
            self.of_module()
            self.gateway.apply(changed(alone, *MISTAKE))
            self.proxy.told("the last good configuration")
            expect("a token", status("/orders/1", self.reader), 200)
            self.proxy.restart()
            self.becomes("a fresh proxy", "/orders/1", 503, self.reader)
            self.gateway.apply(alone)
            self.becomes("the module", "/orders/1", 200, self.reader)
        tried = door.kept_shut("the module")
        self.requests()
        self.gateway.apply(plugin)
        self.original()
        return (
            f"the plugin, the plugin and the module, the module alone: {tried} requests without a token meanwhile, none of which "
            "came through; the requests above get what they got. With a mistake in the configuration: the last good one, 503 of a "
            "fresh proxy"
        )

    def of_module(self):
        """Waits until the plugin is out of the way."""
        self.becomes("the module", "/orders/1", 200, self.reader)

        def is_alone():
            stats = self.proxy.admin("/listeners?format=json").body
            return stats and status("/orders/1") == 401

        eventually("the module alone", is_alone, 30)

    def both(self):
        """The policy with the plugin, which lets the token go on, and the module behind it."""
        plugin = changed(read("gateway.yaml"), "            audiences: [orders]\n", "            audiences: [orders]\n            forward: true\n")
        alone = parts(read("module.yaml"), "EnvoyExtensionPolicy")[0]
        return plugin.rstrip("\n") + "\n" + alone[alone.index("  dynamicModule:"):]

    def no_module(self):
        text = parts(read("module.yaml"), "EnvoyProxy")[0]
        self.gateway.apply(changed(text, "path: /opt/portcullis/libportcullis.so", "path: /opt/portcullis/other.so"))
        self.proxy.renew()
        self.mended()
        since = len(self.proxy.log())
        with Door("/orders/1") as door:
            self.gateway.apply(self.both())
            self.proxy.told("other.so", since)
            expect("a token", status("/orders/1", self.reader), 200)
        door.kept_shut("a file that is not there, beside the plugin")
        self.mended()
        with Door("/orders/1") as door:
            self.gateway.apply(parts(read("module.yaml"), "EnvoyExtensionPolicy")[0])
            self.becomes("the route", "/orders/1", 200)
            self.gateway.has("Accepted=True", *PORTCULLIS)
            self.mended()
            self.becomes("the gate", "/orders/1", 401)
        expect("whether it was open", door.open_for() is not None, True)
        self.original()
        return (
            "beside the plugin: nothing is open, and Envoy's log names the file. In place of the plugin: `Accepted`, Envoy keeps "
            "the listener of before, and **every route of the policy is open** until it is mended"
        )

    def deleted(self):
        with Door("/orders/1") as door:
            self.gateway.delete(*PORTCULLIS)
            self.becomes("the route", "/orders/1", 200)
            self.mended()
            self.becomes("the gate", "/orders/1", 401)
        expect("whether it was open", door.open_for() is not None, True)
        return "**opens**: 200 without a token, until it is applied again"

    def beside(self):
        times = []
        for _ in range(5):
            with Door("/orders/1") as door:
                self.gateway.apply(parts(read("shop.yaml"), "EnvoyExtensionPolicy", "portcullis-orders")[0])
                self.gated("portcullis-orders")
            times.append(door.statuses().get(200, 0))
            self.gateway.delete(POLICY, "EnvoyExtensionPolicy", "shop", "portcullis-orders")
            self.gated("portcullis")
        return f"five times, on a proxy that has the module: {', '.join(map(str, times))} requests without a token came through before its own gate was in the way"

    def gated(self, policy):
        """Waits until the gate of this policy judges, by what it counts."""
        def counted():
            lines = [line for line in self.proxy.metrics() if line.startswith("portcullis_requests") and f'instance="{policy}"' in line]
            return sum(float(line.rpartition(" ")[2]) for line in lines)

        before = counted()
        eventually(f"the gate of {policy}", lambda: status("/orders/1") == 401 and counted() > before, 40)

    def bare(self):
        """A fresh proxy, and no policy and route but identity-provider.yaml's."""
        for document in documents(read("shop.yaml")):
            head = Head.of(document)
            self.here.cluster.ask("DELETE", self.here.cluster.place(head))
        for kind, name in (("EnvoyExtensionPolicy", "portcullis"), ("SecurityPolicy", "closed"), ("SecurityPolicy", "open")):
            self.here.cluster.ask("DELETE", self.here.cluster.place(Head(POLICY, kind, "shop", name)))
        self.becomes("no route", "/orders/1", 404)
        self.proxy.restart()
        self.becomes("the proxy", "/.well-known/jwks.json", 200, host=NOBODYS)

    def unguarded(self):
        times = []
        for text in (read("shop.yaml"), "---".join(parts(read("shop.yaml"), "HTTPRoute"))):
            self.bare()
            with Door("/orders/1", "/payments/1") as door:
                # The second time the policies are there long before their routes.
                self.gateway.apply("---".join(parts(read("shop.yaml"), "EnvoyExtensionPolicy")))
                self.gateway.apply(text)
                self.becomes("the gate", "/orders/1", 401)
            times.append(door.open_for())
        if None in times:
            raise Wrong(f"it was not open: {times}")
        return f"**open** for {times[0]:.1f} s, until the proxy has fetched and compiled the module; policies before routes: {times[1]:.1f} s, since a policy without a route is in no proxy"

    def guarded(self):
        self.bare()
        self.applied("closed.yaml")
        self.becomes("the host that nobody asks for", "/.well-known/jwks.json", 403, host=NOBODYS)
        expect("what it says", send("/.well-known/jwks.json", host=NOBODYS).body, b"RBAC: access denied")
        with Door("/orders/1", "/orders/healthz", "/payments/1", "/catalog/1") as door:
            self.applied("shop.yaml")
            for path, method in (("/orders/1", "GET"), ("/payments/1", "POST"), ("/catalog/1", "POST")):
                self.becomes("the gate", path, 401, method=method)
            expect("a token, while it is closed", status("/orders/1", self.reader), 403)
        shut = door.kept_shut("closed.yaml")
        with Door("/orders/1", "/payments/1") as door:
            self.applied("open.yaml")
            self.becomes("a token", "/orders/1", 200, self.reader)
            self.becomes("a public path", "/catalog/1", 200)
        opened = door.kept_shut("open.yaml")
        payer = self.token(aud="payments", scope="payments:create")
        self.tries(
            ("orders for payments", 401, "POST", "/payments/1", self.reader, {}),
            ("who pays", 200, "POST", "/payments/1", payer, {}),
            ("who pays, and asks for money back", 403, "POST", "/payments/1/refund", payer, {}),
            ("an editor", 200, "POST", "/catalog/1", self.token(aud="catalog", scope="catalog:write"), {}),
            ("anybody", 200, "GET", "/catalog/1", None, {}),
            ("health", 200, "GET", "/orders/healthz", None, {}),
        )
        return (
            "403 `RBAC: access denied` of every route, then 401 of each once its gate is in the way, then open: of "
            f"{shut} and {opened} requests without a token none came through. Each route asks for what its policy says"
        )

    def rolled_back(self):
        with Door("/orders/1") as door:
            self.gateway.delete(POLICY, "SecurityPolicy", "shop", "open")
            self.becomes("the route", "/orders/1", 403, self.reader)
            self.gateway.delete(POLICY, "EnvoyExtensionPolicy", "shop", "portcullis-orders")
            self.becomes("the route without its gate", "/orders/1", 403)
        tried = door.kept_shut("the way back")
        return f"403 again, also when the policies go after it: {tried} requests without a token, none of which came through"
