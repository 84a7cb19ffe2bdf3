"""Serves the metrics of this process, by prometheus_client, on a Unix socket."""

import os
import socketserver
import sys

from prometheus_client import MetricsHandler

path = sys.argv[1]
if os.path.exists(path):  # What a killed predecessor left behind.
    os.unlink(path)
socketserver.ThreadingUnixStreamServer(path, MetricsHandler).serve_forever()
