"""The gate in the sidecar of a workload, by envoy/istio/sidecar.yaml, and what istiod makes of policies there."""

import json

from kit import expect

from .mesh import soon
from .rendered import Rendered

# What a provider without a cluster is.
NOWHERE = "outbound|443||nowhere.example"


class Sidecar:
    def __init__(self, mesh):
        self.mesh = mesh

    def rows(self):
        yield "policies of Istio's own, as istiod renders them", self.rendered
        yield "sidecar.yaml, with identity-provider.yaml", self.applied
        yield "sidecar-wasmplugin.yaml in its place", self.older
        yield "a cluster that the proxy does not have", self.nowhere
        yield "shop.yaml, of which the proxy is one", self.shop

    def settles(self, what, expected, *arguments, **more):
        self.mesh.becomes(what, "SIDECAR", expected, *arguments, **more)

    def rendered(self):
        self.proxy = self.mesh.proxy("sidecar", "shop", {"app": "orders"}, is_gateway=False, levels="wasm:info")
        self.settles("before", 200)
        return Rendered(self.mesh, self.proxy, self.mesh.ports["SIDECAR_PORT"]).all()

    def applied(self):
        self.mesh.apply(self.mesh.placed("sidecar.yaml"))
        self.settles("no token", 401)
        good = self.mesh.issuer.token()
        self.settles("a token", 200, token=good)
        expect("another scope", self.mesh.ask("SIDECAR", token=good, method="POST").status, 403)
        expect("the public path", self.mesh.ask("SIDECAR", "/healthz").status, 200)
        seen = self.mesh.ask("SIDECAR", token=good, x_user="mallory").json()
        expect("x-user", seen.get("x-user"), "alice")
        expect("`%2F`", self.mesh.ask("SIDECAR", "/orders%2F1", token=good).status, 400)
        return "401 without a token, 200 with one, 403 without its scope; the service gets `x-user` of the token"

    def older(self):
        with self.mesh.closed("SIDECAR"):
            self.mesh.apply(self.mesh.placed("sidecar-wasmplugin.yaml"))
            self.mesh.delete("TrafficExtension", "portcullis-orders", "shop")
            soon("the plugin alone", lambda: "translated-wasmplugin" in json.dumps(self.proxy.dump("ListenersConfigDump")))
            self.settles("a token", 200, token=self.mesh.issuer.token())
        return "the same; nobody passes without a token while one takes the place of the other"

    def nowhere(self):
        text = self.mesh.placed("sidecar-wasmplugin.yaml")
        self.mesh.apply(text.replace("outbound|443||idp.example", NOWHERE))
        self.settles("a token", 503, token=self.mesh.issuer.token())
        soon("the log", lambda: self.proxy.said(NOWHERE))
        soon("the reason", lambda: self.proxy.said("keys_unavailable"))
        return "503 (`keys_unavailable`), and the log names the cluster"

    def shop(self):
        self.mesh.apply(self.mesh.placed("shop.yaml"))
        self.mesh.delete("WasmPlugin", "portcullis-orders", "shop")
        self.settles("a token", 200, token=self.mesh.issuer.token())
        self.mesh.always("no token", "SIDECAR", 401)
        return "its own policy is in force, and none of the others"
