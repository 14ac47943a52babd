"""The gate at a gateway, by envoy/istio/gateway.yaml, and what Istio does around it."""

import hashlib
import json
import re
import time

from gate import Trickle
from kit import REPOSITORY, Wrong, expect
from web import ask

from .mesh import MANIFESTS, soon

# The name of the filter in Envoy.
FILTER = "extensions.istio.io/trafficextension/istio-ingress.portcullis"
MODULE = REPOSITORY / "dist" / "portcullis.wasm"
# As long as something may take to come that must not come, in seconds.
A_WHILE = 5
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: {name}
  namespace: istio-ingress
spec:
  selector: {{ matchLabels: {{ istio: ingressgateway }} }}
{rest}
"""
# Those of Istio's own gateway.
LABELS = {"istio": "ingressgateway"}
LOG_LEVEL = "istioctl proxy-config log --level wasm:info"


def policy(name, rest):
    return POLICY.format(name=name, rest=rest)


class Gateway:
    """One proxy after the other, on the same port, with the gate in it."""

    def __init__(self, mesh):
        self.mesh, self.proxy = mesh, None

    def fresh(self, name, **more):
        """Another proxy in place of the one before."""
        if self.proxy:
            self.mesh.ended(self.proxy)
        more.setdefault("levels", "wasm:info")
        self.proxy = self.mesh.proxy(name, "istio-ingress", LABELS, **more)

    def manifest(self, *changes):
        """gateway.yaml with some lines replaced."""
        text = self.mesh.placed("gateway.yaml")
        for before, after in changes:
            if before not in text:
                raise RuntimeError(f"gateway.yaml has no {before!r}")
            text = text.replace(before, after)
        return text

    def put(self, *changes):
        self.mesh.apply(self.manifest(*changes))

    def settles(self, what, expected, *arguments, **more):
        self.mesh.becomes(what, "GATEWAY", expected, *arguments, **more)

    def ask(self, *arguments, **more):
        return self.mesh.ask("GATEWAY", *arguments, **more)

    def remove(self, name, kind="AuthorizationPolicy"):
        self.mesh.delete(kind, name, version="security.istio.io/v1")

    def unfiltered(self, name):
        self.mesh.delete("EnvoyFilter", name, version="networking.istio.io/v1alpha3")

    # The rows.

    def rows(self):
        yield "gateway.yaml, with identity-provider.yaml and connection-manager.yaml", self.applied
        yield "the log", self.logged
        yield "paths and hosts, with connection-manager.yaml", self.read
        yield "gateway-wasmplugin.yaml in its place", self.older
        yield "the policy is changed 20 times under requests", self.changed
        yield "`sha256`", self.pinned
        yield "an image that cannot be fetched", self.missing
        yield "a configuration that is refused, in a proxy that runs", self.refused
        yield "a configuration that is refused, in a fresh proxy", self.refused_afresh
        yield "an AuthorizationPolicy with `action: CUSTOM`", self.custom
        yield "AuthorizationPolicies that ask for `requestPrincipals`", self.principals
        yield "the policy is deleted, behind `action: DENY`", self.deleted
        yield "two plugins in one proxy", self.several
        yield "preflights, and pages of other origins", self.pages
        yield "[envoy/istio/route-metadata.yaml](../envoy/istio/route-metadata.yaml)", self.routes
        yield "the filter disabled on a route by FilterConfig", self.disabled
        yield "metrics", self.measured
        yield "metrics, with [envoy/stats_tags.yaml](../envoy/stats_tags.yaml) in the bootstrap", self.labelled
        yield "the dynamic module, by [envoy/istio/dynamic-module.yaml](../envoy/istio/dynamic-module.yaml)", self.native

    def applied(self):
        self.fresh("gateway-1", levels="")
        self.settles("before", 200)
        began = time.monotonic()
        self.put()
        self.settles("no token", 401)
        took = time.monotonic() - began
        good, other = self.mesh.issuer.token(), self.mesh.issuer.token(audience="billing")
        self.settles("a token", 200, token=good)
        shown = json.dumps(self.proxy.dump("ClustersConfigDump"))
        expect("the provider's cluster", "outbound|443||idp.example" in shown, True)
        expect("another audience", self.ask(token=other).status, 401)
        expect("another scope", self.ask(token=good, method="POST").status, 403)
        expect("the public path", self.ask("/healthz").status, 200)
        seen = self.ask(token=good, x_user="mallory").json()
        expect("x-user", seen.get("x-user"), "alice")
        expect("the token upstream", "authorization" in seen, False)
        expect("what a client says on a public path", "x-user" in self.ask("/healthz", x_user="mallory").json(), False)
        return (
            "401 without a token, 200 with one, 403 without its scope; the service gets `x-user` of the token, never the "
            f"client's. A proxy that served before let requests pass for {took:.0f} s more, until it had the module"
        )

    def logged(self):
        expect("a line at the default level", self.proxy.said("portcullis: "), False)
        admin = f"http://127.0.0.1:{self.proxy.admin}"
        expect("the level", ask("POST", f"{admin}/logging?wasm=info").status, 200)
        self.ask()
        soon("the audit line", lambda: self.proxy.said("audit {"))
        self.fresh("gateway-2")
        soon("keys in the log", lambda: self.proxy.said('portcullis: provider "corp": 1 key'))
        self.settles("a token", 200, token=self.mesh.issuer.token())
        return (
            f"nothing at the default level. With `wasm:info` at run time (as `{LOG_LEVEL}` does) audit lines, from the start "
            "(`sidecar.istio.io/componentLogLevel`) keys too"
        )

    def read(self):
        good = self.mesh.issuer.token()
        for path, expected in {"/orders%2F1": 400, "//orders///1": 200, "/healthz/../orders/1": 200}.items():
            expect(path, self.ask(path, token=good).status, expected)
        expect("a path out of a public one", self.ask("/healthz/../orders/1").status, 401)
        for host in ("shop.example:8080", "shop.example."):
            expect(host, self.ask(token=good, Host=host).status, 200)
        return (
            "`%2F` is refused (400); `//` and `..` are read as the rules read them; a host is one with a port and with a dot at "
            "its end"
        )

    def older(self):
        good = self.mesh.issuer.token()
        with self.mesh.closed("GATEWAY"):
            # One of the two, never none.
            self.mesh.apply(self.mesh.placed("gateway-wasmplugin.yaml"))
            soon("both", lambda: len(self.gates()) == 2)
            self.settles("a token, with both", 401, token=good)
            self.mesh.delete("TrafficExtension", "portcullis")
            soon("the plugin alone", lambda: self.gates() and FILTER not in self.gates())
            self.settles("a token", 200, token=good)
            expect("another scope", self.ask(token=good, method="POST").status, 403)
            self.put()
            soon("both", lambda: len(self.gates()) == 2)
            self.mesh.delete("WasmPlugin", "portcullis")
            soon("the extension alone", lambda: self.gates() == [FILTER])
            self.settles("a token", 200, token=good)
        return (
            "the same. While both are there, tokens get 401: the first takes them away. Nobody passes without one while one "
            "takes the place of the other"
        )

    def gates(self):
        return [name for name in self.filters() if name.startswith("extensions.istio.io")]

    def filters(self):
        """The names of the HTTP filters of the gateway's listener, in their order."""
        found = []
        for listener in self.proxy.dump("ListenersConfigDump").get("dynamic_listeners", []):
            text = json.dumps(listener.get("active_state", {}))
            if f'"port_value": {self.mesh.ports["GATEWAY_PORT"]}' in text:
                found = re.findall(r'"name": "((?:extensions\.istio\.io|envoy\.filters\.http)[^"]*)"', text)
        return found

    def sent(self):
        """What Envoy was sent as the gate's filter."""
        return json.dumps(self.proxy.dump("EcdsConfigDump"))

    def changed(self):
        good = self.mesh.issuer.token()
        trickle = Trickle([_Door(self.mesh)], good, self.mesh.issuer.token(audience="billing"))
        try:
            for number in range(20):
                name = f"everything-else-{number}"
                self.put(("name: everything-else", f"name: {name}"))
                soon("the change", lambda name=name: name in self.sent())
        finally:
            trickle.stop()
        self.put()
        return trickle.said()

    def pinned(self):
        good, digest = self.mesh.issuer.token(), self.mesh.push("0.1.0")
        url = f"{self.mesh.registry.at}/portcullis:0.1.0"
        line = f"url: oci://{url}"
        self.put((line, f"{line}\n    sha256: {digest}"))
        soon("the image", lambda: digest in self.sent())
        self.settles("a token", 200, token=good)
        own = hashlib.sha256(MODULE.read_bytes()).hexdigest()
        self.put((line, f"{line}\n    sha256: {own}"))
        self.settles("a token", 403, token=good)
        soon("the log", lambda: self.proxy.said("which does not match"))
        by_digest = f"url: oci://{url.rsplit(':', 1)[0]}@sha256:{digest}"
        self.put((line, by_digest))
        self.settles("a token", 200, token=good)
        self.put()
        self.settles("a token", 200, token=good)
        return (
            "the digest that `make image` prints runs, in `sha256` and in the URL (`portcullis@sha256:…`); with the module's "
            "own sum everything is refused (403), and the agent's log says that it does not match"
        )

    def missing(self):
        good, tag = self.mesh.issuer.token(), "of-tomorrow"
        changed = ("portcullis:0.1.0", f"portcullis:{tag}")
        self.put(changed)
        self.settles("a token", 403, token=good)
        expect("what Envoy was sent", "wasm-default-deny" in self.sent(), True)
        expect("the agent's log", self.proxy.said("error in converting the wasm config to local"), True)
        expect("ready", self.proxy.is_ready(), True)
        self.mesh.push(tag)
        time.sleep(A_WHILE)
        self.mesh.always("a token, when the image is there", "GATEWAY", 403, token=good)
        self.put(changed, ("  name: portcullis\n", '  name: portcullis\n  annotations: { touched: "1" }\n'))
        time.sleep(A_WHILE)
        self.mesh.always("a token, with another annotation", "GATEWAY", 403, token=good)
        self.put(changed, ("phase: AUTHN", "phase: AUTHN\n  priority: 1"))
        self.settles("a token, when the spec was changed", 200, token=good)
        other = ("portcullis:0.1.0", "portcullis:of-next-week")
        self.put(other)
        self.settles("a token", 403, token=good)
        self.mesh.push("of-next-week")
        self.fresh("gateway-3")
        self.settles("a token, in a fresh proxy", 200, token=good)
        self.put()
        self.settles("a token", 200, token=good)
        return (
            "everything is refused (403), and the proxy is ready. It stays so when the image is there, until something in the "
            "plugin's `spec` is changed (`priority: 1`) or the proxy starts anew; an annotation is not enough"
        )

    # A configuration that the filter refuses, and Istio does not.
    WRONG = ("audiences: [orders]", "audience: [orders]")

    def refused(self):
        good = self.mesh.issuer.token()
        self.put(self.WRONG)
        soon("the refusal", lambda: self.proxy.said("unknown field; did you mean"))
        self.mesh.always("a token", "GATEWAY", 200, token=good)
        self.mesh.always("no token", "GATEWAY", 401)
        shown = '\\"audience\\"' in self.sent()
        self.put()
        self.settles("a token", 200, token=good)
        what = "the one that was refused" if shown else "the one before"
        return f"the one before serves on, and the log has every mistake. `config_dump` shows {what}"

    def refused_afresh(self):
        good = self.mesh.issuer.token()
        self.put(self.WRONG)
        self.fresh("gateway-4")
        soon("the refusal", lambda: self.proxy.said("unknown field; did you mean"))
        self.mesh.always("a token", "GATEWAY", 500, token=good)
        self.mesh.always("no token", "GATEWAY", 500)
        expect("ready", self.proxy.is_ready(), True)
        variable = "vmConfig: { env: [{ name: PORTCULLIS_REFUSED_CONFIGURATION, value: deny }] }"
        self.put(self.WRONG, ("    pluginConfig:\n", f"    {variable}\n    pluginConfig:\n"))
        self.settles("a token, with the variable", 503, token=good)
        soon("the gauge", lambda: self.proxy.stats().get("portcullis_configuration_refused{}") == 1)
        self.put()
        self.settles("a token", 200, token=good)
        return (
            "the proxy is ready, and answers 500 to everything, until the manifest is mended. With "
            f"`{variable}` it answers 503, and `portcullis_configuration_refused` is 1"
        )

    def custom(self):
        good = self.mesh.issuer.token()
        self.mesh.apply(policy("custom", "  action: CUSTOM\n  provider: { name: before-all }\n  rules: [{}]"))
        soon("the service to be asked", lambda: self.ask(token=good) and self.mesh.custom.seen)
        self.mesh.custom.seen.clear()
        answer = self.ask(token=good, x_user="mallory")
        told = [headers.get("x-user") for _, headers in self.mesh.custom.seen]
        expect("what the service is told", told, ["mallory"])
        expect("what the service behind is told", answer.json().get("x-user"), "alice")
        self.mesh.custom.seen.clear()
        self.ask()
        expect("asked about a request without a token", len(self.mesh.custom.seen), 1)
        self.remove("custom")
        soon("the policy to be gone", lambda: "envoy.filters.http.ext_authz" not in self.filters())
        return "its service is asked before the gate: about requests without a token too, and it sees the client's own `x-user`"

    def principals(self):
        good = self.mesh.issuer.token()
        self.mesh.apply(policy("asks", '  rules: [{ from: [{ source: { requestPrincipals: ["*"] } }] }]'))
        self.settles("a token", 403, token=good)
        self.remove("asks")
        self.settles("a token", 200, token=good)
        return "they find no token: 403 where the gate has let the request pass"

    def deleted(self):
        good = self.mesh.issuer.token()
        self.mesh.apply(policy("closed", "  action: DENY"))
        time.sleep(A_WHILE)
        self.mesh.always("a token, with `action: DENY` alone", "GATEWAY", 200, token=good)
        self.mesh.apply(policy("closed", "  action: DENY\n  rules: [{}]"))
        self.settles("a token, with a rule", 403, token=good)
        self.mesh.delete("TrafficExtension", "portcullis")
        soon("the filter to be gone", lambda: FILTER not in self.filters())
        self.mesh.always("no token, without the gate", "GATEWAY", 403)
        self.remove("closed")
        self.settles("no token, without both", 200)
        self.put()
        self.settles("no token", 401)
        return (
            "`action: DENY` without rules denies nothing; with `rules: [{}]` it denies everything, and goes on to when the "
            "policy is gone. Without both the door is open"
        )

    def several(self):
        good = self.mesh.issuer.token(scope="orders:read orders:audit")
        second = self.manifest(
            ("  name: portcullis\n", "  name: second\n"),
            ('all_of: ["orders:read"]', 'all_of: ["orders:audit"]'),
            ("      public_rules: explicit", "      instance: second\n      public_rules: explicit"),
        )
        self.mesh.apply(second)
        self.settles("a token that the first has taken away", 401, token=good)
        first = ("phase: AUTHN", "phase: AUTHN\n  priority: 1")
        self.put(first, ("        audiences: [orders]", "        audiences: [orders]\n          forward: true"))
        self.settles("a token of both scopes", 200, token=good)
        self.settles("a token of one scope", 403, token=self.mesh.issuer.token())
        expect("their order", [name.rsplit(".", 1)[1] for name in self.gates()], ["portcullis", "second"])
        name = "portcullis_requests_decision_allow_provider_corp_reason_none"
        wanted = {f"{name}{{}}", f"{name}_instance_second{{}}"}
        soon("the metrics of both", lambda: wanted <= set(self.proxy.stats()))
        self.mesh.delete("TrafficExtension", "second")
        soon("the second to be gone", lambda: not any("second" in each for each in self.filters()))
        self.put()
        self.settles("a token", 200, token=good)
        return (
            "the higher `priority` comes first, and none is the lowest. Each must let a request pass; without `forward: true` in "
            "the first the second finds no token (401). With an `instance` each has metrics of its own"
        )

    def pages(self):
        origin = {"Origin": "https://app.example"}
        asked = {**origin, "Access-Control-Request-Method": "GET"}
        allowed = "access-control-allow-origin"
        expect("a preflight", self.ask(method="OPTIONS", **asked).status, 401)
        expect("its refusal's origin", self.ask(**origin).headers.get(allowed), None)
        rules = "      public_rules: explicit"
        self.put((rules, f'      bypass_cors_preflight: true\n      cors: {{ allow_origins: ["https://app.example"] }}\n{rules}'))
        self.settles("a preflight", 200, method="OPTIONS", **asked)
        answer = self.ask(method="OPTIONS", **asked)
        expect("who answers it", (answer.headers.get(allowed), answer.body), ("https://app.example", b""))
        refused = self.ask(**origin)
        expect("a refusal", (refused.status, refused.headers.get(allowed)), (401, "https://app.example"))
        self.put()
        self.settles("a preflight", 401, method="OPTIONS", **asked)
        return (
            "Istio's filter for `corsPolicy` stands behind the gate: preflights get 401, and pages cannot read refusals. With "
            "`bypass_cors_preflight: true` it answers preflights, and with `cors` in the configuration pages read refusals"
        )

    def routes(self):
        good, other = self.mesh.issuer.token(scope="orders:read orders:refund"), self.mesh.issuer.token()
        self.mesh.apply((MANIFESTS / "route-metadata.yaml").read_text())
        self.settles("a token without the scope", 403, "/orders/refunds/1", token=other)
        expect("one with it", self.ask("/orders/refunds/1", token=good).status, 200)
        expect("another route", self.ask(token=other).status, 200)
        self.unfiltered("portcullis-route-refunds")
        self.settles("a token without the scope", 200, "/orders/refunds/1", token=other)
        rules = "      public_rules: explicit"
        self.put((rules, f"      route_rules: {{ allow_disable: true }}\n{rules}"))
        self.mesh.apply((MANIFESTS / "route-metadata.yaml").read_text().replace('scopes: ["orders:refund"]', "disabled: true"))
        self.settles("no token", 200, "/orders/refunds/1")
        seen = self.ask("/orders/refunds/1", x_user="mallory").json()
        expect("what a client says", seen.get("x-user"), None)
        self.unfiltered("portcullis-route-refunds")
        self.put()
        self.settles("no token", 401, "/orders/refunds/1")
        return (
            "the route asks for its scope besides (403 without), others do not. With `disabled: true` there (and "
            "`route_rules.allow_disable`) it asks for nothing, and the client's `x-user` is taken away all the same"
        )

    def disabled(self):
        self.mesh.apply(DISABLED)
        self.settles("no token", 200, "/orders/refunds/1")
        seen = self.ask("/orders/refunds/1", x_user="mallory").json()
        expect("x-user", seen.get("x-user"), "mallory")
        self.unfiltered("disabled")
        self.settles("no token", 401, "/orders/refunds/1")
        return "never do it: the service behind gets the client's own `x-user`"

    def measured(self):
        wanted = "portcullis_requests_decision_deny_provider_corp_reason_token_missing{}"
        self.ask()
        soon("the count", lambda: wanted in self.proxy.stats())
        names = sorted(self.proxy.stats())
        # Istio's own tags find one of theirs in the names of caches.
        unknown = [name for name in names if not re.search(r'{}|_bucket|{cache="provider"}', name)]
        expect("names with labels", unknown, [])
        expect("names of which no rule makes labels", without_labels(names), [])
        return (
            f"labels stand in the names (`{wanted[:-2]}`), and the names of caches have a label of Istio's own "
            "(`portcullis_token_corp_result_hit{cache=\"provider\"}`); "
            "[envoy/prometheus/portcullis.untagged.rules.yaml](../envoy/prometheus/portcullis.untagged.rules.yaml) makes labels "
            "of all of them"
        )

    def native(self):
        if not (REPOSITORY / "dist" / "libportcullis.so").exists():
            raise Wrong("the module is not built (make native)")
        self.mesh.delete("TrafficExtension", "portcullis")
        folder = {"ENVOY_DYNAMIC_MODULES_SEARCH_PATH": str(REPOSITORY / "dist"), "PORTCULLIS_REFUSED_CONFIGURATION": "deny"}
        self.fresh("gateway-6", levels="dynamic_modules:info", **folder)
        text = (MANIFESTS / "dynamic-module.yaml").read_text()
        self.mesh.apply(text)
        self.settles("no token", 401)
        self.settles("a token", 200, token=self.mesh.issuer.token())
        expect("another scope", self.ask(token=self.mesh.issuer.token(), method="POST").status, 403)
        expect("x-user", self.ask(token=self.mesh.issuer.token(), x_user="mallory").json().get("x-user"), "alice")
        self.mesh.apply(text.replace(*self.WRONG))
        soon("the refusal", lambda: self.proxy.said("unknown field; did you mean"))
        self.settles("no token, under a refused configuration", 401)
        self.fresh("gateway-7", levels="dynamic_modules:info", **folder)
        self.settles("the same in a fresh proxy", 503)
        self.unfiltered("portcullis")
        return (
            "401 without a token, 200 with one, 403 without its scope. A refused configuration: the one before serves on; in a "
            "fresh proxy 503"
        )

    def labelled(self):
        tags = (REPOSITORY / "envoy" / "stats_tags.yaml").read_text()
        self.fresh("gateway-5", override=tags)
        self.settles("no token", 401)
        wanted = 'portcullis_requests{decision="deny",provider="corp",reason="token_missing"}'
        soon("the count", lambda: wanted in self.proxy.stats())
        left = [name for name in self.proxy.stats() if "_provider_" in name or "_rule_" in name or "cache=" in name]
        expect("labels in names", left, [])
        return f"`{wanted}`"


DISABLED = f"""
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata:
  name: disabled
  namespace: istio-ingress
spec:
  workloadSelector:
    labels: {{ istio: ingressgateway }}
  configPatches:
    - applyTo: HTTP_ROUTE
      match:
        context: GATEWAY
        routeConfiguration: {{ vhost: {{ route: {{ name: refunds }} }} }}
      patch:
        operation: MERGE
        value:
          typed_per_filter_config:
            {FILTER}:
              "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig
              disabled: true
"""


def without_labels(names):
    """Those that no rule for names without labels is about, and that have no label to be without."""
    text = (REPOSITORY / "envoy" / "prometheus" / "portcullis.untagged.rules.yaml").read_text()
    rules = [re.compile(rule) for rule in re.findall(r'{__name__=~"([^"]+)"[,}]', text)]
    bare = re.compile(
        r"portcullis_(verification_microseconds(_instance_.+)?_(bucket|sum|count)|route_changes|client\w*|configuration_refused)")
    every = {name.split("{")[0] for name in names}
    return sorted(name for name in every if not any(rule.fullmatch(name) for rule in [*rules, bare]))


class _Door:
    """The gateway, for a trickle."""

    name = "gateway"

    def __init__(self, mesh):
        self.mesh = mesh

    def verdict(self, token):
        answer = self.mesh.ask("GATEWAY", token=token)
        return answer.status, ""

