"""Ory Hydra from its Go module, the application at which people log in to it, and their browsers."""

import base64
import hashlib
import http.cookiejar
import http.server
import json
import os
import secrets
import threading
import urllib.parse
from pathlib import Path

from kit import Program, eventually, free_port, go, run
from web import ask

# As programs/go.mod says.
VERSION = "2.3.0"
SECRET = "a-secret-of-nobody"
CALLBACK = "http://127.0.0.1:9/back"
# The set of the keys that sign access tokens.
KEYS = "/admin/keys/hydra.jwt.access-token"


def installed():
    """The program."""
    folder = Path(__file__).resolve().parent / "programs"
    # Its database is SQLite.
    flags = ["-ldflags", "-s -w", "-tags", "sqlite,json1"]
    return go(f"hydra-{VERSION}", folder, ["github.com/ory/hydra/v2"], flags, is_c=True) / "hydra"


class _Application(http.server.BaseHTTPRequestHandler):
    """Everybody may log in, agrees to everything, and is logged out when asked."""

    def do_GET(self):
        parts = urllib.parse.urlsplit(self.path)
        kind = parts.path.strip("/")
        challenge = urllib.parse.parse_qs(parts.query)[f"{kind}_challenge"][0]
        at = f"/admin/oauth2/auth/requests/{kind}"
        query = f"?{kind}_challenge={urllib.parse.quote(challenge)}"
        asked = self.server.admin("GET", at + query)
        said = {}
        if kind == "login":
            said = {"subject": asked["oidc_context"]["login_hint"], "remember": True, "remember_for": 3600}
        elif kind == "consent":
            # What a logout names is the session.
            said = {
                "grant_scope": asked["requested_scope"],
                "grant_access_token_audience": asked["requested_access_token_audience"],
                "session": {"access_token": {"sid": asked["login_session_id"]}},
            }
        answer = self.server.admin("PUT", f"{at}/accept{query}", said)
        self.send_response(302)
        self.send_header("Location", answer["redirect_to"])
        self.end_headers()

    def log_message(self, *_):
        pass


class Server:
    """One that runs, on a database in `folder`, and the application beside it."""

    signs_by_newest = True
    secret, logs_out, remembers = SECRET, True, True
    algorithms = ["ES256", "ES512", "EdDSA"]

    def __init__(self, program, folder):
        self.hydra, self.folder, self.program = program, folder, None
        self.port, self.admin_port = free_port(), free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.issuer = f"{self.base}/"
        self.receiver, self.keys = "", []
        self.application = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Application)
        self.application.daemon_threads = True
        self.application.admin = self.admin
        threading.Thread(target=self.application.serve_forever, daemon=True).start()

    def placed(self, recipe):
        return recipe.replace("https://hydra-admin.example.com", f"http://127.0.0.1:{self.admin_port}")

    def start(self):
        """Starts it, again too: it goes on with what it had."""
        at = f"http://127.0.0.1:{self.application.server_address[1]}"
        urls = {f"URLS_{name.upper()}": f"{at}/{name}" for name in ("login", "consent", "logout")}
        environment = {
            **os.environ, **urls, "DSN": f"sqlite://{self.folder}/hydra.sqlite?_fk=true", "SECRETS_SYSTEM": SECRET,
            "URLS_SELF_ISSUER": self.issuer, "URLS_POST_LOGOUT_REDIRECT": CALLBACK, "STRATEGIES_ACCESS_TOKEN": "jwt",
            "OAUTH2_ALLOWED_TOP_LEVEL_CLAIMS": "sid", "SQA_OPT_OUT": "true", "LOG_LEVEL": "warn",
            "SERVE_PUBLIC_HOST": "127.0.0.1", "SERVE_PUBLIC_PORT": str(self.port),
            "SERVE_ADMIN_HOST": "127.0.0.1", "SERVE_ADMIN_PORT": str(self.admin_port),
        }
        is_new = self.program is None
        if is_new:
            run(self.hydra, "migrate", "sql", "--read-from-env", "--yes", env=environment)
        log = self.folder / "hydra.log"
        self.program = Program([self.hydra, "serve", "all", "--dev"], log, is_heard=False, env=environment)

        def is_up():
            if self.program.child.poll() is not None:
                raise RuntimeError(log.read_text(errors="replace")[-3000:])
            try:
                return ask("GET", f"http://127.0.0.1:{self.admin_port}/health/ready").status == 200
            except OSError:
                return False

        eventually("Hydra", is_up)
        if is_new:
            self.furnish()

    def stop(self):
        if self.program:
            self.program.stop()

    def furnish(self):
        """Its clients, and a key that we know of."""
        for strategy, name in (("jwt", ""), ("opaque", "-opaque")):
            common = {"access_token_strategy": strategy, "audience": ["orders", "other"]}
            self.admin("POST", "/admin/clients", {
                **common, "client_id": f"svc{name}", "client_secret": SECRET, "grant_types": ["client_credentials"],
                "scope": "orders.read orders.write",
            })
            self.admin("POST", "/admin/clients", {
                **common, "client_id": f"web{name}", "token_endpoint_auth_method": "none", "redirect_uris": [CALLBACK],
                "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
                "scope": "openid offline_access orders.read",
                "backchannel_logout_uri": f"{self.receiver}/backchannel-logout",
            })
        self.change("add")

    def admin(self, method, path, document=None):
        """A call of the admin port, which must succeed."""
        answer = ask(method, f"http://127.0.0.1:{self.admin_port}{path}", document=document)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.body[:300]}")
        return answer.json() if answer.body else None

    def change(self, what, algorithm="RS256"):
        """Another set of keys. The newest signs."""
        if what in ("add", "replace"):
            kid = secrets.token_hex(6)
            self.admin("POST", KEYS, {"alg": algorithm, "kid": kid, "use": "sig"})
            self.keys.insert(0, kid)
        while self.keys[1:] and what in ("drop", "replace"):
            self.admin("DELETE", f"{KEYS}/{self.keys.pop()}")
            if what == "drop":
                break

    def post(self, path, client, **form):
        """What it answers to a client that shows its secret."""
        shown = base64.b64encode(f"{client}:{SECRET}".encode()).decode()
        answer = ask("POST", self.base + path, form=form, headers={"Authorization": f"Basic {shown}"})
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {answer.body[:300]}")
        return json.loads(answer.body or b"null")

    def token(self, resource="orders", scope="orders.read", algorithm="", is_opaque=False):
        """A token of a client for an audience, or for none."""
        if algorithm:
            self.change("add", algorithm)
        form = {"grant_type": "client_credentials", "scope": scope, **({"audience": resource} if resource else {})}
        return self.post("/oauth2/token", "svc-opaque" if is_opaque else "svc", **form)["access_token"]

    def more_refused(self):
        """It gives nothing else."""
        return ()

    def revoke(self, token):
        self.post("/oauth2/revoke", "svc-opaque", token=token)

    def log_in(self, name, is_opaque=False):
        """Somebody's browser, after a log-in."""
        browser = Browser(self)
        browser.log_in(name, "web-opaque" if is_opaque else "web")
        return browser


class Browser:
    """Somebody's browser."""

    def __init__(self, server):
        self.server, self.jar = server, http.cookiejar.CookieJar()

    def follow(self, path, query):
        """Goes where it is sent, until that is back; with what it is sent there."""
        at = f"{self.server.base}{path}?{urllib.parse.urlencode(query)}"
        for _ in range(12):
            answer = ask("GET", at, self.jar)
            if not answer.headers.get("Location"):
                raise RuntimeError(f"{at}: {answer.status} {answer.body[:300]}")
            at = urllib.parse.urljoin(at, answer.headers["Location"])
            if at.startswith(CALLBACK):
                return urllib.parse.parse_qs(urllib.parse.urlsplit(at).query)
        raise RuntimeError(f"it is sent about: {at}")

    def log_in(self, name, client):
        """The client is granted tokens, once somebody has logged in and agreed."""
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        back = self.follow("/oauth2/auth", {
            "client_id": client, "response_type": "code", "redirect_uri": CALLBACK, "audience": "orders",
            "scope": "openid offline_access orders.read", "state": secrets.token_hex(8), "login_hint": name,
            "code_challenge": challenge, "code_challenge_method": "S256",
        })
        if "code" not in back:
            raise RuntimeError(f"no code: {back}")
        form = {
            "client_id": client, "grant_type": "authorization_code", "code": back["code"][0], "redirect_uri": CALLBACK,
            "code_verifier": verifier,
        }
        answer = ask("POST", f"{self.server.base}/oauth2/token", form=form)
        if answer.status != 200:
            raise RuntimeError(f"/oauth2/token: {answer.status} {answer.body[:300]}")
        self.granted = answer.json()

    def log_out(self):
        """Ends the session."""
        self.follow("/oauth2/sessions/logout", {"id_token_hint": self.granted["id_token"]})
