"""Kubernetes' API server: it asks `portcullis admission` about policies, and gives tokens to service accounts, which gates
take by the recipe."""

from kit import attempts

from .admission import Webhook
from .server import VERSION, Cluster, installed
from .tokens import Tokens

SYSTEM = f"Kubernetes {VERSION}"


def rows(folder):
    """All rows; see the module."""
    cluster = Cluster(installed(), folder)
    webhook, tokens = Webhook(cluster, folder), Tokens(cluster, folder)
    try:
        cluster.start(tokens.keys)
        yield from attempts(SYSTEM, webhook.rows())
        tokens.start()
        yield from attempts(SYSTEM, tokens.rows())
    finally:
        for part in (tokens, webhook, cluster):
            part.stop()
