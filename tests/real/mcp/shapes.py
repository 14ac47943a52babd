"""Requests by which a client of lesser scopes could try to run a tool that is not for it: what the gate reads in one way
and a server in another. The token of all of them may use `read`; whatever runs `write` has got round the gate.

The tool itself says that it ran: it leaves a mark with the name of the shape.
"""

import gzip
import json
import socket
import time
import zlib

from kit import Row, eventually

OLDER, NEWEST = "2025-11-25", "2026-07-28"
PREFIX = "io.modelcontextprotocol/"
TYPE, BOTH = ("content-type", "application/json"), ("accept", "application/json, text/event-stream")
USUAL = [TYPE, BOTH]
# An answer that is to come is there after so many seconds.
ANSWERED = 3
# Between the parts of a body that comes slowly.
PAUSE = 0.03
CALL, READ, WRITE = ("mcp-method", "tools/call"), ("mcp-name", "read"), ("mcp-name", "write")
# Base64 of `read` and of `write`, as header fields of the newest revision may have names.
READ_ENCODED, WRITE_ENCODED = ("mcp-name", "=?base64?cmVhZA==?="), ("mcp-name", "=?base64?d3JpdGU=?=")


def version(text):
    return ("mcp-protocol-version", text)


def meta(text):
    return {PREFIX + "protocolVersion": text, PREFIX + "clientCapabilities": {}, PREFIX + "clientInfo": {"name": "s", "version": "1"}}


def call(tool, label, in_meta=None, **others):
    """A call of a tool, which is to leave the label as its mark."""
    params = {"name": tool, "arguments": {"text": label}}
    if in_meta:
        params["_meta"] = meta(in_meta)
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params, **others}


def text(message):
    return json.dumps(message, ensure_ascii=False).encode()


def members(label, *pairs, in_meta=None):
    """The params of a call with members in this order, names twice among them."""
    more = [f'"_meta":{json.dumps(meta(in_meta))}'] if in_meta else []
    inner = ",".join([f'"{name}":{json.dumps(value)}' for name, value in pairs] + [f'"arguments":{{"text":"{label}"}}', *more])
    return "{" + inner + "}"


def message(params, *, method='"method":"tools/call"', begin='"jsonrpc":"2.0","id":7'):
    return ("{" + begin + "," + method + ',"params":' + params + "}").encode()


def fields():
    """Header fields that say something else than the body, or nothing: what they are, the fields, and the revision that the
    body names."""
    for said in (NEWEST, OLDER, "2026-07-29", "2025-03-26", "DRAFT-2026", None):
        own = [version(said)] if said else []
        for named in (NEWEST, OLDER, None):
            yield f"fields for read, {said}, body {named}", [*own, CALL, READ], named
        yield f"no fields, {said}", own, said if said == NEWEST else None
        yield f"fields for write, {said}", [*own, CALL, WRITE], said if said == NEWEST else None
        yield f"a list in the field, {said}", [*own, ("mcp-method", "tools/list")], None
        yield f"ping in the field, {said}", [*own, ("mcp-method", "ping"), READ], said
    newest = version(NEWEST)
    for what, more in {
        "read, then write": [CALL, READ, WRITE],
        "write, then read": [CALL, WRITE, READ],
        "both in one field": [CALL, ("mcp-name", "read, write")],
        "a list, then a call": [("mcp-method", "tools/list"), CALL, WRITE],
        "a call, then a list": [CALL, ("mcp-method", "tools/list"), WRITE],
        "read encoded": [CALL, READ_ENCODED],
        "write encoded": [CALL, WRITE_ENCODED],
        "read encoded, then write": [CALL, READ_ENCODED, WRITE],
        "an encoding that is none": [CALL, ("mcp-name", "=?base64?!!!?=")],
        "another case": [("mcp-method", "TOOLS/CALL"), ("mcp-name", "Read")],
        "names in another case": [("MCP-METHOD", "tools/call"), ("Mcp-Name", "read")],
        "blanks around": [CALL, ("mcp-name", "  read\t ")],
        "empty": [("mcp-method", ""), ("mcp-name", "")],
        "underscores": [("mcp_method", "tools/call"), ("mcp_name", "read")],
    }.items():
        yield f"fields: {what}", [newest, *more], NEWEST
        yield f"fields: {what}, no revision in the body", [newest, *more], None
    for what, two in {"newest, older": (NEWEST, OLDER), "older, newest": (OLDER, NEWEST), "newest twice": (NEWEST, NEWEST)}.items():
        for named in (NEWEST, None):
            yield f"two revisions: {what}, body {named}", [version(two[0]), version(two[1]), CALL, READ], named


def bodies(label):
    """Bodies that can be read in two ways: what is special, and the bytes. `label` is the mark of each."""
    for named in (None, NEWEST):
        of = f", {named}" if named else ""
        whole = text(call("write", label(f"plain{of}"), named))
        yield f"plain{of}", whole
        yield f"a batch of one{of}", b"[" + text(call("write", label(f"a batch of one{of}"), named)) + b"]"
        name = f"a batch with a read first{of}"
        yield name, b"[" + text(call("read", "-", named)) + b"," + text(call("write", label(name), named)) + b"]"
        name = f"two messages{of}"
        yield name, text(call("read", "-", named)) + b"\n" + text(call("write", label(name), named))
        name = f"a read behind it{of}"
        yield name, text(call("write", label(name), named)) + text(call("read", "-", named))
        for first, second in (("read", "write"), ("write", "read")):
            name = f"two names, {first} first{of}"
            yield name, message(members(label(name), ("name", first), ("name", second), in_meta=named))
            name = f"two params, {first} first{of}"
            one, two = (members(label(name), ("name", tool), in_meta=named) for tool in (first, second))
            yield name, message(f'{one},"params":{two}')
            name = f"one name escaped, {first} first{of}"
            escaped = f'{{"name":"{first}","n\\u0061me":"{second}","arguments":{{"text":"{label(name)}"}}}}'
            yield name, message(escaped)
        for method in ("ping", "tools/list", "server/discover", "initialize", "notifications/initialized"):
            write = members(label(f"{method} and a call{of}"), ("name", "write"), in_meta=named)
            yield f"{method} and a call{of}", message(write, method=f'"method":"{method}","method":"tools/call"')
            write = members(label(f"a call and {method}{of}"), ("name", "write"), in_meta=named)
            yield f"a call and {method}{of}", message(write, method=f'"method":"tools/call","method":"{method}"')
        name = f"a method escaped{of}"
        yield name, message(members(label(name), ("name", "write"), in_meta=named), method='"m\\u0065thod":"tools\\/call"')
        name = f"a name escaped{of}"
        yield name, text(call("write", label(name), named)).replace(b'"write"', b'"writ\\u0065"')
        for key, other in (("Method", "method"), ("METHOD", "method")):
            name = f"{key} and {other}{of}"
            write = members(label(name), ("name", "write"), in_meta=named)
            yield name, message(write, method=f'"{other}":"tools/list","{key}":"tools/call"')
        for key in ("Name", "NAME", "name\\u0000", " name", "tool", "toolName"):
            name = f"name and {key!r}{of}"
            inner = f'{{"name":"read","{key}":"write","arguments":{{"text":"{label(name)}"}}}}'
            yield name, message(inner)
        for key in ("Params", "PARAMS", "parameters"):
            name = f"params and {key}{of}"
            read, write = members("-", ("name", "read"), in_meta=named), members(label(name), ("name", "write"), in_meta=named)
            yield name, message(f'{read},"{key}":{write}')
            yield f"{key} alone{of}", message(write).replace(b'"params"', f'"{key}"'.encode())
        for what, value in {
            "a list": ["write"], "an object": {"name": "write"}, "a number": 7, "null": None, "blanks": " write ",
            "a nul": "write\x00", "a nul, then read": "write\x00read", "another case": "Write", "wide letters": "ｗｒｉｔｅ",
            "a combining mark": "write\u0301", "a soft hyphen": "wri\u00adte", "a line end": "write\n", "a path": "read/../write",
            "two": "read,write", "none": "", "encoded": "=?base64?d3JpdGU=?=", "percent": "%77rite",
        }.items():
            name = f"a name that is {what}{of}"
            yield name, message(members(label(name), ("name", value), in_meta=named))
        for what, begin in {
            "no id": '"jsonrpc":"2.0"', "a null id": '"jsonrpc":"2.0","id":null', "a fractional id": '"jsonrpc":"2.0","id":1.5',
            "a list for an id": '"jsonrpc":"2.0","id":[1]', "no jsonrpc": '"id":7', "jsonrpc 1.0": '"jsonrpc":"1.0","id":7',
            "a number for jsonrpc": '"jsonrpc":2.0,"id":7', "a result beside it": '"jsonrpc":"2.0","id":7,"result":{}',
        }.items():
            name = f"{what}{of}"
            yield name, message(members(label(name), ("name", "write"), in_meta=named), begin=begin)
        name = f"params as a list{of}"
        yield name, message("[" + members(label(name), ("name", "write"), in_meta=named) + "]")
        name = f"params as a text{of}"
        yield name, message(json.dumps(members(label(name), ("name", "write"), in_meta=named)))
        name = f"a call in a call{of}"
        inner = json.dumps(call("write", label(name), named))
        yield name, message('{"name":"read","arguments":{"text":"-","call":' + inner + "}}")
        name = f"a call in _meta{of}"
        yield name, message('{"name":"read","arguments":{},"_meta":{"x":' + json.dumps(call("write", label(name))) + "}}")
        for depth in (60, 2_000):
            name = f"nested {depth} deep before the name{of}"
            deep = "[" * depth + "]" * depth
            yield name, message(f'{{"x":{deep},"name":"write","arguments":{{"text":"{label(name)}"}}}}')
        for size in (65_000, 66_000, 300_000):
            name = f"{size} bytes before the name{of}"
            pad = "x" * size
            yield name, message(f'{{"pad":"{pad}","name":"write","arguments":{{"text":"{label(name)}"}}}}')
            name = f"{size} bytes after a read{of}"
            yield name, message(f'{{"name":"read","pad":"{pad}","name":"write","arguments":{{"text":"{label(name)}"}}}}')
            name = f"two methods, {size} bytes between them{of}"
            write = members(label(name), ("name", "write"), in_meta=named)
            yield name, message(write, method=f'"method":"tools/list","pad":"{pad}","method":"tools/call"')
            name = f"{size} blanks before it{of}"
            yield name, b" " * size + text(call("write", label(name), named))
        for what, mark in {"a byte order mark": b"\xef\xbb\xbf", "blanks": b"\r\n\t ", "a comment": b"/* */", "a record separator": b"\x1e",
                           "a byte that is no text": b"\xff", "a nul": b"\x00", "a guard": b")]}',\n"}.items():
            name = f"{what} before it{of}"
            yield name, mark + text(call("write", label(name), named))
            yield f"{what} behind it{of}", text(call("write", label(f"{what} behind it{of}"), named)) + mark
        for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7"):
            name = f"{encoding}{of}"
            yield name, json.dumps(call("write", label(name), named)).encode(encoding)
        name = f"a comment in it{of}"
        yield name, text(call("write", label(name), named)).replace(b'"params"', b'/*"params":{"name":"read"},*/"params"')
        name = f"a comma too many{of}"
        yield name, text(call("write", label(name), named))[:-1] + b",}"
        name = f"single quotes{of}"
        yield name, text(call("write", label(name), named)).replace(b'"write"', b"'write'")


def decoded(label):
    """Bodies that are JSON as they are, and another JSON in the charset that the type names: what, the type, the bytes."""
    for kind in ("application/json; charset={}", "application/json;charset=\"{}\"", "application/json; x=y; charset={}",
                 "application/json; charset=utf-8; charset={}", "application/json; charset={}; charset=utf-8", "application/json; Charset={}"):
        for charset in ("utf-7", "UTF-7", "utf-7-imap", "unicode-1-1-utf-7"):
            # `+AG4-` is n, and `+ACI-` a quotation mark, in UTF-7; in its kin for mail, `&` stands for `+`.
            sign = "&" if "imap" in charset else "+"
            of = kind.format(charset)
            name = f"{of}: a member that is another"
            yield name, of, message(f'{{"name":"read","{sign}AG4-ame":"write","arguments":{{"text":"{label(name)}"}}}}')
            name = f"{of}: a text that ends"
            quote = f"{sign}ACI-"
            inner = f'{quote},{quote}name{quote}:{quote}write{quote},{quote}y{quote}:{quote}'
            yield name, of, message(f'{{"name":"read","arguments":{{"text":"{label(name)}"}},"x":"{inner}"}}')


def compressed(label):
    """Bodies that are compressed as their field says, and not at all so: what, the field, the bytes."""
    for named in (None, NEWEST):
        for encoding, pack in {"gzip": gzip.compress, "deflate": zlib.compress, "gzip, gzip": lambda body: gzip.compress(gzip.compress(body))}.items():
            name = f"compressed: {encoding}, {named}"
            yield name, encoding, pack(text(call("write", label(name), named)))
            name = f"a read, and compressed behind it: {encoding}, {named}"
            yield name, encoding, text(call("read", "-", named)) + pack(text(call("write", label(name), named)))


TYPES = [
    "text/plain", "application/json-rpc", "application/json; charset=utf-16", "application/json;charset=utf-7", "Application/JSON",
    "application/jsonx", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/cbor",
    "application/json, text/plain", "", "application/json; charset=utf-8", "application/vnd.api+json", "json",
]
ACCEPTS = [
    "application/json", "text/event-stream", "*/*", "application/*, text/*", "text/event-stream, application/json",
    "application/json;q=0, text/event-stream", "APPLICATION/JSON, TEXT/EVENT-STREAM", "application/jsonp, text/event-streams", "",
]


def requests(session, label):
    """All shapes: what, the request line's method and path, header fields, the body, and how it travels."""
    follow = [("mcp-session-id", session)] if session else []
    post = ("POST", "/mcp")
    for what, more, named in fields():
        for in_session in {True: [[], follow], False: [[]]}[bool(follow)]:
            name = what + (", in the session" if in_session else "")
            yield name, post, [*USUAL, *more, *in_session], text(call("write", label(name), named)), "length"
    for what, body in bodies(label):
        for how, more in {"newest": [version(NEWEST), CALL, READ], "bare": [], "older": [version(OLDER)]}.items():
            yield what, post, [*USUAL, *more, *follow], body, "length"
            if how == "bare":
                yield what, post, [*USUAL, *more, *follow], body, "chunks"
            # What came first is there a while before the rest.
            if how == "bare" and (" two " in f" {what}" or " and a call" in what):
                yield what, post, [*USUAL, *more, *follow], body, "slowly"
    for kind in TYPES:
        name = f"content type {kind!r}"
        yield name, post, [("content-type", kind), BOTH, *follow], text(call("write", label(name))), "length"
        name = f"content type {kind!r}, newest"
        yield name, post, [("content-type", kind), BOTH, version(NEWEST), CALL, WRITE], text(call("write", label(name), NEWEST)), "length"
    name = "two content types"
    yield name, post, [("content-type", "text/plain"), *USUAL, *follow], text(call("write", label(name))), "length"
    for accept in ACCEPTS:
        for more, named in ((follow, None), ([version(NEWEST), CALL, WRITE], NEWEST)):
            name = f"accept {accept!r}, {named}"
            yield name, post, [TYPE, ("accept", accept), *more], text(call("write", label(name), named)), "length"
    name = "accept in two fields"
    yield name, post, [TYPE, ("accept", "application/json"), ("accept", "text/event-stream"), *follow], text(call("write", label(name))), "length"
    for encoding in ("gzip", "identity", "deflate", "br"):
        name = f"content-encoding {encoding}"
        yield name, post, [*USUAL, ("content-encoding", encoding), *follow], text(call("write", label(name))), "length"
    for first, second in (("application/json; charset=utf-7", TYPE[1]), (TYPE[1], "application/json; charset=utf-7")):
        name = f"two types, {first} first"
        body = message(f'{{"name":"read","+AG4-ame":"write","arguments":{{"text":"{label(name)}"}}}}')
        for kinds in ([("content-type", first), ("content-type", second)], [("content-type", f"{first}, {second}")], [("content-type", f"{first},{second}")]):
            yield name, post, [*kinds, BOTH, *follow], body, "length"
    for name, kind, body in decoded(label):
        for more in (follow, [version(NEWEST), CALL, READ]):
            yield name, post, [("content-type", kind), BOTH, *more], body, "length"
    for name, encoding, body in compressed(label):
        for more in (follow, [version(NEWEST), CALL, READ]):
            yield name, post, [*USUAL, ("content-encoding", encoding), *more], body, "length"
    for method in ("GET", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD", "post", "QUERY"):
        # The session is still needed.
        own = [] if method == "DELETE" else follow
        for more, named in ((own, None), ([version(NEWEST), CALL, WRITE], NEWEST)):
            name = f"{method} with a body, {named}"
            yield name, (method, "/mcp"), [*USUAL, *more], text(call("write", label(name), named)), "length"
    for field in ("x-http-method-override", "x-http-method", "x-method-override"):
        name = f"GET and {field}"
        yield name, ("GET", "/mcp"), [*USUAL, (field, "POST"), *follow], text(call("write", label(name))), "length"
    for path in ("/mcp/", "//mcp", "/mcp?x", "/mcp;x", "/MCP", "/%6dcp", "/./mcp", "/x/../mcp", "/mcp%2f", "/mcp/.", "/mcp#x",
                 "/.well-known/oauth-protected-resource/../../mcp", "/.well-known/oauth-protected-resource/..%2f..%2fmcp"):
        for more, named in ((follow, None), ([version(NEWEST), CALL, WRITE], NEWEST)):
            name = f"{path}, {named}"
            yield name, ("POST", path), [*USUAL, *more], text(call("write", label(name), named)), "length"
    for travels in ("chunks", "bytes", "trailers"):
        for more, named in ((follow, None), ([version(NEWEST), CALL, READ], NEWEST), ([version(NEWEST), CALL, WRITE], NEWEST)):
            name = f"in {travels}, {more[-1:]}, {named}"
            yield name, post, [*USUAL, *more], text(call("write", label(name), named)), travels


def is_whole(answer):
    """Whether nothing follows that says what became of a call."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    sizes = [line.split(b":")[1] for line in head.lower().split(b"\r\n")[1:] if line.startswith(b"content-length:")]
    return len(body) >= int(sizes[0]) if sizes else b'"result"' in body or b'"error"' in body


def send(addr, request_line, head, body, travels):
    """Sends it byte for byte, and gives the status of the answer; 0 where there is none."""
    method, path = request_line
    lines = [f"{method} {path} HTTP/1.1", f"host: {addr}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in head]
    lines += [f"content-length: {len(body)}"] if travels == "length" else ["transfer-encoding: chunked"]
    if travels == "trailers":
        lines.append("trailer: mcp-name")
    size = {"length": 0, "chunks": 40, "bytes": 1, "trailers": 40, "slowly": len(body) // 4 + 1}[travels]
    host, port = addr.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=20) as line:
        try:
            line.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            if size:
                parts = [body[at:at + size] for at in range(0, len(body), size)]
                chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
                for chunk in chunks if travels == "slowly" else [b"".join(chunks)]:
                    line.sendall(chunk)
                    time.sleep(PAUSE if travels == "slowly" else 0)
                line.sendall(b"0\r\n" + (b"mcp-name: read\r\n" if travels == "trailers" else b"") + b"\r\n")
            else:
                line.sendall(body)
        except OSError:
            # It was refused before it was all there.
            pass
        # Whoever goes too soon may end what it began; and a stream may stay open, with a sign of life now and then.
        answer, deadline = b"", time.monotonic() + ANSWERED
        try:
            while not is_whole(answer) and (left := deadline - time.monotonic()) > 0:
                line.settimeout(left)
                if not (more := line.recv(65536)):
                    break
                answer += more
        except OSError:
            pass
    head = answer.partition(b"\r\n\r\n")[0]
    words = head.split(b" ")
    return (int(words[1]) if len(words) > 1 and words[1].isdigit() else 0), head


def open_session(addr, bearer):
    """The session of a client of the older revision, where the server has some; `bearer` is a list of fields."""
    hello = {"protocolVersion": OLDER, "capabilities": {}, "clientInfo": {"name": "shapes", "version": "1"}}
    begin = text({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
    status, head = send(addr, ("POST", "/mcp"), [*USUAL, *bearer], begin, "length")
    if status != 200:
        raise RuntimeError(f"no session at {addr}: {status}")
    lines = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]]
    session = next((line[1].decode() for line in lines if line[0].lower() == b"mcp-session-id"), None)
    if session:
        begun = text({"jsonrpc": "2.0", "method": "notifications/initialized"})
        send(addr, ("POST", "/mcp"), [*USUAL, *bearer, ("mcp-session-id", session)], begun, "length")
    return session


class Server:
    """A server at an address, behind the gate or not, and the marks that its tools leave."""

    def __init__(self, addr, head, marks):
        self.addr, self.head, self.marks = addr, head, marks
        self.session = open_session(addr, head)

    def call(self, tool, mark):
        follow = [("mcp-session-id", self.session)] if self.session else []
        send(self.addr, ("POST", "/mcp"), [*USUAL, *self.head, *follow], text(call(tool, mark)), "length")
        eventually(f"{tool} to run", lambda: f"{tool} {mark}" in self.marks.read_text(), 10)

    def send_all(self, until=None):
        """How many shapes were sent, and how many of them ran `write` by which name; no more than `until` so many kinds did."""
        labels, sent = {}, 0

        def label(name):
            return labels.setdefault(name, f"shape-{len(labels)}")

        for _, request_line, head, body, travels in requests(self.session, label):
            send(self.addr, request_line, [*head, *self.head], body, travels)
            sent += 1
            if until and len(self.ran()) >= until:
                break
        names = {f"write {mark}": name for name, mark in labels.items()}
        return sent, lambda: sorted(names.get(line, line) for line in self.ran())

    def ran(self):
        return {line for line in self.marks.read_text().splitlines() if line.startswith("write")}


def row(system, url, stack, marks, open_port, open_marks):
    """Sends all shapes with a token for `read`, and looks for what ran. So that it can fail: through the gate, a token for
    `write` runs it; and some of the shapes do at another server of the kind that has no gate before it."""
    # A few are enough.
    _, open_ones = Server(f"127.0.0.1:{open_port}", [], open_marks).send_all(until=10)
    bearer = lambda scope: [("authorization", "Bearer " + stack.token(url, scope))]
    addr = url.removeprefix("http://").removesuffix("/mcp")
    Server(addr, bearer("mcp:use files:read files:write"), marks).call("write", "allowed")
    marks.write_text("")
    reader = Server(addr, bearer("mcp:use files:read"), marks)
    sent, ran = reader.send_all()
    # The session is still good, and the server has done what it was sent before.
    reader.call("read", "last")
    time.sleep(0.5)
    tried = f"{sent} requests that say one thing and call another, with a token for `read`"
    if ran() or not open_ones():
        return Row(system, tried, "`write` RAN: " + ("; ".join(ran()) or "not even without the gate"), False)
    return Row(system, tried, "none ran `write`; a token for it does, and so do some of them without the gate", True)
