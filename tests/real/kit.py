"""What every real system needs to be tried beside the gate: a place for what is fetched, the stack of `make run`, other
servers beside it, and rows that say what was seen."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
# The deadline of a wait for what must come.
SOON = 120
# What the packages from npm ask for.
OLDEST_NODE = 20


class Skip(Exception):
    """Something that a system needs is not to be had: what."""


class Row(NamedTuple):
    """One thing that was tried with one system, and what came of it."""

    system: str
    tried: str
    seen: str
    # True, False, or None for what was left out.
    held: bool | None


class Wrong(Exception):
    """What was seen, where it is not what should be."""


def expect(what, seen, expected):
    if seen != expected:
        raise Wrong(f"{what}: {seen}, not {expected}")


def attempts(system, tries):
    """A row for each of what is tried: a name, and what tries it and says what was seen."""
    for tried, attempt in tries:
        try:
            yield Row(system, tried, attempt(), True)
        except Wrong as wrong:
            yield Row(system, tried, str(wrong), False)


def span(times):
    """`0.31 to 1.05 s`"""
    return f"{min(times):.2f} to {max(times):.2f} s"


def eventually(what, probe, seconds=SOON):
    """What `probe` answers, as soon as that is something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := probe():
            return found
        time.sleep(0.05)
    raise RuntimeError(f"waited {seconds} s for {what}")


def cache(name, *of):
    """The folder of the user's cache for what is built of these files. It is outside of the clone, so that a fresh one has
    it, too."""
    digest = hashlib.sha256(b"".join(Path(file).read_bytes() for file in of) + sys.version.encode()).hexdigest()
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portcullis" / "real"
    return base / f"{name}-{digest[:16]}"


def build(folder, commands, what, seconds=600, **more):
    """Runs commands in a new folder, which gets its name only when all of them have succeeded."""
    if folder.exists():
        return folder
    fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
    fresh.mkdir(parents=True)
    try:
        for command in commands(fresh):
            done = subprocess.run(
                command, cwd=fresh, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False,
                **more,
            )
            if done.returncode:
                raise Skip(f"{what} cannot be installed: {(done.stderr or done.stdout).strip()[-300:]}")
        try:
            fresh.rename(folder)
        except OSError:
            # Another run was ready first.
            pass
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Skip(f"{what} cannot be installed: {error}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def python(name, requirements):
    """The Python of a virtual environment with just what the file says."""
    def commands(fresh):
        yield [sys.executable, "-m", "venv", "--copies", "."]
        yield [
            fresh / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--require-hashes", "--requirement", requirements,
        ]

    return build(cache(name, requirements), commands, name) / "bin/python"


def npm(name, folder):
    """A folder with the packages of `folder`, and its scripts."""
    for program in ("node", "npm"):
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")
    found = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    if not found.startswith("v") or int(found[1:].split(".")[0]) < OLDEST_NODE:
        raise Skip(f"node is {found}, and the packages want {OLDEST_NODE} or newer")
    scripts = sorted(folder.glob("*.mjs"))

    def commands(fresh):
        for file in [folder / "package.json", folder / "package-lock.json", *scripts]:
            shutil.copy(file, fresh)
        yield ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--fetch-retries=1"]

    built = cache(name, folder / "package.json", folder / "package-lock.json")
    built = build(built, commands, name)
    for script in scripts:
        shutil.copy(script, built)
    return built


def go(name, folder, programs, flags=(), is_c=False):
    """The folder of programs that are built of the Go module in `folder`, which names all that goes into them. `programs`
    are its packages; `is_c` says that some of it is written in C."""
    if not shutil.which("go"):
        raise Skip("go is not installed")
    if is_c and not shutil.which("cc"):
        raise Skip("there is no C compiler")
    sources = sorted(file for file in folder.rglob("*") if file.is_file())

    def commands(fresh):
        shutil.copytree(folder, fresh / "source")
        for program in programs:
            yield [
                "nice", "-n", "5", "go", "build", "-C", "source", "-p", "2", "-mod=readonly", "-trimpath", *flags, "-o", "..",
                program,
            ]

    environment = {**os.environ, "CGO_ENABLED": "1" if is_c else "0", "GOFLAGS": ""}
    return build(cache(name, *sources), commands, name, seconds=7200, env=environment)


def module(path, version, digest):
    """The folder of a Go module, for the files in it."""
    if not shutil.which("go"):
        raise Skip("go is not installed")
    command = ["go", "mod", "download", "-json", f"{path}@{version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        raise Skip(f"{path} {version} cannot be had: {done.stdout.strip()[-300:]}")
    said = json.loads(done.stdout)
    if said["Sum"] != digest:
        raise RuntimeError(f"{path} {version} is another one: its sum is {said['Sum']}, not {digest}")
    return Path(said["Dir"])


def debian(name, *packages):
    """The folder of packages of Debian's, unpacked and not installed. `one|other` is whichever there is: libraries change
    their names."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise Skip(f"{name} is taken from Debian's packages, and there is no apt-get")

    def is_known(package):
        return subprocess.run(["apt-cache", "show", package], capture_output=True, check=False).returncode == 0

    def commands(fresh):
        # It downloads as another user where it is started as root.
        fresh.chmod(0o777)
        yield ["apt-get", "download", *(next(filter(is_known, each.split("|")), each) for each in packages)]
        for archive in sorted(fresh.glob("*.deb")):
            yield ["dpkg-deb", "--extract", archive, "."]
            archive.unlink()

    return build(cache(name), commands, name)


def run(*command, **more):
    """What a command prints, which must succeed."""
    done = subprocess.run(
        [str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SOON, check=False,
        **more,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout


def certificate(folder, *names):
    """A certificate for these names that is its own authority, `tls.crt`, with `tls.key`; in place of one that was there."""
    if not shutil.which("openssl"):
        raise Skip("openssl is not installed")
    alternatives = ",".join(f"DNS:{name}" for name in names)
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=throw-away", "-addext", f"subjectAltName={alternatives}",
        "-keyout", folder / "tls.key.new", "-out", folder / "tls.crt.new",
    )
    for name in ("tls.key", "tls.crt"):
        (folder / f"{name}.new").rename(folder / name)
    return folder / "tls.crt"


def built(program):
    """A program of this repository, built as the tests build it: with features of its package alone it would be compiled
    once more."""
    subprocess.run(["cargo", "build", "--quiet", "--workspace", "--bin", program], cwd=REPOSITORY, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "debug" / program


def portcullis():
    """The tool: that of the environment, or else the repository's."""
    return Path(os.environ.get("PORTCULLIS") or built("portcullis"))


def envoy(version=None):
    """An Envoy: that of the environment, or else the one that the tests use, or one of this version."""
    environment = {**os.environ, **({"ENVOY_VERSION": version} if version else {})}
    named = os.environ.get("ENVOY") or subprocess.run(
        [built("envoy-path")], cwd=REPOSITORY, check=True, capture_output=True, text=True, env=environment,
    ).stdout.strip()
    return Path(named)


def free_port():
    """A port of loopback that nobody uses."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Program:
    """A running program. Its input takes lines, and what it prints is read line by line, or goes to its log where nobody
    does: a program waits whose output nobody takes."""

    def __init__(self, command, log, is_heard=True, **more):
        # A program that opens its own output once more, as Envoy does, would write over what is there.
        self.log = open(log, "wb", opener=lambda path, flags: os.open(path, flags | os.O_APPEND, 0o644))
        self.child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE if is_heard else self.log, stderr=self.log,
            text=True, bufsize=1, start_new_session=True, **more,
        )

    def say(self, line):
        try:
            self.child.stdin.write(line + "\n")
            self.child.stdin.flush()
        except OSError:
            pass

    def hear(self):
        """The next line, empty at the end."""
        return self.child.stdout.readline().rstrip("\n")

    def stop(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.child.poll() is None:
                try:
                    os.killpg(self.child.pid, number)
                    self.child.wait(10)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    pass
        self.log.close()


class Stack:
    """The stack of `make run`, with more MCP servers behind the gate: a name and a port of each."""

    def __init__(self, folder, mcp_servers):
        servers = ",".join(f"{name}=127.0.0.1:{port}" for name, port in mcp_servers.items())
        environment = {**os.environ, "MCP_SERVERS": servers, "NO_COLOR": "1"}
        environment.pop("ONCE", None)
        command = [str(built("walk"))]
        self.program = Program(command, folder / "stack.log", cwd=REPOSITORY, env=environment)
        self.mcp, self.idp, heard = {}, "", []
        while not heard or "Ctrl-C" not in heard[-1]:
            line = self.program.hear()
            if not line and self.program.child.poll() is not None:
                log = (folder / "stack.log").read_text(errors="replace")
                raise RuntimeError("the stack did not start:\n" + "\n".join(heard[-20:]) + log)
            heard.append(line)
            words = line.split()
            if line.startswith("  MCP server"):
                self.mcp[words[2] if len(words) > 3 else "own"] = words[-1]
            elif line.startswith("  identity provider"):
                self.idp = words[-1]
        self.walk = next(line.strip() for line in heard if "steps came out" in line)

    def ask(self, path, form=None):
        """What the identity provider answers."""
        data = urllib.parse.urlencode(form).encode() if form is not None else None
        with urllib.request.urlopen(self.idp + path, data, timeout=30) as answer:
            return json.load(answer)

    def token(self, resource, scope):
        """A token of alice for a resource."""
        return self.ask("/token", {"aud": resource, "scope": scope, "ttl": "3600"})["access_token"]

    def stop(self):
        self.program.stop()
