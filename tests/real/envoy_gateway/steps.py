"""What the rows on Envoy Gateway are made of."""

from kit import Wrong, eventually, expect
from kubernetes.server import Head, documents

from .gateway import MANIFESTS, POLICY
from .shop import send, status

PORTCULLIS = (POLICY, "EnvoyExtensionPolicy", "shop", "portcullis")
# The host of identity-provider.yaml's route.
NOBODYS = "keys.invalid"
# A mistake in a configuration, and what is said of it.
MISTAKE = ("audiences:", "audience:")
SAID = "providers.corp.audience"


def read(name):
    return (MANIFESTS / name).read_text()


def parts(text, kind, name=None):
    """The documents of a kind."""
    heads = [(Head.of(part), part) for part in documents(text)]
    return [part for head, part in heads if head.kind == kind and name in (None, head.name)]


def changed(text, one, other):
    """The text with one thing for another, which must be there."""
    if one not in text:
        raise RuntimeError(f"there is no {one!r} to change")
    return text.replace(one, other)


def page(name):
    """The manifest as the page of what was seen leads to it."""
    return f"[{name}](../envoy/envoy-gateway/{name})"


class Steps:
    """One cluster, in which one thing is tried after the other; `here` is all of it."""

    def __init__(self, here):
        self.here, self.gateway, self.proxy, self.provider = here, here.gateway, here.proxy, here.provider
        self.reader = self.token(scope="openid orders:read")

    def token(self, **claims):
        return self.provider.token(**claims)

    def applied(self, *names):
        for name in names:
            self.gateway.apply(read(name))

    def becomes(self, what, path, expected, token=None, **more):
        """Waits until a request gets a status."""
        try:
            eventually(what, lambda: status(path, token, **more) == expected, 60)
        except RuntimeError as error:
            raise Wrong(f"{error}: {status(path, token, **more)}, not {expected}") from None

    def tries(self, *tried):
        """Requests and what each must get: status, method, path, token, and headers besides."""
        for what, expected, method, path, token, headers in tried:
            host = headers.pop("host", None)
            seen = send(path, token, method, **({"host": host} if host else {}), **headers)
            expect(what, seen.status, expected)

    def mended(self):
        self.applied("gateway.yaml")
        self.gateway.has("Accepted=True", *PORTCULLIS)
        self.becomes("the gate", "/orders/1", 200, self.reader)

    def proxy_of(self, until=None, more=""):
        """The EnvoyProxy of start.yaml: up to some words of it, or with more in its `spec`."""
        text = parts(read("start.yaml"), "EnvoyProxy")[0]
        if until:
            text = text[:text.index(until)]
        return changed(text, "\nspec:\n", f"\nspec:\n{more}")

    def original(self):
        """The proxy as start.yaml has it, fresh."""
        self.gateway.apply(self.proxy_of())
        self.proxy.renew()
        self.mended()
