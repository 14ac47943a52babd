"""Werkzeug's routing over PATH_INFO: arguments port, public text, guarded text."""
import sys

from werkzeug.routing import Map, Rule
from werkzeug.serving import run_simple
from werkzeug.wrappers import Response

PORT, PUBLIC, GUARDED = int(sys.argv[1]), sys.argv[2], sys.argv[3]
URLS = Map([Rule("/public/<path:rest>", endpoint=PUBLIC), Rule("/admin/<path:rest>", endpoint=GUARDED),
            Rule("/admin", endpoint=GUARDED), Rule("/public", endpoint=PUBLIC)])


def application(environ, start_response):
    serve = lambda endpoint, values: Response(endpoint)
    return URLS.bind_to_environ(environ).dispatch(serve, catch_http_exceptions=True)(environ, start_response)


run_simple("127.0.0.1", PORT, application, threaded=True)
