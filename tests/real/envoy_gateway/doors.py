"""When routes are open: policies and routes that come and go, in one order and in another."""

from kit import Wrong, eventually, expect
from kubernetes.server import Head, documents

from .gateway import POLICY
from .shop import Door, send, status
from .steps import NOBODYS, PORTCULLIS, Steps, page, parts, read


class Doors(Steps):
    """Under the policy of gateway.yaml and a route, and then on fresh proxies."""

    def rows(self):
        yield "`kubectl delete` of the policy, under routes", self.deleted
        yield "a policy of its own for a route, beside the gateway's", self.beside
        yield "routes and their policies at once, on a fresh proxy", self.unguarded
        yield f"{page('closed.yaml')}, {page('shop.yaml')}, then {page('open.yaml')}, on a fresh proxy", self.guarded
        yield "the way back: `kubectl delete` of open.yaml", self.rolled_back

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
        return (
            f"five times, on a proxy that has the module: {', '.join(map(str, times))} requests without a token came through before "
            "its own gate was in the way"
        )

    def gated(self, policy, token=None):
        """Waits until the gate of this policy judges, by what it counts. The token, if any, must be refused."""
        def counted():
            lines = [line for line in self.proxy.metrics() if line.startswith("portcullis_requests")]
            return sum(float(line.rpartition(" ")[2]) for line in lines if f'instance="{policy}"' in line)

        before = counted()
        eventually(f"the gate of {policy}", lambda: status("/orders/1", token) >= 400 and counted() > before, 60)

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
        return (
            f"**open** for {times[0]:.1f} s, until the proxy has fetched and compiled the module; policies before routes: "
            f"{times[1]:.1f} s, since a policy without a route is in no proxy"
        )

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
