"""Keycloak from Maven's packages. What is built of this file is kept under its digest."""

import hashlib
import re
import shutil
import subprocess
import sys

from kit import Skip, build, cache

VERSION = "26.7.3"
# The SHA-256 of its archive.
DIGEST = "27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f"
OLDEST_JAVA = 17
# Of the plugin that fetches the package.
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"


def installed():
    """The folder of an unpacked Keycloak that is built for a database in a file. Says what is missing."""
    for program in ("java", "mvn"):
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    if not found or int(found[1]) < OLDEST_JAVA:
        raise Skip(f"Java is older than {OLDEST_JAVA}: {said.splitlines()[:1]}")

    def commands(fresh):
        name = "org.keycloak:keycloak-quarkus-dist"
        yield [
            "mvn", "--quiet", "--batch-mode", f"{PLUGIN}:copy", f"-Dartifact={name}:{VERSION}:zip",
            f"-DoutputDirectory={fresh}",
        ]
        archive = f"keycloak-quarkus-dist-{VERSION}.zip"
        came = hashlib.sha256((fresh / archive).read_bytes()).hexdigest()
        if came != DIGEST:
            raise RuntimeError(f"{archive} is another one: its SHA-256 is {came}, not {DIGEST}")
        yield [sys.executable, "-m", "zipfile", "--extract", archive, "."]
        # That does not keep which files are programs.
        yield ["sh", "-c", f"rm {archive} && mv keycloak-{VERSION} keycloak && chmod +x keycloak/bin/*.sh"]
        yield ["keycloak/bin/kc.sh", "build", "--db=dev-file", "--health-enabled=false"]

    return build(cache(f"keycloak-{VERSION}", __file__), commands, f"Keycloak {VERSION}") / "keycloak"
