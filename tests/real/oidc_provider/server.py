"""oidc-provider from npm, and a browser that logs in and out at it."""

import html
import re
import urllib.parse
from pathlib import Path

import authorization
from authorization import good
from kit import npm
from web import ask

HERE = Path(__file__).resolve().parent


def installed():
    """The folder of the package, and the server's script in it."""
    return npm("oidc-provider", HERE)


class Server(authorization.Server):
    """One that keeps its keys when it is started again, and nothing else."""

    algorithms = ["RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"]
    token_path, revocation_path = "/token", "/token/revocation"

    def __init__(self, package, folder):
        super().__init__(folder)
        self.package = package

    def start(self):
        """Starts it, again too."""
        command = ["node", self.package / "server.mjs", self.port, self.folder / "keys.json", self.receiver]
        self.begin("oidc-provider", command, f"{self.base}/jwks", cwd=self.package)

    def token(self, resource="orders", scope="orders.read", algorithm="", is_opaque=False):
        """A token of the client `svc` for a resource, or for none."""
        asked = {"resource": resource_of(resource, algorithm, is_opaque), "scope": scope} if resource else {}
        return self.granted("svc", **asked)

    def more_refused(self):
        yield "by HS256", self.token(algorithm="HS256"), (401, "algorithm_not_allowed")

    def revoke(self, token):
        self.taken_back("svc", token)

    def exchange(self, client, form):
        """What the public client is given for a code."""
        return good("/token", ask("POST", f"{self.base}/token", form={**form, "client_id": client}))

    def log_in(self, name, is_opaque=False):
        """Somebody's browser, after a log-in."""
        browser = Browser(self)
        browser.log_in(name, resource_of("orders", "", is_opaque))
        return browser


def resource_of(name, algorithm, is_opaque):
    """The resource of server.mjs."""
    if is_opaque:
        return f"urn:{name}:opaque"
    return f"https://{name}.example.com/" + (f"?{algorithm}" if algorithm else "")


class Browser(authorization.Browser):
    """Somebody's browser."""

    def log_in(self, name, resource):
        """The client `web` is granted tokens, once somebody has logged in and agreed."""
        self.code(
            "/auth", "web", lambda _, page: self.submit(page, login=name, password="of nobody"), resource=resource,
            prompt="consent", scope="openid offline_access orders.read",
        )

    def submit(self, page, **typed):
        """Sends the form of a page."""
        text = page.body.decode()
        action = re.search(r'<form[^>]*\saction="([^"]+)"', text)
        if not action:
            raise RuntimeError(f"there is no form: {page.status} {text[:300]}")
        hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', text)
        form = {**dict(hidden), **typed}
        return ask("POST", urllib.parse.urljoin(self.server.base, html.unescape(action[1])), self.jar, form)

    def log_out(self):
        """Ends the session."""
        query = urllib.parse.urlencode({"id_token_hint": self.granted["id_token"]})
        page = ask("GET", f"{self.server.base}/session/end?{query}", self.jar)
        answer = self.submit(page, logout="yes")
        if answer.status >= 400:
            raise RuntimeError(f"/session/end: {answer.status} {answer.body[:300]}")
