"""A server made with PyPI's mcp, 1.x or 2.x: two tools, each of which leaves a mark where it ran.

    server_python.py PORT MARKS
"""

import sys
from importlib.metadata import version

PORT, MARKS = int(sys.argv[1]), sys.argv[2]


def mark(tool, text):
    with open(MARKS, "a", encoding="utf-8") as marks:
        marks.write(f"{tool} {text}\n")
    return f"{tool} ran"


def add_tools(server):
    @server.tool()
    def read(text: str = "") -> str:
        """Reads a file"""
        return mark("read", text)

    @server.tool()
    def write(text: str = "") -> str:
        """Writes a file"""
        return mark("write", text)


if version("mcp").startswith("1."):
    from mcp.server.fastmcp import FastMCP

    server = FastMCP("files", host="127.0.0.1", port=PORT)
    add_tools(server)
    server.run("streamable-http")
else:
    from mcp.server.mcpserver import MCPServer

    server = MCPServer("files")
    add_tools(server)
    server.run("streamable-http", host="127.0.0.1", port=PORT)
