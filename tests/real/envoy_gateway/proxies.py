"""Settings of the proxies, and the dynamic module in them."""

import json
import re

from kit import Wrong, eventually, expect

from .gateway import GATEWAY, POLICY
from .shop import Door, send, status
from .steps import MISTAKE, NOBODYS, PORTCULLIS, SAID, Steps, changed, page, parts, read

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


class Proxies(Steps):
    """Under the policy of gateway.yaml and a route; each leaves them as they were."""

    def rows(self):
        yield "metrics, with the tags of start.yaml and without", self.measured
        yield "an EnvoyProxy without `wasm: info`", self.silent
        yield "a listener with a `hostname`", self.named_listener
        yield "the provider's cluster in the EnvoyProxy's `bootstrap`", self.own_cluster
        yield "`mergeBackends` in the EnvoyProxy", self.merged
        yield "an `extAuth` beside the gate, and `filterOrder`", self.ordered

    def module_rows(self):
        yield f"{page('module.yaml')}, beside the plugin, and then alone", self.module
        yield "the module's file is not in the proxy", self.no_module

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
        patch = self.block("      - op: add\n        path: /static_resources/clusters/-\n")
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

    @staticmethod
    def block(beginning):
        """The block of the page that begins so."""
        return re.search(rf"```text\n({re.escape(beginning)}.*?)```", read("README.md"), re.DOTALL)[1]

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
        def seen(token):
            checked.clear()
            send("/orders/1", token, x_user="mallory")
            return [headers.get("x-user") for headers in checked]

        try:
            eventually("the service to be asked", lambda: seen(self.reader), 60)
        except RuntimeError as error:
            raise Wrong(f"{error}: {self.gateway.conditions(POLICY, 'SecurityPolicy', 'shop', 'asked')}") from None
        expect("asked before the gate", (seen(None), seen(self.reader)), (["mallory"], ["mallory"]))
        self.gateway.apply(self.proxy_of(more=self.block("  filterOrder:\n")))
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
        text, plugin = read("module.yaml"), read("gateway.yaml")
        self.gateway.apply(parts(text, "EnvoyProxy")[0])
        self.proxy.renew()
        self.mended()
        alone = parts(text, "EnvoyExtensionPolicy")[0]
        with Door("/orders/1") as door:
            self.gateway.apply(self.both())
            eventually("the module", lambda: any("dynamicmodulescustom" in line for line in self.proxy.metrics()), 30)
            self.gateway.apply(alone)
            eventually("the plugin to go", lambda: self.filters() == ["dynamic_modules"], 30)
            since = len(self.proxy.log())
            self.gateway.apply(changed(alone, *MISTAKE))
            self.proxy.told("the last good configuration", since)
            expect("a token", status("/orders/1", self.reader), 200)
            self.proxy.restart()
            self.becomes("a fresh proxy", "/orders/1", 503, self.reader)
            self.gateway.apply(alone)
            self.becomes("the module", "/orders/1", 200, self.reader)
        tried = door.kept_shut("the module")
        self.here.policies.requests(escaped=400)
        self.gateway.apply(plugin)
        self.original()
        return (
            f"the plugin, the plugin and the module, the module alone: {tried} requests without a token meanwhile, none of which "
            "came through; the requests above get what they got. With a mistake in the configuration: the last good one, 503 of a "
            "fresh proxy"
        )

    def filters(self):
        """The gates in the listener that serves: `wasm`, `dynamic_modules`."""
        dump = self.proxy.admin("/config_dump?resource=dynamic_listeners").json()
        active = json.dumps([part.get("active_state") for part in dump["configs"] if part["name"] == "shop/gateway/http"])
        return sorted(set(re.findall(r'"envoy\.filters\.http\.(wasm|dynamic_modules)/', active)))

    def both(self):
        """The policy with the plugin, which lets the token go on, and the module behind it."""
        place = "            audiences: [orders]\n"
        plugin = changed(read("gateway.yaml"), place, f"{place}            forward: true\n")
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
        self.applied("closed.yaml")
        self.becomes("closed.yaml", "/orders/1", 403, self.reader)
        since = len(self.proxy.log())
        with Door("/orders/1") as door:
            self.gateway.apply(parts(read("module.yaml"), "EnvoyExtensionPolicy")[0])
            self.proxy.told("other.so", since)
            self.becomes("closed.yaml alone", "/orders/1", 403)
        door.kept_shut("a file that is not there, behind closed.yaml")
        self.gateway.delete(POLICY, "SecurityPolicy", "shop", "closed")
        self.original()
        return (
            "beside the plugin: nothing is open, and Envoy's log names the file. In place of the plugin: `Accepted`, Envoy keeps "
            "the listener of before, and **every route of the policy is open** until it is mended. Behind closed.yaml: 403"
        )
