"""Requests to what runs beside the gate, and what a JWT says."""

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import NamedTuple


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: object
    body: bytes

    def json(self):
        return json.loads(self.body)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def ask(method, url, jar=None, form=None, document=None, token=None, body=None, headers=(), trust=None):
    """One request, no redirect followed. `trust` is the TLS context of an HTTPS address."""
    headers = dict(headers)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = body
    if form is not None:
        data = urllib.parse.urlencode(form).encode()
    elif document is not None:
        data = json.dumps(document).encode()
        headers.setdefault("Content-Type", "application/json")
    handlers = [_Stay(), urllib.request.ProxyHandler({})]
    if trust is not None:
        handlers.append(urllib.request.HTTPSHandler(context=trust))
    if jar is not None:
        handlers.append(urllib.request.HTTPCookieProcessor(jar))
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        answer = urllib.request.build_opener(*handlers).open(request, timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return Answer(answer.status, answer.headers, answer.read())


def claims(token):
    """What a JWT says, unchecked."""
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def header(token):
    """A JWT's header."""
    first = token.split(".")[0]
    return json.loads(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))


def forged(token, kid):
    """The token as one of another key, which nobody has."""
    told = json.dumps({**header(token), "kid": kid}).encode()
    return ".".join([base64.urlsafe_b64encode(told).rstrip(b"=").decode(), *token.split(".")[1:]])
