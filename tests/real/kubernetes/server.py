"""etcd and Kubernetes' API server from Go modules, and what its administrator asks it."""

import json
import re
import secrets
import shutil
import socket
import socketserver
import ssl
import threading
import urllib.parse
from pathlib import Path
from typing import NamedTuple

from kit import Program, Skip, eventually, free_port, go, run
from web import ask

# As programs/go.mod says.
VERSION = "1.36.3"
ISSUER = "https://kubernetes.default.svc.cluster.local"
# The name under which pods reach it.
NAME = "kubernetes.default.svc"


def installed():
    """The folder of `etcd` and `kube-apiserver`."""
    if not shutil.which("openssl"):
        raise Skip("openssl is not installed")
    minor = VERSION.rsplit(".", 1)[0].removeprefix("1.")
    stamp = {"gitVersion": f"v{VERSION}", "gitMajor": "1", "gitMinor": minor}
    flags = "-s -w " + " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamp.items())
    programs = Path(__file__).resolve().parent / "programs"
    return go(f"kubernetes-{VERSION}", programs, ["./etcd", "./kube-apiserver"], flags=["-ldflags", flags])


class Head(NamedTuple):
    """What a manifest is about."""

    version: str
    kind: str
    space: str | None
    name: str

    @classmethod
    def of(cls, manifest):
        """That of a manifest in YAML, or of one as JSON has it."""
        if isinstance(manifest, dict):
            named = manifest["metadata"]
            return cls(manifest["apiVersion"], manifest["kind"], named.get("namespace"), named["name"])

        def field(name):
            found = re.search(rf"^{name}: *(\S+)", manifest, re.MULTILINE)
            return found and found[1]

        return cls(field("apiVersion"), field("kind"), field("  namespace"), field("  name"))


class _Relay(socketserver.StreamRequestHandler):
    """One CONNECT: the address of a service becomes that of who answers for it."""

    def handle(self):
        asked = self.rfile.readline().decode()
        while self.rfile.readline().strip():
            pass
        port = self.server.services.get(asked.split()[1])
        if port is None:
            self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return
        try:
            other = socket.create_connection(("127.0.0.1", port), 5)
        except OSError:
            self.wfile.write(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
            return
        self.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        back = threading.Thread(target=self._copy, args=(other, self.connection), daemon=True)
        back.start()
        self._copy(self.connection, other)
        back.join()
        other.close()

    @staticmethod
    def _copy(one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class Services:
    """What leads from a service's address to who answers for it. In a cluster nodes do that."""

    def __init__(self, path):
        self.server = socketserver.ThreadingUnixStreamServer(str(path), _Relay)
        self.server.daemon_threads = True
        self.leads = self.server.services = {}
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Cluster:
    """An API server that asks everybody who they are, and no nodes."""

    def __init__(self, programs, folder):
        self.programs, self.folder, self.port = programs, folder, free_port()
        self.base, self.admin = f"https://127.0.0.1:{self.port}", secrets.token_hex(32)
        self.etcd, self.program, self.kinds, self.trust = None, None, {}, None
        self.services = Services(folder / "egress.sock")
        self.authority = folder / "serving" / "apiserver.crt"
        (folder / "admin.csv").write_text(f'{self.admin},admin,admin,"system:masters"\n')
        (folder / "egress.yaml").write_text(
            "apiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\negressSelections:\n- name: cluster\n"
            "  connection:\n    proxyProtocol: HTTPConnect\n"
            f"    transport: {{ uds: {{ udsName: {folder / 'egress.sock'} }} }}\n"
        )

    def start(self, keys):
        """Starts it, again too. It signs with the first of these keys, and knows all of them."""
        if self.etcd is None:
            self._etcd()
        command = [
            self.programs / "kube-apiserver", f"--etcd-servers={self.store}", "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1", f"--secure-port={self.port}", "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16", f"--cert-dir={self.folder / 'serving'}", "--authorization-mode=RBAC",
            "--anonymous-auth=false", f"--token-auth-file={self.folder / 'admin.csv'}",
            f"--egress-selector-config-file={self.folder / 'egress.yaml'}", f"--service-account-issuer={ISSUER}",
            f"--service-account-signing-key-file={self.key(keys[0])}",
            *(f"--service-account-key-file={self.key(key)}.pub" for key in keys),
        ]
        self.program = Program(command, self.folder / "kube-apiserver.log", is_heard=False)

        def is_up():
            if self.program.child.poll() is not None:
                raise RuntimeError((self.folder / "kube-apiserver.log").read_text(errors="replace")[-3000:])
            try:
                if self.trust is None and self.authority.exists():
                    self.trust = ssl.create_default_context(cafile=self.authority)
                return self.trust and self.ask("GET", "/readyz").status == 200
            except (OSError, ssl.SSLError):
                return False

        eventually("the API server", is_up)

    def _etcd(self):
        port, peers = free_port(), free_port()
        self.store = f"http://127.0.0.1:{port}"
        command = [
            self.programs / "etcd", f"--data-dir={self.folder / 'etcd'}", f"--listen-client-urls={self.store}",
            f"--advertise-client-urls={self.store}", f"--listen-peer-urls=http://127.0.0.1:{peers}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}",
            f"--initial-cluster=default=http://127.0.0.1:{peers}", "--log-level=error", "--unsafe-no-fsync",
        ]
        self.etcd = Program(command, self.folder / "etcd.log", is_heard=False)

        def is_up():
            try:
                return ask("GET", f"{self.store}/health").status == 200
            except OSError:
                return False

        eventually("etcd", is_up)

    def key(self, name):
        """A key that signs tokens of service accounts: of RSA, or of the curve that its name begins with."""
        file = self.folder / f"{name}.key"
        if not file.exists():
            kind = name.split(".")[0]
            options = ["EC", "-pkeyopt", f"ec_paramgen_curve:{kind}"] if kind.startswith("P") else ["RSA"]
            run("openssl", "genpkey", "-algorithm", *options, "-out", file)
            run("openssl", "pkey", "-in", file, "-pubout", "-out", f"{file}.pub")
        return file

    def halt(self):
        """Stops the API server alone."""
        self.program.stop()

    def stop(self):
        for part in (self.program, self.etcd, self.services):
            if part:
                part.stop()

    # What its administrator does.

    def ask(self, method, path, token=None, **more):
        return ask(method, self.base + path, token=token or self.admin, trust=self.trust, **more)

    def must(self, method, path, **more):
        """A call that must succeed."""
        answer = self.ask(method, path, **more)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.body[:600]}")
        return answer.json()

    def place(self, head, named=True):
        """The path of what a manifest is about."""
        base = f"/apis/{head.version}" if "/" in head.version else f"/api/{head.version}"
        if (head.version, head.kind) not in self.kinds:
            for resource in self.must("GET", base)["resources"]:
                if "/" not in resource["name"]:
                    self.kinds[head.version, resource["kind"]] = (resource["name"], resource["namespaced"])
        plural, is_namespaced = self.kinds[head.version, head.kind]
        within = f"/namespaces/{head.space}" if is_namespaced else ""
        return f"{base}{within}/{plural}" + (f"/{urllib.parse.quote(head.name)}" if named else "")

    def apply(self, manifest, query="", head=None):
        """What `kubectl apply --server-side` does."""
        headers = {"Content-Type": "application/apply-patch+yaml"}
        path = f"{self.place(head or Head.of(manifest))}?fieldManager=kubectl&force=true{query}"
        return self.ask("PATCH", path, body=manifest.encode(), headers=headers)

    def apply_document(self, document):
        """The same of a manifest as JSON has it."""
        return self.apply(json.dumps(document), head=Head.of(document))

    def applied(self, text):
        """Applies all documents of a file, which must succeed; what is stored of each."""
        stored = []
        for manifest in documents(text):
            answer = self.apply(manifest)
            if answer.status >= 300:
                raise RuntimeError(f"{Head.of(manifest)}: {answer.status} {answer.body[:600]}")
            stored.append(answer.json())
        return stored

    def make(self, version, kind, space, name, **more):
        """Makes something small."""
        metadata = {"name": name, **({"namespace": space} if space else {})}
        document = {"apiVersion": version, "kind": kind, "metadata": metadata, **more}
        return self.must("POST", self.place(Head(version, kind, space, name), named=False), document=document)

    def token(self, space, account, audiences=(), seconds=3600, bound=None):
        """A token of a service account, as TokenRequest gives it."""
        spec = {"audiences": list(audiences), "expirationSeconds": seconds}
        if bound:
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": bound["metadata"]["name"],
                                      "uid": bound["metadata"]["uid"]}
        path = f"/api/v1/namespaces/{space}/serviceaccounts/{account}/token"
        document = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        return self.must("POST", path, document=document)["status"]["token"]

    def review(self, token, audiences):
        """Whether the API server takes a token."""
        document = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                    "spec": {"token": token, "audiences": audiences}}
        answer = self.must("POST", "/apis/authentication.k8s.io/v1/tokenreviews", document=document)
        return answer["status"].get("authenticated", False)


def documents(text):
    """The documents of a file of manifests, without those that say nothing."""
    parts = re.split(r"^---$", text, flags=re.MULTILINE)
    return [part for part in parts if re.search(r"^kind:", part, re.MULTILINE)]
