"""The plugin image and tools that push it: the digest that `make image` prints is the registry's, way by way."""

import re
import shutil
import subprocess
import tarfile

from kit import REPOSITORY, Row, Skip, attempts, expect, run

from .registry import CRANE, REGCTL, Registry, installed, skopeo, version

ARCHIVE, FOLDER = "dist/portcullis-image.tar", "dist/portcullis-image"
NAME = "portcullis:real"
SYSTEM = "`make image`"


def printed():
    """Writes the image: the digest that is printed for each command, by what stands before the registry's name."""
    text = run("python3", "-B", REPOSITORY / "scripts" / "image", "--name", NAME)
    digests, waiting = {}, []
    for line in map(str.strip, text.splitlines()):
        if line.startswith("sha256: "):
            digests.update(dict.fromkeys(waiting, line.removeprefix("sha256: ")))
            waiting = []
        elif line:
            waiting.append(line.split("   ")[0])
    return digests


class Ways:
    """Each way to push the image, as it is printed."""

    def __init__(self, folder):
        self.folder, self.digests = folder, printed()
        self.programs = installed()
        self.registry = Registry(self.programs, folder)

    def stop(self):
        self.registry.stop()

    def command(self, begins, parts):
        """The one line that is printed for a tool, and its digest."""
        found = [line for line in self.digests if line.startswith(begins) and all(part in line.split() for part in parts)]
        expect(f"what is printed for {begins}", len(found), 1)
        return found[0], self.digests[found[0]]

    def pushed(self, tool, begins, parts, tag, *options, **more):
        """Runs the line with another name for the registry; what is in the registry then is what was printed."""
        line, expected = self.command(begins, parts)
        at = f"{self.registry.at}/portcullis:{tag}"
        words = [word.replace(f"REGISTRY/{NAME}", at) for word in line.split()]
        run(tool, *words[1:], *options, cwd=REPOSITORY, **more)
        expect("the digest in the registry", self.registry.digest("portcullis", tag), f"sha256:{expected}")
        # What an agent takes out of it.
        layers = self.folder / f"{tag}.tar"
        run(self.programs / "crane", "export", f"{self.registry.at}/portcullis@sha256:{expected}", layers)
        with tarfile.open(layers) as archive:
            found = {member.name: archive.extractfile(member).read() for member in archive}
        module = (REPOSITORY / "dist" / "portcullis.wasm").read_bytes()
        expect("its files", found == {"plugin.wasm": module}, True)
        return "the registry's digest is the one that is printed, and `plugin.wasm` is the module"

    def rows(self):
        yield f"crane {version(CRANE)}: `crane push {FOLDER}`", self.of_the_folder
        yield f"`crane push {ARCHIVE}` (another manifest)", self.of_the_archive
        yield f"regctl {version(REGCTL)}: `regctl image import`", self.imported

    def of_the_folder(self):
        return self.pushed(self.programs / "crane", "crane push", [FOLDER], "folder")

    def of_the_archive(self):
        return self.pushed(self.programs / "crane", "crane push", [ARCHIVE], "archive")

    def imported(self):
        regctl, home = self.programs / "regctl", {"REGCTL_CONFIG": str(self.folder / "regctl.json")}
        run(regctl, "registry", "set", self.registry.at, "--tls", "disabled", env=home)
        return self.pushed(regctl, "regctl image import", [ARCHIVE], "imported", env=home)

    def copied(self, program, environment):
        options = ["--insecure-policy", "--dest-tls-verify=false"]
        return self.pushed(program, "skopeo copy", [f"oci-archive:{ARCHIVE}"], "copied", *options, env=environment)


def with_skopeo(ways):
    """The row of skopeo: the one that is installed, or else Debian's."""
    program, environment = shutil.which("skopeo"), None
    if not program:
        program, environment = skopeo()
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, env=environment)
    if said.returncode:
        raise Skip(f"skopeo does not run: {said.stderr.strip()[-200:]}")
    number = re.search(r"[\d.]+", said.stdout)[0]
    return f"skopeo {number}: `skopeo copy oci-archive:`", lambda: ways.copied(program, environment)


def rows(folder):
    """All rows; see the module."""
    ways = Ways(folder)
    try:
        yield from attempts(SYSTEM, ways.rows())
        try:
            yield from attempts(SYSTEM, [with_skopeo(ways)])
        except Skip as skip:
            yield Row(SYSTEM, "skopeo", f"left out: {skip}", None)
    finally:
        ways.stop()
