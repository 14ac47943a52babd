"""istiod and its agent from Istio's Go module, and what they are told."""

import json
import os
import re
from pathlib import Path

from kit import Program, Skip, envoy, eventually, free_port, go, module
from web import ask

# As programs/go.mod says: a commit of this release.
VERSION = "1.31"
MODULE = "istio.io/istio"
SUM = "h1:ui9TJjRMAV/hb5ehQaZDq7IUGxuQP6dra9lapT/VjHI="
# Where the agent keeps modules; it has no setting.
CACHE = Path("/var/lib/istio/data")
PROGRAMS = Path(__file__).resolve().parent / "programs"
MESH = """
enableAutoMtls: false
accessLogFile: /dev/stdout
pathNormalization: { normalization: DECODE_AND_MERGE_SLASHES }
enablePrometheusMerge: false
enableTracing: false
defaultProviders: {}
extensionProviders:
- name: before-all
  envoyExtAuthzHttp: { service: before-all.example, port: CUSTOM_PORT, includeRequestHeadersInCheck: [x-user] }
defaultConfig: { discoveryAddress: "127.0.0.1:GRPC", controlPlaneAuthPolicy: NONE }
"""


def installed():
    """The folder of `pilot-discovery`, which is istiod, and `pilot-agent`."""
    programs = [f"{MODULE}/pilot/cmd/{name}" for name in ("pilot-discovery", "pilot-agent")]
    return go(f"istio-{VERSION}", PROGRAMS, programs, flags=["-ldflags", "-s -w"])


def bootstrap(folder):
    """Istio's own bootstrap, which listens on loopback alone here."""
    commit = re.search(rf"^\s{MODULE} (v\S+)", (PROGRAMS / "go.mod").read_text(), re.MULTILINE)[1]
    text = (module(MODULE, commit, SUM) / "tools/packaging/common/envoy_bootstrap.json").read_text()
    text = re.sub(r'"profile_path": "[^"]*"', '"profile_path": "/dev/null"', text.replace("{{ .wildcard }}", "127.0.0.1"))
    file = folder / "bootstrap.json"
    file.write_text(text)
    return file


def writable_cache():
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Skip(f"the agent keeps modules in {CACHE}: {error.strerror}") from None
    if not os.access(CACHE, os.W_OK):
        raise Skip(f"the agent keeps modules in {CACHE}, which is not ours to write")


def is_answered(url, status=200):
    try:
        return ask("GET", url).status == status
    except OSError:
        return False


class Istiod:
    """istiod beside an API server. Envoy's public build has none of Istio's own filters, which are switched off."""

    def __init__(self, programs, cluster, folder, custom_port):
        self.grpc, http = free_port(), free_port()
        config = folder / "kubeconfig.json"
        config.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "only",
            "clusters": [{"name": "only", "cluster": {
                "server": cluster.base, "certificate-authority": str(cluster.authority)}}],
            "users": [{"name": "admin", "user": {"token": cluster.admin}}],
            "contexts": [{"name": "only", "context": {"cluster": "only", "user": "admin"}}],
        }))
        mesh = folder / "mesh.yaml"
        mesh.write_text(MESH.replace("GRPC", str(self.grpc)).replace("CUSTOM_PORT", str(custom_port)))
        command = [
            programs / "pilot-discovery", "discovery", "--kubeconfig", config, "--clusterID", "Kubernetes",
            "--meshConfig", mesh, "--networksConfig", "/dev/null", "--httpAddr", f"127.0.0.1:{http}", "--httpsAddr=",
            "--grpcAddr", f"127.0.0.1:{self.grpc}", "--secureGRPCAddr=", "--monitoringAddr", f"127.0.0.1:{free_port()}",
            "--ctrlz_address", "127.0.0.1", "--ctrlz_port", str(free_port()),
        ]
        environment = {
            **os.environ, "PILOT_ENABLE_ALPN_FILTER": "false", "PILOT_ENABLE_METADATA_EXCHANGE": "false",
            "ENABLE_CA_SERVER": "false", "PILOT_CERT_PROVIDER": "none", "XDS_AUTH": "false", "POD_NAME": "istiod-0",
            "POD_NAMESPACE": "istio-system", "ISTIOD_CUSTOM_HOST": "localhost",
        }
        self.log = folder / "istiod.log"
        self.program = Program(command, self.log, is_heard=False, cwd=folder, env=environment)

        def is_up():
            if self.program.child.poll() is not None:
                raise RuntimeError(self.log.read_text(errors="replace")[-3000:])
            return is_answered(f"http://127.0.0.1:{http}/ready")

        eventually("istiod", is_up)

    def stop(self):
        self.program.stop()


class Proxy:
    """An agent of Istio with the Envoy that it starts, as in a pod of these labels. `levels` is for its log; `override` is what
    Envoy's bootstrap has besides."""

    def __init__(self, programs, istiod, folder, name, space, labels, is_gateway, levels="", override=None, **environment):
        self.folder, self.admin, self.ready, self.metrics = folder / name, free_port(), free_port(), free_port()
        self.space, self.status = space, free_port()
        tokens = self.folder / "var/run/secrets/tokens"
        tokens.mkdir(parents=True)
        # Nobody asks for it here, and the agent wants it to be there.
        (tokens / "istio-token").write_text("none")
        if override:
            (self.folder / "custom_bootstrap.json").write_text(override)
            environment["ISTIO_BOOTSTRAP_OVERRIDE"] = str(self.folder / "custom_bootstrap.json")
        settings = {
            "discoveryAddress": f"127.0.0.1:{istiod.grpc}", "controlPlaneAuthPolicy": "NONE", "binaryPath": str(envoy()),
            "proxyAdminPort": self.admin, "statusPort": self.status, "concurrency": 2,
        }
        environment = {
            **os.environ, "POD_NAME": name, "POD_NAMESPACE": space, "INSTANCE_IP": "127.0.0.1", "SERVICE_ACCOUNT": name,
            "ISTIO_META_CLUSTER_ID": "Kubernetes", "ISTIO_META_NAMESPACE": space, "ISTIO_META_INTERCEPTION_MODE": "NONE",
            "ISTIO_METAJSON_LABELS": json.dumps(labels), "ENVOY_STATUS_PORT": str(self.ready),
            "ENVOY_PROMETHEUS_PORT": str(self.metrics), "FILE_MOUNTED_CERTS": "true", "GRPC_XDS_BOOTSTRAP": "",
            "ISTIO_BOOTSTRAP": str(bootstrap(self.folder)), "PROXY_CONFIG": json.dumps(settings), **environment,
        }
        command = [
            programs / "pilot-agent", "proxy", "router" if is_gateway else "sidecar", "--domain", f"{space}.svc.cluster.local",
            "--meshConfig", "/dev/null", "--serviceCluster", name, "--proxyLogLevel", "warning",
        ]
        if levels:
            command += ["--proxyComponentLogLevel", levels]
        self.log = folder / f"{name}.log"
        self.program = Program(command, self.log, is_heard=False, cwd=self.folder, env=environment)

    def is_ready(self):
        """What Kubernetes asks."""
        if self.program.child.poll() is not None:
            raise RuntimeError(self.log.read_text(errors="replace")[-3000:])
        return is_answered(f"http://127.0.0.1:{self.ready}/healthz/ready")

    def said(self, words):
        """Whether its log has these words."""
        return words in self.log.read_text(errors="replace")

    def dump(self, kind):
        """That part of what Envoy was sent."""
        found = ask("GET", f"http://127.0.0.1:{self.admin}/config_dump?include_eds").json()["configs"]
        return next((part for part in found if part["@type"].endswith(kind)), {})

    def stats(self):
        """The names of the gate's metrics with their labels, as the agent's port for Prometheus has them."""
        text = ask("GET", f"http://127.0.0.1:{self.metrics}/stats/prometheus").body.decode()
        own = re.compile(r"portcullis_|envoy_wasm_.*vm_reload_(success|failure)\b")
        lines = [line for line in text.splitlines() if own.match(line)]
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}

    def stop(self):
        self.program.stop()
