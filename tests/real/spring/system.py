"""Spring Authorization Server, with clients whose tokens are JWTs, and others whose tokens are opaque."""

from provider import Stage

from .server import VERSION, Server, installed


def rows(folder):
    """All rows; see the module."""
    server = Server(installed(), folder)
    return Stage(folder, f"Spring Authorization Server {VERSION}", "spring", "https://auth.example.com", server).run()
