"""The steps of the Python clients, one for each line of the input."""

import asyncio
import sys


def flat(error):
    """The first error in groups of them."""
    while getattr(error, "exceptions", None):
        error = error.exceptions[0]
    return error


async def take(connect, list_tools, call_tool):
    """Takes the step that each line names: connect, tools, or `TOOL TEXT`."""
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        name, _, text = line.partition(" ")
        try:
            if name == "connect":
                came = await connect()
            elif name == "tools":
                tools = await list_tools()
                came = ",".join(sorted(tool.name for tool in getattr(tools, "tools", tools)))
            else:
                came = (await call_tool(name, {"text": text})).content[0].text
        except Exception as error:
            error = flat(error)
            came = f"FAILED {type(error).__name__}: {error}"
        print(line, "->", " ".join(str(came).split()), flush=True)
