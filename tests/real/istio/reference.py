"""The gate at a Gateway of the Gateway API, by envoy/istio/gateway.yaml as it stands: with its `targetRefs`."""

from kit import expect

# Istio makes the Deployment and the Service of such a Gateway itself where there are nodes. Its listener would be for every
# address of this machine.
AROUND = """
apiVersion: v1
kind: Service
metadata:
  name: gateway-istio
  namespace: istio-ingress
spec:
  selector: { gateway.networking.k8s.io/gateway-name: gateway }
  ports: [{ name: http, port: API_PORT }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: gateway
  namespace: istio-ingress
spec:
  gatewayClassName: istio
  listeners: [{ name: http, port: API_PORT, protocol: HTTP }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: orders
  namespace: istio-ingress
spec:
  parentRefs: [{ name: gateway }]
  rules: [{ backendRefs: [{ group: networking.istio.io, kind: Hostname, name: orders.example, port: SERVICE_PORT }] }]
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata:
  name: on-loopback
  namespace: istio-ingress
spec:
  configPatches:
    - applyTo: LISTENER
      match: { context: GATEWAY, listener: { portNumber: API_PORT } }
      patch:
        operation: MERGE
        value: { address: { socket_address: { address: 127.0.0.1 } } }
"""
LABELS = {"gateway.networking.k8s.io/gateway-name": "gateway"}


class Reference:
    def __init__(self, mesh):
        self.mesh = mesh

    def rows(self):
        yield "gateway.yaml with its `targetRefs`, at a Gateway of the Gateway API", self.applied
        yield "gateway-wasmplugin.yaml so", self.older

    def holds(self):
        mesh = self.mesh
        good = mesh.issuer.token()
        mesh.becomes("no token", "API", 401)
        mesh.becomes("a token", "API", 200, token=good)
        expect("another scope", mesh.ask("API", token=good, method="POST").status, 403)
        expect("x-user", mesh.ask("API", token=good, x_user="mallory").json().get("x-user"), "alice")

    def applied(self):
        mesh = self.mesh
        mesh.apply(mesh.filled(AROUND))
        mesh.proxy("gateway-api", "istio-ingress", LABELS, levels="wasm:info")
        mesh.becomes("before", "API", 200)
        mesh.apply(mesh.placed("gateway.yaml", is_selected=False))
        self.holds()
        return "401 without a token, 200 with one, 403 without its scope; the service gets `x-user` of the token"

    def older(self):
        with self.mesh.closed("API"):
            self.mesh.apply(self.mesh.placed("gateway-wasmplugin.yaml", is_selected=False))
            self.mesh.delete("TrafficExtension", "portcullis")
            self.holds()
        return "the same"
