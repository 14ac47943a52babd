"""oidc-provider, as a server with resources whose tokens are JWTs, and others whose tokens are opaque."""

from provider import Stage

from .server import Server, installed

VERSION = "9.13.3"


def rows(folder):
    """All rows; see the module."""
    server = Server(installed(), folder)
    return Stage(folder, f"oidc-provider {VERSION}", "oidc-provider", "https://op.example.com", server).run()
