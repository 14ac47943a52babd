"""A mesh of two proxies: a gateway and a sidecar, the project's own manifests in them, and everything around."""

import contextlib
import re
import threading

from image.registry import Registry
from image.registry import installed as image_tools
from kit import REPOSITORY, Wrong, eventually, expect, free_port, run
from kubernetes.admission import definitions
from kubernetes.server import Cluster, Head
from kubernetes.server import installed as kubernetes
from web import ask

from .issuer import Echo, Issuer
from .server import Istiod, Proxy, installed, writable_cache

MANIFESTS = REPOSITORY / "envoy" / "istio"
SPACES = ("istio-system", "istio-ingress", "shop")
# So many verdicts in a row are those of both workers.
EVERY_WORKER = 12
# What a gateway of Istio's own and a sidecar need besides the project's manifests: a listener, a route, a service.
AROUND = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: gateway
  namespace: istio-ingress
spec:
  selector: { istio: ingressgateway }
  servers: [{ port: { number: GATEWAY_PORT, name: http, protocol: HTTP }, bind: 127.0.0.1, hosts: ["*"] }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: orders
  namespace: istio-ingress
spec:
  hosts: ["*"]
  gateways: [istio-ingress/gateway]
  http:
    - name: refunds
      match: [{ uri: { prefix: /orders/refunds } }]
      route: [{ destination: { host: orders.example, port: { number: SERVICE_PORT } } }]
    - name: orders
      corsPolicy: { allowOrigins: [{ exact: "https://app.example" }], allowMethods: [GET, POST] }
      route: [{ destination: { host: orders.example, port: { number: SERVICE_PORT } } }]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: orders
  namespace: istio-ingress
spec:
  hosts: [orders.example]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{ number: SERVICE_PORT, name: http, protocol: HTTP }]
  endpoints: [{ address: 127.0.0.1 }]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: before-all
  namespace: istio-ingress
spec:
  hosts: [before-all.example]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{ number: CUSTOM_PORT, name: http, protocol: HTTP }]
  endpoints: [{ address: 127.0.0.1 }]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata:
  name: orders
  namespace: shop
spec:
  workloadSelector: { labels: { app: orders } }
  ingress:
    - port: { number: SIDECAR_PORT, name: http, protocol: HTTP }
      bind: 127.0.0.1
      defaultEndpoint: 127.0.0.1:SERVICE_PORT
  egress:
    # A listener of its own would want port 443 of this machine.
    - port: { number: 0, name: https, protocol: HTTPS }
      bind: unix://FOLDER/egress.sock
      captureMode: NONE
      hosts: ["istio-system/idp.example"]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: nobody-signs-certificates-here
  namespace: shop
spec:
  mtls: { mode: DISABLE }
"""


def soon(what, probe):
    """What `probe` answers, which has to come soon."""
    try:
        return eventually(what, probe)
    except RuntimeError as error:
        raise Wrong(str(error)) from None


class Mesh:
    """Everything that runs."""

    def __init__(self, folder):
        writable_cache()
        # Built before anything starts.
        self.programs, self.tools = installed(), image_tools()
        self.cluster = Cluster(kubernetes(), folder)
        self.folder, self.running = folder, [self.cluster]
        self.ports = {f"{name}_PORT": free_port() for name in ("GATEWAY", "SIDECAR", "API")}

    def stop(self):
        for part in reversed(self.running):
            part.stop()

    def begun(self, part):
        self.running.append(part)
        return part

    def start(self):
        self.cluster.start(["rsa.1"])
        for document in definitions():
            self.cluster.applied(document)
        for name in SPACES:
            self.cluster.make("v1", "Namespace", None, name)
        self.issuer = self.begun(Issuer(self.folder))
        self.service, self.custom = self.begun(Echo()), self.begun(Echo())
        self.registry = self.begun(Registry(self.tools, self.folder))
        self.push("0.1.0")
        self.ports.update(SERVICE_PORT=self.service.port, CUSTOM_PORT=self.custom.port)
        self.istiod = self.begun(Istiod(self.programs, self.cluster, self.folder, self.custom.port))
        self.apply(self.filled(AROUND))
        self.apply(self.placed("identity-provider.yaml"))
        self.apply(self.placed("connection-manager.yaml"))

    def push(self, tag):
        """Writes the image and pushes it as the script says; what the registry calls it."""
        run("python3", "-B", REPOSITORY / "scripts" / "image")
        at = f"{self.registry.at}/portcullis:{tag}"
        run(self.tools / "crane", "push", REPOSITORY / "dist" / "portcullis-image", at)
        return self.registry.digest("portcullis", tag).removeprefix("sha256:")

    def proxy(self, name, space, labels, is_gateway=True, **more):
        """Another proxy, ready."""
        proxy = self.begun(Proxy(self.programs, self.istiod, self.folder, name, space, labels, is_gateway, **more))
        eventually(f"{name} to be ready", proxy.is_ready)
        return proxy

    def ended(self, proxy):
        proxy.stop()
        self.running.remove(proxy)

    # Manifests.

    def filled(self, text):
        for word, value in {**self.ports, "FOLDER": self.folder}.items():
            text = text.replace(word, str(value))
        return text

    def placed(self, name, is_selected=True):
        """One of the project's manifests; addresses and the authority are ours, and the selector where one is wanted."""
        text = (MANIFESTS / name).read_text()
        text = text.replace("oci://registry.example/", f"oci://{self.registry.at}/")
        if is_selected:
            # What the file itself says for Istio's own gateway.
            text = re.sub(r"  targetRefs:\n.*\n", "  selector: { matchLabels: { istio: ingressgateway } }\n", text)
        if name == "identity-provider.yaml":
            text = text.replace("resolution: DNS", "resolution: STATIC\n  endpoints: [{ address: 127.0.0.1 }]")
            text = text.replace("protocol: HTTPS }", f"protocol: HTTPS, targetPort: {self.issuer.port} }}")
            text = text.replace("caCertificates: system", f"caCertificates: {self.issuer.authority}")
        return text

    def apply(self, text):
        return self.cluster.applied(text)

    def delete(self, kind, name, space="istio-ingress", version="extensions.istio.io/v1alpha1"):
        self.cluster.must("DELETE", self.cluster.place(Head(version, kind, space, name)))

    # Requests.

    def ask(self, where, path="/orders/1", token=None, method="GET", **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(method, f"http://127.0.0.1:{self.ports[f'{where}_PORT']}{path}", token=token, headers=headers)

    def status(self, where, *arguments, **more):
        """The status, or 0 where nobody answers."""
        try:
            return self.ask(where, *arguments, **more).status
        except OSError:
            return 0

    def becomes(self, what, where, expected, *arguments, **more):
        """Waits until every worker answers so."""
        def is_so():
            return all(self.status(where, *arguments, **more) == expected for _ in range(EVERY_WORKER))

        try:
            soon(what, is_so)
        except Wrong:
            raise Wrong(f"{what}: {self.status(where, *arguments, **more)}, not {expected}") from None

    @contextlib.contextmanager
    def closed(self, where):
        """Asks all the while without a token: nobody may pass."""
        is_over, seen = threading.Event(), []

        def ask_on():
            while not is_over.wait(0.01):
                seen.append(self.status(where))

        thread = threading.Thread(target=ask_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
        expect("answers without a token", set(seen), {401})

    def always(self, what, where, expected, *arguments, **more):
        for _ in range(EVERY_WORKER):
            expect(what, self.status(where, *arguments, **more), expected)
