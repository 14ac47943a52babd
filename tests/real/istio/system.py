"""Istio: istiod and its agent, a registry, and the gate in real proxies, driven by the manifests of envoy/istio."""

from kit import attempts

from .gateway import Gateway
from .mesh import Mesh
from .reference import Reference
from .server import VERSION
from .sidecar import Sidecar


def rows(folder):
    """All rows; see the module."""
    mesh = Mesh(folder)
    try:
        mesh.start()
        for part in (Gateway(mesh), Reference(mesh), Sidecar(mesh)):
            yield from attempts(f"Istio {VERSION}", part.rows())
    finally:
        mesh.stop()
