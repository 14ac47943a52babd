"""What is around the programs: names, certificates, and containers. All of it is in a network of its own, where nobody
else is, and where any address and port may be taken."""

import http.client
import http.server
import socket
import socketserver
import ssl
import struct
import threading
from pathlib import Path

from kit import Program, run

POD = Path(__file__).resolve().parent / "pod.sh"


class _Question(socketserver.BaseRequestHandler):
    """One question of DNS. Only names of the list are known, and each has one IPv4 address."""

    def handle(self):
        question, reply_to = self.request
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode().lower())
            at += question[at] + 1
        asked, kind = question[12:at + 5], struct.unpack("!H", question[at + 1:at + 3])[0]
        address = self.server.names.get(".".join(labels))
        answers = b""
        if address and kind == 1:
            answers = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 5, 4) + socket.inet_aton(address)
        flags = 0x8180 if address else 0x8183
        head = question[:2] + struct.pack("!HHHHH", flags, 1, 1 if answers else 0, 0, 0)
        reply_to.sendto(head + asked + answers, self.client_address)


class Names:
    """The DNS of this network."""

    def __init__(self, names):
        self.server = socketserver.ThreadingUDPServer(("127.0.0.1", 53), _Question)
        self.server.daemon_threads = True
        self.server.names = self.names = names
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class _Forward(http.server.BaseHTTPRequestHandler):
    """One request, asked of the server behind."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        behind = http.client.HTTPConnection("127.0.0.1", self.server.leads_to, timeout=30)
        behind.request(self.command, self.path, headers={"Accept": self.headers.get("Accept", "*/*")})
        answer = behind.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "content-length", "date", "server", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.headers.get("Content-Length") or str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        behind.close()

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


class Front:
    """HTTPS at an address, in front of a server that speaks none."""

    def __init__(self, address, port, certificate):
        self.server = http.server.ThreadingHTTPServer((address, 443), _Forward)
        self.server.daemon_threads, self.server.leads_to = True, port
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Pods:
    """Runs containers. Each trusts one authority, as the system's."""

    def __init__(self, folder, authority):
        self.folder, self.count = folder / "pods", 0
        self.folder.mkdir()
        (self.folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions ndots:1\n")
        (self.folder / "hosts").write_text("127.0.0.1 localhost\n")
        (self.folder / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
        self.always = {
            "/etc/resolv.conf": self.folder / "resolv.conf", "/etc/hosts": self.folder / "hosts",
            "/etc/passwd": self.folder / "passwd", "/etc/ssl/certs/ca-certificates.crt": authority,
        }

    def start(self, name, command, mounts, environment):
        """`command` begins with the program's file; `mounts` says what is at which path of the container."""
        self.count += 1
        root = self.folder / f"{name}-{self.count}"
        root.mkdir()
        program = f"/program/{Path(command[0]).name}"
        listed = {**self.always, program: command[0], **mounts}
        table = self.folder / f"{name}-{self.count}.mounts"
        table.write_text("".join(f"{source}\t{target}\n" for target, source in listed.items()))
        log = self.folder / f"{name}-{self.count}.log"
        started = Program(
            ["unshare", "--mount", "sh", POD, root, table, program, *command[1:]], log, is_heard=False,
            env={"PATH": "/program:/usr/sbin:/usr/bin:/sbin:/bin", **environment},
        )
        started.path = log
        return started


def addresses(*all_of_them):
    """Makes loopback have these, too."""
    run("ip", "link", "set", "lo", "up")
    for address in all_of_them:
        run("ip", "address", "add", f"{address}/32", "dev", "lo")
