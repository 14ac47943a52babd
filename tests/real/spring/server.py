"""Spring Authorization Server from Maven's packages, and browsers that log in to it."""

import base64
import hashlib
import html
import http.cookiejar
import re
import secrets
import shutil
import subprocess
import urllib.parse
from pathlib import Path

from kit import Program, Skip, build, cache, eventually, free_port
from web import ask

# Of the Spring Boot that app/pom.xml names.
VERSION = "7.0.6"
APP = Path(__file__).resolve().parent / "app"
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
CALLBACK = "http://127.0.0.1:9/back"


def installed():
    """The folder of its packages, and of our server's classes."""
    for program in ("java", "javac", "mvn"):
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")

    def commands(fresh):
        for file in APP.iterdir():
            shutil.copy(file, fresh)
        yield ["mvn", "--quiet", "--batch-mode", f"{PLUGIN}:copy-dependencies", f"-DoutputDirectory={fresh}/lib"]
        yield ["javac", "--release", "17", "-cp", "lib/*", "-d", "classes", "Server.java"]

    return build(cache(f"spring-{VERSION}", *sorted(APP.iterdir())), commands, f"Spring Authorization Server {VERSION}")


class Server:
    """One that runs. It keeps its keys when it is started again, and nothing else."""

    signs_by_newest = False
    secret, logs_out, remembers = "a-secret-of-gate", False, False
    algorithms = ["RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]

    def __init__(self, home, folder):
        self.home, self.folder, self.port, self.program = home, folder, free_port(), None
        self.admin_port = self.port
        self.base = self.issuer = f"http://127.0.0.1:{self.port}"
        self.receiver = ""

    @staticmethod
    def placed(recipe):
        """The recipe needs nothing more."""
        return recipe

    def start(self):
        """Starts it, again too."""
        command = [
            "java", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-cp", f"{self.home}/classes:{self.home}/lib/*",
            "-Dserver.address=127.0.0.1", f"-Dserver.port={self.port}", "-Dspring.main.banner-mode=off",
            "-Dlogging.level.root=warn", "Server", self.base, self.folder / "keys.json",
        ]
        log = self.folder / "spring.log"
        self.program = Program(command, log)

        def is_up():
            if self.program.child.poll() is not None:
                raise RuntimeError(log.read_text(errors="replace")[-3000:] + self.program.child.stdout.read()[-3000:])
            try:
                return ask("GET", f"{self.base}/oauth2/jwks").status == 200
            except OSError:
                return False

        eventually("Spring Authorization Server", is_up)

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
        shown = base64.b64encode(f"{client}:a-secret-of-{client}".encode()).decode()
        answer = ask("POST", self.base + path, form=form, headers={"Authorization": f"Basic {shown}"})
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {answer.body[:300]}")
        return answer

    def token(self, resource="orders", scope="orders.read", algorithm="", is_opaque=False):
        """A token of a client for an audience, or for none."""
        asked = {"audience": resource, "algorithm": algorithm}
        form = {"grant_type": "client_credentials", "scope": scope, **{key: value for key, value in asked.items() if value}}
        return self.post("/oauth2/token", "svc-opaque" if is_opaque else "svc", **form).json()["access_token"]

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

    def log_in(self, name, client):
        """The client is granted tokens, once somebody has logged in."""
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "client_id": client, "response_type": "code", "redirect_uri": CALLBACK, "scope": "openid orders.read",
            "code_challenge": challenge, "code_challenge_method": "S256",
        }
        at = f"{self.server.base}/oauth2/authorize?{urllib.parse.urlencode(query)}"
        for _ in range(10):
            answer = ask("GET", at, self.jar, headers={"Accept": "text/html"})
            if answer.status == 200:
                hidden = re.search(r'name="_csrf"[^>]*\svalue="([^"]+)"', answer.body.decode())
                form = {"username": name, "password": "of nobody", "_csrf": html.unescape(hidden[1])}
                answer = ask("POST", at, self.jar, form=form)
            if not answer.headers.get("Location"):
                raise RuntimeError(f"{at}: {answer.status} {answer.body[:300]}")
            at = urllib.parse.urljoin(at, answer.headers["Location"])
            if at.startswith(CALLBACK):
                break
        back = urllib.parse.parse_qs(urllib.parse.urlsplit(at).query)
        if "code" not in back:
            raise RuntimeError(f"no code: {at}")
        self.granted = self.server.post(
            "/oauth2/token", client, grant_type="authorization_code", code=back["code"][0], redirect_uri=CALLBACK,
            code_verifier=verifier,
        ).json()
