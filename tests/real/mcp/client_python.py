"""A client made with PyPI's mcp, 1.x or 2.x. It is given the URL of a resource and nothing else.

    client_python.py URL

Each line of its input is the name of a step, which it takes then; for each it prints a line: the name and what came.
"""

import asyncio
import sys
from importlib.metadata import version
from urllib.parse import parse_qs, urlsplit

from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import OAuthClientMetadata

from steps import take

VERSION = version("mcp")
IS_OLDER = VERSION.startswith("1.")
if IS_OLDER:
    import httpx as http
else:
    import httpx2 as http

# Nobody listens there: this client reads where its browser is sent.
REDIRECT_URI = "http://127.0.0.1/callback"


class Memory:
    """Tokens and the client's registration, as long as the program runs."""

    tokens = None
    client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Browser:
    """Goes where the client sends its user, and remembers what it was given there."""

    def __init__(self):
        self.brought = {}

    async def go(self, url):
        async with http.AsyncClient() as client:
            answer = await client.get(url, follow_redirects=False)
        location = answer.headers.get("location", "")
        if not location.startswith(REDIRECT_URI + "?"):
            raise RuntimeError(f"the log-in ended at {location!r} with {answer.status_code}: {answer.text}")
        self.brought = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}

    async def come_back(self):
        if "code" not in self.brought:
            raise RuntimeError(f"the log-in gave no code: {self.brought}")
        if IS_OLDER:
            return self.brought["code"], self.brought.get("state")
        from mcp.client.auth import AuthorizationCodeResult

        return AuthorizationCodeResult(
            code=self.brought["code"], state=self.brought.get("state"), iss=self.brought.get("iss")
        )


def provider(url):
    browser = Browser()
    return OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name=f"mcp {VERSION}",
            redirect_uris=[REDIRECT_URI],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            token_endpoint_auth_method="none",
        ),
        storage=Memory(),
        redirect_handler=browser.go,
        callback_handler=browser.come_back,
    )


async def older(url):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async with streamablehttp_client(url, auth=provider(url)) as (read, write, _):
        async with ClientSession(read, write) as session:

            async def connect():
                return (await session.initialize()).protocolVersion

            await take(connect, session.list_tools, session.call_tool)


async def newer(url):
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async with http.AsyncClient(auth=provider(url), timeout=60) as own:
        client = Client(streamable_http_client(url, http_client=own))

        async def connect():
            await client.__aenter__()
            return client.protocol_version

        await take(connect, client.list_tools, client.call_tool)
        await client.__aexit__(None, None, None)


asyncio.run((older if IS_OLDER else newer)(sys.argv[1]))
