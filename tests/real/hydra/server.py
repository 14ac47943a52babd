"""Ory Hydra from its Go module, the application at which people log in to it, and their browsers."""

import http.server
import os
import secrets
import threading
import urllib.parse
from pathlib import Path

import authorization
from authorization import CALLBACK, good
from kit import free_port, go, run
from web import ask

# As programs/go.mod says.
VERSION = "2.3.0"
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


class Server(authorization.Server):
    """One on a database in `folder`, and the application beside it."""

    remembers = signs_by_newest = True
    algorithms = ["ES256", "ES512", "EdDSA"]

    def __init__(self, program, folder):
        super().__init__(folder)
        self.hydra, self.admin_port, self.keys = program, free_port(), []
        self.issuer = f"{self.base}/"
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
            **os.environ, **urls, "DSN": f"sqlite://{self.folder}/hydra.sqlite?_fk=true", "SECRETS_SYSTEM": self.secret,
            "URLS_SELF_ISSUER": self.issuer, "URLS_POST_LOGOUT_REDIRECT": CALLBACK, "STRATEGIES_ACCESS_TOKEN": "jwt",
            "OAUTH2_ALLOWED_TOP_LEVEL_CLAIMS": "sid", "SQA_OPT_OUT": "true", "LOG_LEVEL": "warn",
            "SERVE_PUBLIC_HOST": "127.0.0.1", "SERVE_PUBLIC_PORT": str(self.port),
            "SERVE_ADMIN_HOST": "127.0.0.1", "SERVE_ADMIN_PORT": str(self.admin_port),
        }
        is_new = self.program is None
        if is_new:
            run(self.hydra, "migrate", "sql", "--read-from-env", "--yes", env=environment)
        at = f"http://127.0.0.1:{self.admin_port}/health/ready"
        self.begin("hydra", [self.hydra, "serve", "all", "--dev"], at, is_heard=False, env=environment)
        if is_new:
            self.furnish()

    def furnish(self):
        """Its clients, and a key that we know of."""
        for strategy, name in (("jwt", ""), ("opaque", "-opaque")):
            common = {"access_token_strategy": strategy, "audience": ["orders", "other"]}
            self.admin("POST", "/admin/clients", {
                **common, "client_id": f"svc{name}", "client_secret": self.secret, "grant_types": ["client_credentials"],
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

    def token(self, resource="orders", scope="orders.read", algorithm="", is_opaque=False):
        """A token of a client for an audience, or for none."""
        if algorithm:
            self.change("add", algorithm)
        asked = {"audience": resource} if resource else {}
        return self.granted("svc-opaque" if is_opaque else "svc", scope=scope, **asked)

    def revoke(self, token):
        self.taken_back("svc-opaque", token)

    def exchange(self, client, form):
        """What a public client is given for a code."""
        return good(self.token_path, ask("POST", self.base + self.token_path, form={**form, "client_id": client}))

    def log_in(self, name, is_opaque=False):
        """Somebody's browser, after a log-in."""
        browser = Browser(self)
        browser.code(
            "/oauth2/auth", "web-opaque" if is_opaque else "web", audience="orders", login_hint=name,
            scope="openid offline_access orders.read",
        )
        return browser


class Browser(authorization.Browser):
    """Somebody's browser."""

    def log_out(self):
        """Ends the session."""
        self.follow("/oauth2/sessions/logout", {"id_token_hint": self.granted["id_token"]})
