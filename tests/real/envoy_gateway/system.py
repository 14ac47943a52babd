"""Envoy Gateway with its proxy, at a real API server: what it makes of envoy/envoy-gateway, and what a person sees."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from kit import REPOSITORY, Program, Row, Skip, envoy, go, module, portcullis, run
from kubernetes import server as kubernetes
from kubernetes.admission import ENVOY_GATEWAY

VERSION = ENVOY_GATEWAY[1].removeprefix("v")
# The minor version of Envoy that this Envoy Gateway brings along.
ENVOY_VERSION = "1.39"
HERE = Path(__file__).resolve().parent
# A network, processes and mounts of its own: Envoy Gateway's ports and paths cannot be chosen, and nothing is left behind.
ALONE = ["unshare", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def installed():
    """The folder of `envoy-gateway` and of `crane`, which is a registry as well."""
    stamp = f"github.com/envoyproxy/gateway/internal/cmd/version.envoyGatewayVersion=v{VERSION}"
    packages = ["github.com/google/go-containerregistry/cmd/crane", "github.com/envoyproxy/gateway/cmd/envoy-gateway"]
    return go(f"envoy-gateway-{VERSION}", HERE / "programs", packages, flags=["-ldflags", f"-s -w -X {stamp}"])


def rows(folder):
    """All rows; see the module. They are tried in a network where nobody else is."""
    for program in ("unshare", "mount", "chroot", "ip", "openssl"):
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")
    tried = subprocess.run([*ALONE, "ip", "link", "set", "lo", "up"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise Skip(f"there can be no network of its own: {tried.stderr.strip()[-200:]}")
    gateway = module(*ENVOY_GATEWAY) / "charts" / "gateway-crds-helm" / "templates"
    proxy = envoy(ENVOY_VERSION)
    said = re.search(r"version: [0-9a-f]+/([^/]+)/", run(proxy, "--version"))[1]
    given = {
        "folder": folder, "programs": installed(), "kubernetes": kubernetes.installed(), "envoy": proxy, "tool": portcullis(),
        "definitions": [gateway / "standard-gatewayapi-crds.yaml", *sorted((gateway / "generated").glob("*.yaml"))],
        "system": f"Envoy Gateway {VERSION}, Envoy {said}",
    }
    image = REPOSITORY / "scripts" / "image"
    given["image"] = re.findall(r"(?:sha256: |sha256:)([0-9a-f]{64})", run(sys.executable, "-B", image))
    (folder / "given.json").write_text(json.dumps(given, default=str))
    command = [*ALONE, sys.executable, "-B", HERE / "inside.py", folder / "given.json"]
    program = Program(command, folder / "inside.log")
    try:
        while line := program.hear():
            yield Row(*json.loads(line))
        if program.child.wait(60):
            raise RuntimeError((folder / "inside.log").read_text(errors="replace")[-4000:])
    finally:
        # With it goes everything that runs in there; it would not heed a gentler word.
        program.child.kill()
        program.stop()
