# SPDX-License-Identifier: Apache-2.0
"""Stand-in for fundraising-service: health, and runs that a drain gate has to wait for."""
import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_LOCK = threading.Lock()
_RUNS = {}  # id -> time.monotonic() at which it ends


def _active():
    now = time.monotonic()
    with _LOCK:
        for run in [r for r, end in _RUNS.items() if end <= now]:
            del _RUNS[run]
        return sorted(_RUNS)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self):
        if self.path == "/health":
            return self._send(200, {"status": "ok"})
        if self.path == "/status":
            runs = _active()
            return self._send(200, {"activeRuns": len(runs), "runs": runs})
        return self._send(404, {"error": "not found"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/runs":
            return self._send(404, {"error": "not found"})
        try:
            seconds = float(json.loads(body or b"{}").get("seconds", 3600))
        except (ValueError, AttributeError):
            return self._send(400, {"error": "seconds must be a number"})
        with _LOCK:
            run = len(_RUNS) + 1 + int(time.time() * 1000)
            _RUNS[run] = time.monotonic() + seconds
        return self._send(201, {"id": run})

    def do_DELETE(self):
        """Ends every run."""
        with _LOCK:
            _RUNS.clear()
        self._send(200, {"activeRuns": 0})

    def log_message(self, *_):
        pass

    def _send(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main():
    server = ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT") or 4500)), Handler)
    server.daemon_threads = True
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    print("fundraising stand-in listens", flush=True)
    stop.wait()
    server.shutdown()


if __name__ == "__main__":
    main()
