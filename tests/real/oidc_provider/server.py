"""oidc-provider from npm, and a browser that logs in and out at it."""

import base64
import hashlib
import html
import http.cookiejar
import re
import secrets
import urllib.parse
from pathlib import Path

from kit import Program, eventually, free_port, npm
from web import ask

HERE = Path(__file__).resolve().parent
SECRET = "a-secret-of-nobody"
CALLBACK = "http://127.0.0.1:9/back"


def installed():
    """The folder of the package, and the server's script in it."""
    return npm("oidc-provider", HERE)


class Server:
    """One that runs. It keeps its keys when it is started again, and nothing else."""

    signs_by_newest = False
    secret, logs_out, remembers = SECRET, True, False
    algorithms = ["RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"]

    def __init__(self, package, folder):
        self.package, self.folder, self.port, self.program = package, folder, free_port(), None
        self.admin_port = self.port
        self.base = self.issuer = f"http://127.0.0.1:{self.port}"
        self.receiver = ""

    @staticmethod
    def placed(recipe):
        """The recipe needs nothing more."""
        return recipe

    def start(self):
        """Starts it, again too."""
        command = ["node", self.package / "server.mjs", self.port, self.folder / "keys.json", self.receiver]
        self.program = Program(command, self.folder / "oidc-provider.log", cwd=self.package)

        def is_up():
            if self.program.child.poll() is not None:
                raise RuntimeError((self.folder / "oidc-provider.log").read_text(errors="replace")[-3000:])
            try:
                return ask("GET", f"{self.base}/jwks").status == 200
            except OSError:
                return False

        eventually("oidc-provider", is_up)

    def stop(self):
        if self.program:
            self.program.stop()

    def change(self, what):
        """Another set of keys."""
        self.program.say(what)
        # Between its own remarks.
        while (heard := self.program.hear()) != what:
            if not heard and self.program.child.poll() is not None:
                raise RuntimeError(f"{what}: it has ended")

    def post(self, path, client, **form):
        """What it answers to a client that shows its secret."""
        shown = base64.b64encode(f"{client}:{SECRET}".encode()).decode()
        return ask("POST", self.base + path, form=form, headers={"Authorization": f"Basic {shown}"})

    def token(self, resource="orders", scope="orders.read", algorithm="", is_opaque=False):
        """A token of the client `svc` for a resource, or for none."""
        asked = {"resource": resource_of(resource, algorithm, is_opaque), "scope": scope} if resource else {}
        answer = self.post("/token", "svc", grant_type="client_credentials", **asked)
        if answer.status != 200:
            raise RuntimeError(f"/token: {answer.status} {answer.body[:300]}")
        return answer.json()["access_token"]

    def more_refused(self):
        """What it also gives."""
        yield "by HS256", self.token(algorithm="HS256"), (401, "algorithm_not_allowed")

    def revoke(self, token):
        answer = self.post("/token/revocation", "svc", token=token)
        if answer.status != 200:
            raise RuntimeError(f"/token/revocation: {answer.status} {answer.body[:300]}")

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


class Browser:
    """Somebody's browser."""

    def __init__(self, server):
        self.server, self.jar = server, http.cookiejar.CookieJar()

    def log_in(self, name, resource):
        """The client `web` is granted tokens, once somebody has logged in and agreed."""
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "client_id": "web", "response_type": "code", "redirect_uri": CALLBACK, "resource": resource, "prompt": "consent",
            "scope": "openid offline_access orders.read", "code_challenge": challenge, "code_challenge_method": "S256",
        }
        at = f"{self.server.base}/auth?{urllib.parse.urlencode(query)}"
        for _ in range(10):
            answer = ask("GET", at, self.jar)
            if answer.status == 200:
                answer = self.submit(answer, login=name, password="of nobody")
            at = urllib.parse.urljoin(at, answer.headers["Location"])
            if at.startswith(CALLBACK):
                break
        code = urllib.parse.parse_qs(urllib.parse.urlsplit(at).query)["code"][0]
        form = {
            "client_id": "web", "grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK,
            "code_verifier": verifier,
        }
        answer = ask("POST", f"{self.server.base}/token", form=form)
        if answer.status != 200:
            raise RuntimeError(f"/token: {answer.status} {answer.body[:300]}")
        self.granted = answer.json()

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
