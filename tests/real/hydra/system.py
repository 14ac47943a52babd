"""Ory Hydra, with clients whose tokens are JWTs, and others whose tokens are opaque."""

from provider import Stage

from .server import VERSION, Server, installed


def rows(folder):
    """All rows; see the module."""
    server = Server(installed(), folder)
    return Stage(folder, f"Ory Hydra {VERSION}", "hydra", "https://hydra.example.com", server).run()
