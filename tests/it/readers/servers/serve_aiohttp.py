"""aiohttp's router: arguments port, public text, guarded text."""
import sys

from aiohttp import web

PORT, PUBLIC, GUARDED = int(sys.argv[1]), sys.argv[2], sys.argv[3]


def text(what):
    async def handler(request):
        return web.Response(text=what)
    return handler


app = web.Application()
for start, what in (("public", PUBLIC), ("admin", GUARDED)):
    app.router.add_route("*", f"/{start}", text(what))
    app.router.add_route("*", f"/{start}/{{rest:.*}}", text(what))
web.run_app(app, host="127.0.0.1", port=PORT, print=None, access_log=None)
