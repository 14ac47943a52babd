"""A registry and tools that push to it, from Go modules and Debian's packages."""

import os
import re
from pathlib import Path

from kit import Program, Skip, debian, eventually, free_port, go
from web import ask

MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
# As programs/go.mod says.
CRANE, REGCTL = "github.com/google/go-containerregistry", "github.com/regclient/regclient"


def installed():
    """The folder of `crane` and `regctl`."""
    folder = Path(__file__).resolve().parent / "programs"
    return go("image", folder, [f"{CRANE}/cmd/crane", f"{REGCTL}/cmd/regctl"], flags=["-ldflags", "-s -w"])


def version(module):
    """That of a module in programs/go.mod."""
    text = (Path(__file__).resolve().parent / "programs" / "go.mod").read_text()
    return re.search(rf"^\s{module} v(\S+)", text, re.MULTILINE)[1]


def skopeo():
    """The program and its environment."""
    root = debian("skopeo", "skopeo", "libgpgme11|libgpgme11t64", "libassuan0|libassuan9", "libdevmapper1.02.1")
    libraries = [str(folder) for folder in root.glob("**/*-linux-gnu") if folder.parent.name == "lib"]
    return root / "usr/bin/skopeo", {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}


class Registry:
    """`crane registry serve`, on loopback, without TLS."""

    def __init__(self, programs, folder):
        self.port = free_port()
        self.at = f"127.0.0.1:{self.port}"
        command = [programs / "crane", "registry", "serve", "--address", self.at]
        self.program = Program(command, folder / "registry.log", is_heard=False)

        def is_up():
            try:
                return self.ask("/v2/").status == 200
            except OSError:
                return False

        eventually("the registry", is_up)

    def ask(self, path):
        return ask("GET", f"http://{self.at}{path}", headers={"Accept": ", ".join(MANIFESTS)})

    def digest(self, name, tag):
        """What the registry says is the digest of what it has under that name."""
        answer = self.ask(f"/v2/{name}/manifests/{tag}")
        if answer.status != 200:
            raise Skip(f"the registry has no {name}:{tag}: {answer.status}")
        return answer.headers["Docker-Content-Digest"]

    def stop(self):
        self.program.stop()
