"""A Keycloak from Maven's packages, what its administrator does with it, and a browser that logs in and out."""

import base64
import hashlib
import html
import http.cookiejar
import os
import re
import secrets
import time
import urllib.parse

from kit import Program, eventually, free_port
from web import ask

ADMIN = "admin"
PASSWORD = "a password of nobody"
# Of the client `orders-api`: the service that the tokens are for.
API_SECRET = "a-secret-of-nobody"
# Where a browser is sent back to. Nothing listens there: the code is read from the address.
CALLBACK = "http://127.0.0.1:9/back"


class Keycloak:
    """One that runs, on a database in `folder`, and its realm `demo`."""

    def __init__(self, home, folder):
        self.home, self.folder, self.port = home, folder, free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.issuer = f"{self.base}/realms/demo"
        self.oidc = f"{self.issuer}/protocol/openid-connect"
        self._admin, self._until, self.program = "", 0, None

    def start(self):
        """Starts it, again too: it goes on with what it had."""
        database = f"jdbc:h2:file:{self.folder}/keycloak;NON_KEYWORDS=VALUE;DB_CLOSE_ON_EXIT=FALSE;DB_CLOSE_DELAY=0"
        command = [
            self.home / "bin" / "kc.sh", "start", "--optimized", "--http-enabled=true", "--http-host=127.0.0.1",
            f"--http-port={self.port}", f"--hostname={self.base}", "--cache=local", f"--db-url={database}",
        ]
        environment = {
            **os.environ, "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN, "KC_BOOTSTRAP_ADMIN_PASSWORD": PASSWORD,
            "JAVA_OPTS_KC_HEAP": "-Xms128m -Xmx512m",
        }
        self.program = Program(command, self.folder / "keycloak.log", is_heard=False, env=environment)
        self._until = 0

        def is_up():
            if self.program.child.poll() is not None:
                raise RuntimeError((self.folder / "keycloak.log").read_text(errors="replace")[-3000:])
            try:
                return ask("GET", f"{self.base}/realms/master").status == 200
            except OSError:
                return False

        eventually("Keycloak", is_up, 300)

    def stop(self):
        if self.program:
            self.program.stop()

    # What an administrator does.

    def admin(self, method, path, document=None):
        """One call of the admin API, which must succeed."""
        if time.monotonic() > self._until:
            form = {"grant_type": "password", "client_id": "admin-cli", "username": ADMIN, "password": PASSWORD}
            granted = ask("POST", f"{self.base}/realms/master/protocol/openid-connect/token", form=form).json()
            self._admin, self._until = granted["access_token"], time.monotonic() + granted["expires_in"] / 2
        answer = ask(method, f"{self.base}/admin/realms{path}", document=document, token=self._admin)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.body[:300]}")
        return answer.json() if answer.body else None

    def make(self, kind, document):
        """Makes something of the realm, and gives its id."""
        self.admin("POST", f"/demo/{kind}", document)
        by = "clientId" if kind == "clients" else "username" if kind == "users" else "name"
        query = f"?{by}={urllib.parse.quote(document[by])}&exact=true" if kind in ("clients", "users") else ""
        return next(one["id"] for one in self.admin("GET", f"/demo/{kind}{query}") if one[by] == document[by])

    def realm(self):
        """The realm of the recipe: the service `orders-api` with its role, and the scope `orders` that names it."""
        self.admin("POST", "", {"realm": "demo", "enabled": True, "accessTokenLifespan": 900})
        self.id = self.admin("GET", "/demo")["id"]
        self.api = self.make("clients", {"clientId": "orders-api", "secret": API_SECRET, "standardFlowEnabled": False})
        self.admin("POST", f"/demo/clients/{self.api}/roles", {"name": "writer"})
        self.writer = self.admin("GET", f"/demo/clients/{self.api}/roles/writer")
        mapper = {
            "name": "audience", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
            "config": {"included.client.audience": "orders-api", "access.token.claim": "true"},
        }
        self.orders = self.make("client-scopes", {
            "name": "orders", "protocol": "openid-connect", "attributes": {"include.in.token.scope": "true"},
            "protocolMappers": [mapper],
        })

    def client(self, name, **attributes):
        """A public client with the scope `orders`, and the role in its scope, as the recipe's head says."""
        made = self.make("clients", {
            "clientId": name, "publicClient": True, "directAccessGrantsEnabled": True, "fullScopeAllowed": False,
            "redirectUris": [CALLBACK], "attributes": {"post.logout.redirect.uris": CALLBACK, **attributes},
        })
        self.admin("PUT", f"/demo/clients/{made}/default-client-scopes/{self.orders}")
        self.admin("POST", f"/demo/clients/{made}/scope-mappings/clients/{self.api}", [self.writer])
        return made

    def user(self, name, is_writer=True):
        """A person, with the role."""
        made = self.make("users", {
            "username": name, "enabled": True, "emailVerified": True, "email": f"{name}@example.com",
            "firstName": name, "lastName": "Example",
            "credentials": [{"type": "password", "value": PASSWORD, "temporary": False}],
        })
        if is_writer:
            self.admin("POST", f"/demo/users/{made}/role-mappings/clients/{self.api}", [self.writer])
        return made

    def key(self, name, provider, priority, **config):
        """A key of the realm; the one of highest priority signs. Gives the component's id."""
        config = {"priority": priority, "enabled": "true", "active": "true", **config}
        return self.make("components", {
            "name": name, "providerId": provider, "providerType": "org.keycloak.keys.KeyProvider", "parentId": self.id,
            "config": {field: [str(value)] for field, value in config.items()},
        })

    # What a person does.

    def grant(self, client, name):
        """What the password grant gives."""
        form = {"grant_type": "password", "client_id": client, "username": name, "password": PASSWORD, "scope": "openid"}
        return self.granted(ask("POST", f"{self.oidc}/token", form=form))

    @staticmethod
    def granted(answer):
        if answer.status != 200:
            raise RuntimeError(f"no token: {answer.status} {answer.body[:300]}")
        return answer.json()


class Browser:
    """A browser of somebody: it logs in by Keycloak's own form, with an authorization code and PKCE, and logs out."""

    def __init__(self, keycloak):
        self.keycloak = keycloak
        # As browsers do, it sends cookies that want a secure connection over loopback, too.
        policy = http.cookiejar.DefaultCookiePolicy(secure_protocols=("http", "https"))
        self.jar = http.cookiejar.CookieJar(policy)

    def log_in(self, client, name):
        """What the code was changed for."""
        verifier = secrets.token_urlsafe(32)
        digest = hashlib.sha256(verifier.encode()).digest()
        query = {
            "response_type": "code", "client_id": client, "redirect_uri": CALLBACK, "scope": "openid",
            "state": secrets.token_hex(8), "code_challenge_method": "S256",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        }
        answer = ask("GET", f"{self.keycloak.oidc}/auth?{urllib.parse.urlencode(query)}", self.jar)
        if not answer.headers.get("Location"):
            action = re.search(rb'<form[^>]*\saction="([^"]+)"', answer.body)
            if not action:
                raise RuntimeError(f"no form to log in: {answer.status} {answer.body[:300]}")
            form = {"username": name, "password": PASSWORD}
            answer = ask("POST", html.unescape(action[1].decode()), self.jar, form)
        back = urllib.parse.parse_qs(urllib.parse.urlsplit(answer.headers.get("Location", "")).query)
        if "code" not in back:
            raise RuntimeError(f"no code: {answer.status} {answer.headers.get('Location')}")
        form = {
            "grant_type": "authorization_code", "client_id": client, "code": back["code"][0],
            "redirect_uri": CALLBACK, "code_verifier": verifier,
        }
        return self.keycloak.granted(ask("POST", f"{self.keycloak.oidc}/token", form=form))

    def log_out(self, granted):
        """RP-initiated logout, at the end of which the browser is sent back."""
        query = {"id_token_hint": granted["id_token"], "post_logout_redirect_uri": CALLBACK}
        answer = ask("GET", f"{self.keycloak.oidc}/logout?{urllib.parse.urlencode(query)}", self.jar)
        if not (answer.headers.get("Location") or "").startswith(CALLBACK):
            raise RuntimeError(f"not logged out: {answer.status} {answer.body[:300]}")
