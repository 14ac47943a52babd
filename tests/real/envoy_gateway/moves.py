"""From a SecurityPolicy to Portcullis, by what `portcullis migrate` writes."""

import textwrap

from kit import eventually, expect, run
from kubernetes.server import Head

from .doors import Doors
from .gateway import POLICY
from .shop import Door, status
from .steps import changed, parts, read

SECURITY = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata:
  name: orders
  namespace: shop
spec:
  targetRefs:
    - { group: gateway.networking.k8s.io, kind: HTTPRoute, name: orders }
"""
RULES = """  jwt:
    providers:
      - name: corp
        issuer: https://idp.example/
        audiences: [orders]
        remoteJWKS: { uri: https://idp.example/.well-known/jwks.json }
        claimToHeaders: [{ header: x-user, claim: sub }]
  authorization:
    defaultAction: Deny
    rules:
      - action: Allow
        principal: { jwt: { provider: corp, scopes: ["orders:read"] } }
"""
OPEN = """  authorization:
    defaultAction: Allow
"""
EXTENSION = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata:
  name: moved
  namespace: shop
spec:
  targetRefs:
    - { group: gateway.networking.k8s.io, kind: HTTPRoute, name: orders }
  wasm:
    - name: portcullis
      code:
        type: Image
        image:
          url: registry.example/portcullis:0.1.0
      failOpen: false
      config:
"""


class Moves(Doors):
    """On a fresh proxy."""

    def rows(self):
        yield "a SecurityPolicy with `jwt`, and what `portcullis migrate` makes of it", self.moved

    def seen(self):
        """What tokens of several kinds get."""
        tokens = {
            "with the scope": self.reader, "without the scope": self.token(scope="openid"), "none": None,
            "for another audience": self.token(aud="billing", scope="orders:read"),
            "of another issuer": self.token(iss="https://other.example/", scope="orders:read"),
            "run out": self.token(exp=1_700_000_000, scope="orders:read"),
        }
        return {name: status("/orders/1", token) for name, token in tokens.items()}

    def moved(self):
        self.bare()
        # The name of the route is what the tool says it should be.
        self.gateway.apply(changed(read("identity-provider.yaml"), "name: idp-keys", "name: corp-keys"))
        file = self.here.folder / "security.yaml"
        file.write_text(SECURITY + RULES)
        self.gateway.apply(SECURITY + RULES)
        self.gateway.apply(parts(read("shop.yaml"), "HTTPRoute", "orders")[0])
        self.becomes("jwt", "/orders/1", 200, self.reader)
        before = self.seen()
        expect("a SecurityPolicy alone", before, {
            "with the scope": 200, "without the scope": 403, "none": 401, "for another audience": 403, "of another issuer": 401,
            "run out": 401,
        })
        configuration = run(self.here.given["tool"], "migrate", file)
        with Door("/orders/1") as door:
            self.gateway.apply(EXTENSION + textwrap.indent(configuration, " " * 8))
            self.gated("moved", self.token(scope="openid"))
            both = self.seen()
            self.gateway.apply(SECURITY + OPEN)
            eventually("the gate alone", lambda: self.seen()["for another audience"] == 401, 60)
        tried = door.kept_shut("the move")
        alone = self.seen()
        expect("both", both, before)
        expect("Portcullis alone", alone, {**before, "for another audience": 401})
        self.here.cluster.ask("DELETE", self.here.cluster.place(Head(POLICY, "EnvoyExtensionPolicy", "shop", "moved")))
        return (
            "its configuration beside `jwt`: six kinds of tokens get what they got; then without `jwt` and its rules, in one step: "
            f"the same, but 401 for 403 where the audience is another, as the tool says. {tried} requests without a token, none of "
            "which came through"
        )
