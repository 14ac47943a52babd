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


def build(folder, commands, what):
    """Runs commands in a new folder, which gets its name only when all of them have succeeded."""
    if folder.exists():
        return folder
    fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
    fresh.mkdir(parents=True)
    try:
        for command in commands(fresh):
            done = subprocess.run(command, cwd=fresh, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
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


def built(program):
    """A program of this repository, built as the tests build it: with features of its package alone it would be compiled
    once more."""
    subprocess.run(["cargo", "build", "--quiet", "--workspace", "--bin", program], cwd=REPOSITORY, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "debug" / program


def portcullis():
    """The tool: that of the environment, or else the repository's."""
    return Path(os.environ.get("PORTCULLIS") or built("portcullis"))


def envoy():
    """An Envoy: that of the environment, or else the one that the tests use."""
    named = os.environ.get("ENVOY") or subprocess.run(
        [built("envoy-path")], cwd=REPOSITORY, check=True, capture_output=True, text=True,
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
        self.log = open(log, "wb")
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
