"""What authorization servers that run here have in common, and browsers that log in to them."""

import base64
import hashlib
import http.cookiejar
import secrets
import urllib.parse

from kit import Program, eventually, free_port
from web import ask

CALLBACK = "http://127.0.0.1:9/back"


class Server:
    """One that runs on a port of loopback, with its log in `folder`. See `provider.Stage` for what it is asked."""

    secret = "a-secret-of-nobody"
    logs_out, remembers, signs_by_newest = True, False, False
    # Where it gives tokens, and takes them back.
    token_path, revocation_path = "/oauth2/token", "/oauth2/revoke"

    def __init__(self, folder):
        self.folder, self.port, self.program = folder, free_port(), None
        self.admin_port = self.port
        self.base = self.issuer = f"http://127.0.0.1:{self.port}"
        # Where it sends logout tokens.
        self.receiver = ""

    def begin(self, name, command, url, **more):
        """Runs a program, until it answers there."""
        log = self.folder / f"{name}.log"
        self.program = Program(command, log, **more)

        def is_up():
            if self.program.child.poll() is not None:
                raise RuntimeError(log.read_text(errors="replace")[-3000:])
            try:
                return ask("GET", url).status == 200
            except OSError:
                return False

        eventually(name, is_up)

    def stop(self):
        if self.program:
            self.program.stop()

    def change(self, what):
        """Another set of keys, where it reads lines that say which."""
        self.program.say(what)
        # Between its own remarks.
        while (heard := self.program.hear()) != what:
            if not heard and self.program.child.poll() is not None:
                raise RuntimeError(f"{what}: it has ended")

    def placed(self, recipe):
        """The recipe, with what else is another one here."""
        return recipe

    def more_refused(self):
        """What else it gives that must not pass: what it is, the token, and the verdict."""
        return ()

    def secret_of(self, _):
        """Of a client."""
        return self.secret

    def post(self, path, client, **form):
        """What it answers to a client that shows its secret, which must be good."""
        shown = base64.b64encode(f"{client}:{self.secret_of(client)}".encode()).decode()
        return good(path, ask("POST", self.base + path, form=form, headers={"Authorization": f"Basic {shown}"}))

    def granted(self, client, **form):
        """A token of a client for itself."""
        return self.post(self.token_path, client, grant_type="client_credentials", **form).json()["access_token"]

    def taken_back(self, client, token):
        self.post(self.revocation_path, client, token=token)


class Browser:
    """Somebody's browser."""

    def __init__(self, server):
        self.server, self.jar, self.granted = server, http.cookiejar.CookieJar(), None

    def follow(self, path, query, page=None):
        """Goes where it is sent, until that is back: with what it is sent there. `page` answers to a page on the way."""
        at = f"{self.server.base}{path}?{urllib.parse.urlencode(query)}"
        for _ in range(12):
            answer = ask("GET", at, self.jar, headers={"Accept": "text/html"})
            if page and answer.status == 200:
                answer = page(at, answer)
            if not answer.headers.get("Location"):
                raise RuntimeError(f"{at}: {answer.status} {answer.body[:300]}")
            at = urllib.parse.urljoin(at, answer.headers["Location"])
            if at.startswith(CALLBACK):
                return urllib.parse.parse_qs(urllib.parse.urlsplit(at).query)
        raise RuntimeError(f"it is sent about: {at}")

    def code(self, path, client, page=None, **query):
        """A client is granted tokens by a code, once somebody has logged in."""
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        back = self.follow(path, {
            "client_id": client, "response_type": "code", "redirect_uri": CALLBACK, "code_challenge": challenge,
            "code_challenge_method": "S256", "state": secrets.token_hex(8), **query,
        }, page)
        if "code" not in back:
            raise RuntimeError(f"no code: {back}")
        form = {"grant_type": "authorization_code", "code": back["code"][0], "redirect_uri": CALLBACK, "code_verifier": verifier}
        self.granted = self.server.exchange(client, form).json()


def good(what, answer):
    """An answer that must be one of 200."""
    if answer.status != 200:
        raise RuntimeError(f"{what}: {answer.status} {answer.body[:300]}")
    return answer
