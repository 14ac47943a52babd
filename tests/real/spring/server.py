"""Spring Authorization Server from Maven's packages, and browsers that log in to it."""

import html
import re
import shutil
from pathlib import Path

import authorization
from kit import Skip, build, cache
from web import ask

# Of the Spring Boot that app/pom.xml names.
VERSION = "7.0.6"
APP = Path(__file__).resolve().parent / "app"
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"


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


class Server(authorization.Server):
    """One that keeps its keys when it is started again, and nothing else. It sends no logout tokens."""

    logs_out = False
    algorithms = ["RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]

    def __init__(self, home, folder):
        super().__init__(folder)
        self.home, self.secret = home, self.secret_of("gate")

    def start(self):
        """Starts it, again too."""
        command = [
            "java", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-cp", f"{self.home}/classes:{self.home}/lib/*",
            "-Dserver.address=127.0.0.1", f"-Dserver.port={self.port}", "-Dspring.main.banner-mode=off",
            "-Dlogging.level.root=warn", "Server", self.base, self.folder / "keys.json",
        ]
        self.begin("spring", command, f"{self.base}/oauth2/jwks")

    def secret_of(self, client):
        """It wants another one for each client."""
        return f"a-secret-of-{client}"

    def token(self, resource="orders", scope="orders.read", algorithm="", is_opaque=False):
        """A token of a client for an audience, or for none."""
        asked = {name: value for name, value in {"audience": resource, "algorithm": algorithm}.items() if value}
        return self.granted("svc-opaque" if is_opaque else "svc", scope=scope, **asked)

    def revoke(self, token):
        self.taken_back("svc-opaque", token)

    def exchange(self, client, form):
        """What a client is given for a code."""
        return self.post(self.token_path, client, **form)

    def log_in(self, name, is_opaque=False):
        """Somebody's browser, after a log-in."""
        browser = authorization.Browser(self)

        def page(at, answer):
            hidden = re.search(r'name="_csrf"[^>]*\svalue="([^"]+)"', answer.body.decode())
            form = {"username": name, "password": "of nobody", "_csrf": html.unescape(hidden[1])}
            return ask("POST", at, browser.jar, form=form)

        browser.code("/oauth2/authorize", "web-opaque" if is_opaque else "web", page, scope="openid orders.read")
        return browser
