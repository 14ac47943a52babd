"""A client made with PyPI's fastmcp, as its pages show one. See client_python.py; $BROWSER is what it opens pages with."""

import asyncio
import sys

from fastmcp import Client

from steps import take


async def main(url):
    client = Client(url, auth="oauth")

    async def connect():
        await client.__aenter__()
        return getattr(client, "protocol_version", None) or client.initialize_result.protocolVersion

    await take(connect, client.list_tools, client.call_tool)
    await client.__aexit__(None, None, None)


asyncio.run(main(sys.argv[1]))
