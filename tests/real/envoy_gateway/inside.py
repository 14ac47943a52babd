#!/usr/bin/env python3
"""What system.py runs in a network of its own: everything is started, and each row is printed as a line of JSON."""

import json
import sys
import tarfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kit import REPOSITORY, Program, Row, attempts, certificate, eventually, free_port, run  # noqa: E402
from kubernetes.server import Cluster, Head, documents  # noqa: E402
from web import ask  # noqa: E402

from envoy_gateway import room, shop  # noqa: E402
from envoy_gateway.doors import Doors  # noqa: E402
from envoy_gateway.gateway import EnvoyGateway, Proxy  # noqa: E402
from envoy_gateway.moves import Moves  # noqa: E402
from envoy_gateway.policies import Policies  # noqa: E402
from envoy_gateway.proxies import Proxies  # noqa: E402

# Who is at which address, and what the names of this network lead to.
SERVICES = {"orders": "192.0.2.11", "catalog": "192.0.2.12", "payments": "192.0.2.13"}
PROVIDER, REGISTRY = "192.0.2.20", "192.0.2.30"
NAMES = {
    "envoy-gateway": "127.0.0.1", "envoy-gateway.envoy-gateway-system.svc.cluster.local": "127.0.0.1",
    "idp.example": PROVIDER, "registry.example": REGISTRY,
}
LIBRARY = REPOSITORY / "dist" / "libportcullis.so"
IMAGE = "registry.example/portcullis:0.1.0"
MODULE = "registry.example/portcullis-native:0.1.0"


class Room:
    """All that a cluster with Envoy Gateway has, and what is outside of it: provider and registry."""

    def __init__(self, given):
        folder, programs = Path(given["folder"]), Path(given["programs"])
        self.given, self.folder, self.crane, self.services = given, folder, programs / "crane", SERVICES
        self.system = given["system"]
        room.addresses("192.0.2.1", *SERVICES.values(), PROVIDER, REGISTRY)
        self.names = room.Names(NAMES)
        # Whom the registry's clients and the test itself trust.
        self.authority = certificate(folder, "idp.example", "registry.example")
        self.pods = room.Pods(folder, self.authority)
        self.provider = shop.Provider(folder)
        room.Front(PROVIDER, self.provider.port, self.authority)
        self.checked = shop.services()
        self.registry()
        self.cluster = Cluster(Path(given["kubernetes"]), folder)
        self.cluster.start(["rsa.1"])
        for file in given["definitions"]:
            # Of a chart, which is for all or nothing.
            text = "\n".join(line for line in Path(file).read_text().splitlines() if not line.startswith("{{"))
            for document in documents(text):
                if Head.of(document).kind == "CustomResourceDefinition":
                    self.cluster.applied(document)
        # A watch that begins before its kind is established may stay without news.
        eventually("the kinds", self.are_established)
        self.gateway = EnvoyGateway(self.cluster, self.pods, folder, programs / "envoy-gateway")
        self.gateway.begin()
        self.proxy = Proxy(self.cluster, self.pods, folder, Path(given["envoy"]), self.fetch)

    def are_established(self):
        """Whether the API server serves all kinds as their definitions say."""
        found = self.cluster.must("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]
        conditions = [each.get("status", {}).get("conditions") or [] for each in found]
        told = [{part["type"]: part["status"] for part in each} for each in conditions]
        return found and all(each.get("Established") == "True" for each in told)

    def registry(self):
        """A registry with both images: the plugin's as `make image` writes it, and the module as a single file."""
        port = free_port()
        Program([self.crane, "registry", "serve", f"--address=127.0.0.1:{port}"], self.folder / "registry.log", is_heard=False)
        room.Front(REGISTRY, port, self.authority)

        def is_up():
            try:
                return ask("GET", f"http://127.0.0.1:{port}/v2/").status == 200
            except OSError:
                return False

        eventually("the registry", is_up)
        self.address = f"127.0.0.1:{port}"
        plain = IMAGE.replace("registry.example", self.address)
        run(self.crane, "push", self.layout(), plain)
        self.digest = run(self.crane, "digest", plain).strip()
        if LIBRARY.exists():
            with tarfile.open(self.folder / "module.tar", "w") as archive:
                archive.add(LIBRARY, LIBRARY.name)
            plain = MODULE.replace("registry.example", self.address)
            run(self.crane, "append", "--new_layer", self.folder / "module.tar", "--new_tag", plain)

    def layout(self):
        """The image's archive, unpacked."""
        layout = self.folder / "image"
        with tarfile.open(REPOSITORY / "dist" / "portcullis-image.tar") as archive:
            archive.extractall(layout, filter="data")
        return layout

    def fetch(self, reference, folder):
        """The files of an image, as a kubelet mounts them."""
        plain = reference.replace("registry.example", self.address)
        archive = self.folder / "fetched.tar"
        run(self.crane, "export", plain, archive)
        with tarfile.open(archive) as files:
            files.extractall(folder, filter="data")


def rows(here):
    """All of them, one after the other."""
    here.policies, proxies = Policies(here), Proxies(here)
    yield from attempts(here.system, here.policies.rows())
    yield from attempts(here.system, proxies.rows())
    if LIBRARY.exists():
        yield from attempts(here.system, proxies.module_rows())
    else:
        for tried, _ in proxies.module_rows():
            yield Row(here.system, tried, "left out: `make native` builds what this needs", None)
    yield from attempts(here.system, Doors(here).rows())
    yield from attempts(here.system, Moves(here).rows())


def main():
    here = Room(json.loads(Path(sys.argv[1]).read_text()))
    for row in rows(here):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
