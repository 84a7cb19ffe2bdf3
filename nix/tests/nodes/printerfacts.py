"""Listens on the Unix socket given and responds to every GET with one metric."""

import contextlib
import http.server
import os
import socketserver
import sys

BODY = b"# TYPE printerfacts_facts_total counter\nprinterfacts_facts_total 42\n"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *args):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


path = sys.argv[1]
with contextlib.suppress(FileNotFoundError):
    os.unlink(path)
Server(path, Handler).serve_forever()
