"""Envoy Gateway itself, and the proxy that it asks for."""

import base64
import json
import os
import re

from kit import REPOSITORY, SOON, Wrong, eventually
from kubernetes.server import Head
from web import ask

SPACE = "envoy-gateway-system"
GATEWAY = "gateway.networking.k8s.io/v1"
POLICY = "gateway.envoyproxy.io/v1alpha1"
MANIFESTS = REPOSITORY / "envoy" / "envoy-gateway"
CONFIG = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyGateway
gateway: { controllerName: gateway.envoyproxy.io/gatewayclass-controller }
provider:
  type: Kubernetes
  kubernetes: { leaderElection: { disable: true }, proxyTopologyInjector: { disabled: true } }
# Its own port is the proxy's here, which is in the same network.
admin: { address: { host: 127.0.0.1, port: 19500 } }
extensionApis: { enableBackend: true, enableEnvoyPatchPolicy: true }
telemetry: { metrics: { prometheus: { disable: true } } }
"""


class EnvoyGateway:
    """Started as its chart does it: certificates first, then the server."""

    def __init__(self, cluster, pods, folder, program):
        self.cluster, self.pods, self.program, self.running = cluster, pods, program, None
        self.folder = folder / "envoy-gateway"
        self.folder.mkdir()
        (self.folder / "config.yaml").write_text(CONFIG)
        authority = base64.b64encode(cluster.authority.read_bytes()).decode()
        (self.folder / "kubeconfig").write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": cluster.base, "certificate-authority-data": authority}}],
            "users": [{"name": "it", "user": {"token": cluster.admin}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }))

    def begin(self):
        cluster = self.cluster
        cluster.make("v1", "Namespace", None, SPACE)
        self._run("certgen", ["certgen", "--disable-topology-injector"], {}).child.wait(SOON)
        files(cluster, "Secret", "envoy-gateway", self.folder / "certs")
        mounts = {"/certs": self.folder / "certs"}
        self.running = self._run("envoy-gateway", ["server", "--config-path", "/config.yaml"], mounts)

        def is_up():
            if self.running.child.poll() is not None:
                raise RuntimeError(self.log()[-3000:])
            try:
                return ask("GET", "http://127.0.0.1:8081/readyz").status == 200
            except OSError:
                return False

        eventually("Envoy Gateway", is_up)

    def _run(self, name, arguments, mounts):
        mounts = {"/kubeconfig": self.folder / "kubeconfig", "/config.yaml": self.folder / "config.yaml", **mounts}
        # A connection for each of its watches: on one for all of them it was once deaf for minutes, on a busy machine.
        environment = {"KUBECONFIG": "/kubeconfig", "ENVOY_GATEWAY_NAMESPACE": SPACE, "DISABLE_HTTP2": "true"}
        return self.pods.start(name, [self.program, *arguments], mounts, environment)

    def log(self):
        return self.running.path.read_text(errors="replace")

    # What a person does and looks at.

    def apply(self, text):
        """`kubectl apply --server-side`; what is stored."""
        return self.cluster.applied(text)

    def delete(self, version, kind, space, name):
        self.cluster.must("DELETE", self.cluster.place(Head(version, kind, space, name)))

    def get(self, version, kind, space, name):
        return self.cluster.must("GET", self.cluster.place(Head(version, kind, space, name)))

    def conditions(self, version, kind, space, name):
        """What the status says, of every parent: type, value and message; that of the last generation only."""
        stored = self.get(version, kind, space, name)
        told, status = {}, stored.get("status", {})
        for part in [status, *status.get("ancestors", []), *status.get("parents", [])]:
            for condition in part.get("conditions", []):
                if condition.get("observedGeneration") == stored["metadata"]["generation"]:
                    told[condition["type"]] = (condition["status"], condition["reason"], condition["message"])
        return told

    def has(self, wanted, version, kind, space, name):
        """Waits for a condition, as `Accepted=True`; what it says besides."""
        kind_of, value = wanted.split("=")

        def is_so():
            told = self.conditions(version, kind, space, name).get(kind_of)
            return told if told and told[0] == value else None

        try:
            return eventually(f"{kind} {name}: {wanted}", is_so, 30)[2]
        except RuntimeError as error:
            raise Wrong(f"{error}; it says {self.conditions(version, kind, space, name)}") from None


def files(cluster, kind, name, folder):
    """Writes what a Secret or ConfigMap has into a folder."""
    folder.mkdir(exist_ok=True)
    stored = cluster.must("GET", cluster.place(Head("v1", kind, SPACE, name)))
    for key, value in stored["data"].items():
        (folder / key).write_bytes(base64.b64decode(value) if kind == "Secret" else value.encode())
    return folder


class Proxy:
    """The proxy: its Deployment says what is run, and what a kubelet does with it is done here. `images` has the files of
    images that are mounted."""

    def __init__(self, cluster, pods, folder, envoy, images):
        self.cluster, self.pods, self.envoy, self.images = cluster, pods, envoy, images
        self.folder, self.running, self.template, self.count = folder / "proxy", None, None, 0
        self.folder.mkdir()

    def stop(self):
        if self.running:
            self.running.stop()
            self.running = None

    def deployment(self):
        query = "?labelSelector=gateway.envoyproxy.io/owning-gateway-name=gateway"
        found = self.cluster.must("GET", f"/apis/apps/v1/namespaces/{SPACE}/deployments{query}")["items"]
        return found[0] if found else None

    def renew(self):
        """Runs what the Deployment says by now, and that is another thing than before."""
        def is_another():
            found = self.deployment()
            return found if found and found["spec"]["template"]["spec"] != self.template else None

        self.start(eventually("another Deployment", is_another))

    def restart(self):
        """A fresh proxy of the same Deployment."""
        self.start(self.deployment())

    def start(self, deployment):
        self.stop()
        self.count += 1
        self.template = deployment["spec"]["template"]["spec"]
        named = deployment["metadata"]["name"]
        container = next(part for part in self.template["containers"] if part["name"] == "envoy")
        environment = {}
        for each in container.get("env", []):
            field = each.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            environment[each["name"]] = {"metadata.name": f"{named}-{self.count}", "metadata.namespace": SPACE}.get(
                field, each.get("value", ""))
        arguments = [re.sub(r"\$\((\w+)\)", lambda found: environment.get(found[1], found[0]), part)
                     for part in container["args"]]
        volumes = {volume["name"]: volume for volume in self.template.get("volumes", [])}
        mounts = {}
        for mount in container.get("volumeMounts", []):
            mounts[mount["mountPath"]] = self.volume(volumes[mount["name"]])
        self.running = self.pods.start("proxy", [self.envoy, *arguments], mounts, environment)
        self.report(deployment)

    def volume(self, volume):
        folder = self.folder / f"{volume['name']}-{self.count}"
        folder.mkdir()
        if "secret" in volume:
            files(self.cluster, "Secret", volume["secret"]["secretName"], folder)
        elif "configMap" in volume:
            files(self.cluster, "ConfigMap", volume["configMap"]["name"], folder)
        elif "image" in volume:
            self.images(volume["image"]["reference"], folder)
        return folder

    def report(self, deployment):
        """What the controllers of a cluster say once a pod runs: so many are there, and the Service has an address."""
        headers = {"Content-Type": "application/merge-patch+json"}
        name = deployment["metadata"]["name"]
        place = self.cluster.place(Head("apps/v1", "Deployment", SPACE, name))
        counts = {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1, "updatedReplicas": 1}
        document = {"status": {**counts, "observedGeneration": deployment["metadata"]["generation"]}}
        self.cluster.must("PATCH", f"{place}/status", document=document, headers=headers)
        head = Head("v1", "Service", SPACE, name)
        document = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
        self.cluster.must("PATCH", f"{self.cluster.place(head)}/status", document=document, headers=headers)

    def log(self):
        return self.running.path.read_text(errors="replace")

    def told(self, words, since=0):
        """Waits for words in the log; the line."""
        def found():
            if self.running.child.poll() is not None:
                raise RuntimeError(self.log()[-3000:])
            return next((line for line in self.log()[since:].splitlines() if words in line), None)

        return eventually(f"the proxy's log to say {words!r}", found, 40)

    def admin(self, path):
        return ask("GET", f"http://127.0.0.1:19000{path}")

    def metrics(self):
        """What Prometheus gets of the filter."""
        text = ask("GET", "http://127.0.0.1:19001/stats/prometheus").body.decode()
        return [line for line in text.splitlines() if "portcullis" in line and not line.startswith("#")]
