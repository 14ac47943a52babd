"""Clients and servers made with MCP's SDKs: each client comes to each server with nothing but a URL, and no request that
a client of lesser scopes can write runs a tool that is not for it."""

import os
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

from kit import Program, Row, Skip, Stack, eventually, free_port, npm, python

from . import shapes

HERE = Path(__file__).resolve().parent
OLDER, NEWEST = "2025-11-25", "2026-07-28"
# For how long a token counts that is to run out.
SHORT, LONG = 3, 300
# A step of a client may take so many seconds.
PATIENCE = 60
SCOPES = ["mcp:use", "files:read", "files:write"]
# How FastMCP's client opens a page: this browser goes where it is sent, and shows nothing.
# It comes again while the client does not yet listen.
BROWSER = "curl --silent --location --retry 30 --retry-delay 1 --retry-connrefused --output /dev/null %s &"


class Client(NamedTuple):
    """A client: how it is called, what it was built of, its program, the revision it speaks, the name that it registers."""

    system: str
    of: str
    command: list
    speaks: str
    registers: str


class Server(NamedTuple):
    """A server: how it is called, what it was built of, its program, the newest revision it speaks."""

    system: str
    of: str
    command: list
    speaks: str


CLIENTS = [
    Client("PyPI mcp 1.30.0", "python-1", [HERE / "client_python.py"], OLDER, "mcp 1.30.0"),
    Client("PyPI mcp 2.3.0", "python-2", [HERE / "client_python.py"], NEWEST, "mcp 2.3.0"),
    Client("PyPI fastmcp 4.2.3", "fastmcp", [HERE / "client_fastmcp.py"], NEWEST, "FastMCP Client"),
    Client("npm @modelcontextprotocol/sdk 1.32.2", "npm", ["client_sdk.mjs"], OLDER, "sdk"),
    Client("npm @modelcontextprotocol/client 2.4.0", "npm", ["client_npm.mjs"], OLDER, "client"),
    Client(
        "npm @modelcontextprotocol/client 2.4.0, `versionNegotiation: auto`", "npm", ["client_npm.mjs"], NEWEST,
        "client, newest",
    ),
    Client("npm @modelcontextprotocol/client 2.4.0, so, in a page of another origin in {browser}", "chromium", ["client_browser.mjs"], NEWEST, "page"),
]

SERVERS = {
    "python-1": Server("PyPI mcp 1.30.0", "python-1", [HERE / "server_python.py"], OLDER),
    "python-2": Server("PyPI mcp 2.3.0", "python-2", [HERE / "server_python.py"], NEWEST),
    "sdk": Server("npm @modelcontextprotocol/sdk 1.32.2", "npm", ["server_sdk.mjs"], OLDER),
    "server": Server("npm @modelcontextprotocol/server 2.4.0", "npm", ["server_npm.mjs"], NEWEST),
}


def installed():
    """What each `of` is started with, and where; or why it cannot be."""
    def get(of):
        try:
            if of == "npm":
                folder = npm("mcp-npm", HERE)
                return ["node"], folder
            return [python(f"mcp-{of}", HERE / f"{of}.txt")], HERE
        except Skip as skip:
            return skip

    names = ["python-1", "python-2", "fastmcp", "npm"]
    with ThreadPoolExecutor() as pool:
        all_of = dict(zip(names, pool.map(get, names)))
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    all_of["chromium"] = all_of["npm"] if browser else Skip("there is no Chromium")
    return all_of, browser


def rows(folder):
    """All rows; see the module."""
    parts, browser = installed()
    for of, part in parts.items():
        if isinstance(part, Skip):
            yield Row(of, "all of it", f"left out: {part}", None)
    started = []
    try:
        behind, before = {}, {}
        for name, server in SERVERS.items():
            if not isinstance(parts[server.of], Skip):
                # One behind the gate, and one that everybody reaches.
                behind[name] = start(folder, f"server-{name}", server, parts, started)
                before[name] = start(folder, f"open-{name}", server, parts, started)
        stack = Stack(folder, {name: port for name, (port, _) in behind.items()})
        started.append(stack)
        yield Row("`make run`", "its walk, with these servers beside its own", stack.walk, stack.walk.startswith("All "))
        for name, url in stack.mcp.items():
            known = SERVERS.get(name)
            server = known.system if known else "the demo's own server"
            yield from meet(folder, stack, parts, browser, name, server, url, known.speaks if known else NEWEST)
        with ThreadPoolExecutor() as pool:
            yield from pool.map(
                lambda name: shapes.row(SERVERS[name].system, stack.mcp[name], stack, behind[name][1], *before[name]),
                behind,
            )
    finally:
        for program in reversed(started):
            program.stop()


def start(folder, name, server, parts, started):
    """Starts a server: its port, and the file of its marks."""
    port, marks = free_port(), folder / f"{name}.marks"
    marks.touch()
    program, where = parts[server.of]
    command = [*program, *server.command, port, marks]
    started.append(Program(command, folder / f"{name}.log", is_heard=False, cwd=where))

    def listens():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    eventually(f"{server.system} to listen", listens)
    return port, marks


class Visit:
    """A client on its way through one server."""

    def __init__(self, client, program):
        self.client, self.program, self.came = client, program, {}

    def take(self, step):
        self.program.say(step)
        _, _, self.came[step] = self.program.hear().partition(" -> ")


def meet(folder, stack, parts, browser, name, server, url, speaks):
    """Every client at one server, all at the same time: they log in, call a tool, log in again for the next one, and once
    more, or refresh, when the token has run out."""
    visits = []
    for number, client in enumerate(CLIENTS):
        if isinstance(parts[client.of], Skip):
            continue
        program, where = parts[client.of]
        more = {NEWEST: ["newest"]}.get(client.speaks, []) if client.command == ["client_npm.mjs"] else []
        more = [browser] if client.of == "chromium" else more
        command = [*program, *client.command, url, *more]
        log = folder / f"client-{name}-{number}.log"
        visits.append(Visit(client, Program(command, log, cwd=where, env={**environment(), "BROWSER": BROWSER})))
    if not visits:
        return
    try:
        with ThreadPoolExecutor(len(visits)) as pool:
            def all_take(step):
                taken = {pool.submit(visit.take, step): visit for visit in visits}
                for late in wait(taken, PATIENCE).not_done:
                    # Its output ends, and so does the wait for a line.
                    taken[late].program.stop()
                return len(stack.ask("/granted"))

            seen = len(stack.ask("/granted"))
            for step in ("connect", "tools", "read once"):
                all_take(step)
            stack.ask("/token-lifetime", {"seconds": SHORT})
            before = all_take("write once")
            time.sleep(SHORT + 1)
            stack.ask("/token-lifetime", {"seconds": LONG})
            all_take("read again")
        granted = [(at, grant) for at, grant in enumerate(stack.ask("/granted")) if at >= seen]
        for visit in visits:
            own = [
                (at >= before, grant) for at, grant in granted
                if grant["resource"] == url and grant["client_name"] == visit.client.registers
            ]
            system = visit.client.system.format(browser=version_of(browser))
            yield judged(system, visit.came, server, min(visit.client.speaks, speaks), own)
    finally:
        for visit in visits:
            visit.program.stop()


def version_of(browser):
    """`Chromium 156`, say."""
    said = subprocess.run([browser, "--version"], capture_output=True, text=True, check=False).stdout if browser else ""
    return ".".join(said.split(".")[:1]) or "Chromium"


def environment():
    # A proxy of the machine's knows nothing of what is on it.
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def judged(system, came, server, speaks, granted):
    """The row of a client at a server: by what came of each step, and what it was granted, each with whether that was after
    its token had run out."""
    wrong = [
        f"{step}: {came.get(step)!r}, not {expected!r}"
        for step, expected in {
            "connect": speaks, "tools": "read,write", "read once": "read ran", "write once": "write ran",
            "read again": "read ran",
        }.items()
        if not (came.get(step) or "").startswith(expected)
    ]
    scopes = [set(grant["scope"].split()) & set(SCOPES) for _, grant in granted]
    # That it was asked for no more than it needed is what makes the next log-in one.
    ways = [{"mcp:use"}, {"mcp:use", "files:read"}, set(SCOPES)]
    if [scope for at, scope in enumerate(scopes) if at == 0 or scope != scopes[at - 1]][:3] != ways:
        wrong.append(f"it was granted {[sorted(scope) for scope in scopes]}")
    again = [grant["grant_type"] for is_after, grant in granted if is_after]
    if not again:
        wrong.append("it was given no other token when its own had run out")
    tried = f"at {server}"
    if wrong:
        return Row(system, tried, "; ".join(wrong), False)
    how = "a refresh token" if "refresh_token" in again else "another log-in"
    return Row(system, tried, f"log-in, `read`, step-up to `write`, in {speaks}; when its token had run out, {how}", True)
