"""
Serves the site as Celery runs tasks: a parent that has used Redis forks its workers, and each of
them does one thing at a time.

``python -m tests.weather.prefork <port>``
"""

import os
import signal
import socket
import sys
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

WORKERS = 8


class Handler(WSGIRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


def serve(listener: socket.socket) -> None:
    from tests.weather.site import wsgi

    server = WSGIServer(listener.getsockname(), Handler, bind_and_activate=False)
    server.socket = listener
    server.server_name, server.server_port = "127.0.0.1", listener.getsockname()[1]
    server.setup_environ()
    server.set_app(wsgi)
    server.serve_forever()


def main() -> None:
    from sessions_redis.engine import SessionStore
    from tests.weather import site

    assert site.wsgi
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
    SessionStore().exists("opens a connection before the fork")
    children = []
    for _ in range(WORKERS):
        child = os.fork()
        if child == 0:
            serve(listener)
        children.append(child)

    def end(*_: object) -> None:
        for child in children:
            os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
